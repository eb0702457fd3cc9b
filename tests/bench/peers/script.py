"""What one writes in an hour: requests and sqlite3.

    script.py URL TOKEN DATABASE
"""

import hashlib
import json
import sqlite3
import sys

import requests

url, token, path = sys.argv[1:]
session = requests.Session()
session.headers["Authorization"] = f"Bearer {token}"
database = sqlite3.connect(path)
database.execute("PRAGMA journal_mode = WAL")
database.execute("PRAGMA synchronous = FULL")
database.execute("CREATE TABLE IF NOT EXISTS records (id INTEGER PRIMARY KEY, hash TEXT, json TEXT)")
while url:
    response = session.get(url, timeout=30)
    response.raise_for_status()
    rows = []
    for record in response.json():
        text = json.dumps(record)
        rows.append((record["id"], hashlib.sha256(text.encode()).hexdigest(), text))
    with database:
        database.executemany(
            "INSERT INTO records VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET hash = excluded.hash, json = excluded.json"
            " WHERE hash <> excluded.hash",
            rows,
        )
    url = requests.compat.urljoin(url, response.links["next"]["url"]) if "next" in response.links else None
