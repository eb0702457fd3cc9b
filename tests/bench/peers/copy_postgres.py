"""The least that pulling a list into PostgreSQL can be: COPY into one table, a commit a page.

    copy_postgres.py URL TOKEN DATABASE SIZE

SIZE is the number of random bytes that are stored in place of each record, because what is sealed cannot be compressed; with 0 its
JSON is stored. The rows are made in COPY's binary format here, so that Python does little for each of them.
"""

import http.client
import os
import random
import struct
import sys
from urllib.parse import urljoin, urlsplit

import msgspec
import psycopg

HEADER, TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"


class Record(msgspec.Struct):
    id: int


records_of_page = msgspec.json.Decoder(list[msgspec.Raw]).decode
record_of = msgspec.json.Decoder(Record).decode

url, token, database, size = *sys.argv[1:4], int(sys.argv[4])
noise = os.urandom(1 << 20)
# One COPY is a transaction of its own.
database = psycopg.connect(database, autocommit=True)
database.execute(f"CREATE TABLE records (id bigint PRIMARY KEY, body {'bytea' if size else 'text'} NOT NULL)")
service = http.client.HTTPConnection(urlsplit(url).netloc)
cursor = database.cursor()
while url:
    service.request("GET", url, headers={"Authorization": f"Bearer {token}"})
    response = service.getresponse()
    page = response.read()
    if response.status != 200:
        raise SystemExit(f"{url}: {response.status}")
    link = response.headers["link"]
    url = link and urljoin(url, link[link.index("<") + 1 : link.index(">")])
    rows = [HEADER]
    for record in records_of_page(page):
        body = bytes(record)
        identifier = record_of(body).id
        if size:
            start = random.randrange(len(noise) - size)
            body = noise[start : start + size]
        rows += (struct.pack("!hiqi", 2, 8, identifier, len(body)), body)
    rows.append(TRAILER)
    with cursor.copy("COPY records (id, body) FROM STDIN (FORMAT binary)") as copy:
        copy.write(b"".join(rows))
