"""The workspace of `tests/campaigns/vault-move`: in a file, with rows of as many kinds as commands and requests make. And the
comparison of two copies of it, apart from integ's own digests.
"""

import base64
import contextlib
import hashlib
import http.client
import itertools
import json
import os
import sqlite3
import subprocess
import tempfile
import time
import urllib.parse

from cluster import Team
from rival import MAIN, Vendor, sign

# How long what reads all of a store may take, in seconds.
PATIENCE = 3600

# Columns that a store makes of others, or that are only its own. Leases of locks have ended before a store moves.
DERIVED = {"meta.dedup_indexed_to", "meta.sequence", "meta.vault_id", "locks.expires_at", "locks.holder", "records.hash"}

# Tables whose rows have numbers that are not in a column.
NUMBERED = {"consents"}

# Tables that are only in a file, or have another name on the server.
ONLY_IN_FILES = {"meta", "event_dedup_keys", "record_bodies"}

# What reading and moving add to the audit log.
RECORDED = {"vault move", "vault backup"}

# What commands print of the store, apart from what depends on the time. Each prints all pages.
ALL = str(10**9)
COMMANDS = [
    ["status", "--json", "--jq", ".connections[] | del(.status, .hint, .expires_in)"],
    ["webhook", "events", "--limit", ALL, "--json"], ["webhook", "events", "--conflicts", "--limit", ALL, "--json"],
    ["records", "--json"], ["records", f"{MAIN}/orders"], ["records", "hubspot/contacts"], ["records", "github/issues"],
    ["records", f"{MAIN}/orders", "--since", "0"], ["job", "list", "--limit", ALL, "--json"],
    ["endpoint", "list", "--json"], ["endpoint", "deliveries", "--limit", ALL, "--json"], ["endpoint", "event", "list", "--json"],
    ["link", "list", "--json"], ["consent", "list", "--limit", ALL, "--json"], ["schedule", "list", "--json"],
    ["binding", "list", "--json"], ["connect-link", "list", "--json"], ["api-token", "list", "--json"], ["user", "list", "--json"],
    ["approval", "list", "--all", "--json"], ["app", "list", "--json"], ["cursor", "export", MAIN], ["token", MAIN],
    ["webhook", "url", MAIN, "--json"],
]

# A binding that also writes.
LEAD = """email: text = .properties.email | lower
phone? = .properties.phone

[sync]
conflict = ask
match = email

[out]
properties.email = .email
"""


class Source(Vendor):
    """The service of `rival` with long lists, and a receiver that refuses every fifth request."""

    lifetime = 8 * 3600

    def __init__(self, campaign, records):
        super().__init__("move", campaign)
        self.records, self.received = records, itertools.count(1)

    def api(self, bearer, name, query):
        if name == "me":
            return super().api(bearer, name, query)
        begin = int(query.get("after", query.get("since", 0)))
        items = [{"id": f"{name}-{number}", "changed": number, "deleted": number % 100 == 0, "text": f"{name} ä {number} " * 5}
                 for number in range(begin + 1, min(begin + 1000, self.records) + 1)]
        return 200, {"items": items, "next": str(begin + 1000) if begin + 1000 < self.records else None}, 0

    def receive(self, headers, body):
        return 503 if next(self.received) % 5 == 0 else 200, {}, 0


class Home(Team):
    """A workspace in a file, and the machine that it is on."""

    workspace = "default"

    def folder_of_workspace(self, *names):
        return os.path.join(self.home, "workspaces", self.workspace, *names)

    def has(self, name):
        return os.path.exists(self.folder_of_workspace(name))

    def environment(self):
        return {"INTEG_HOME": self.home, "HOME": self.home, "PATH": os.environ.get("PATH", ""), "TMPDIR": tempfile.gettempdir()}

    def digest(self, *words):
        """The SHA-256 of what a command prints, which is read as it comes."""
        digest, command = hashlib.sha256(), [self.integ, *words]
        with tempfile.TemporaryFile() as err, subprocess.Popen(command, env=self.environment(), cwd=self.home, stdin=subprocess.DEVNULL,
                                                               stdout=subprocess.PIPE, stderr=err) as child:
            while data := child.stdout.read(1 << 20):
                digest.update(data)
            if child.wait(PATIENCE) != 0:
                err.seek(0)
                raise RuntimeError(f"{words}: {child.returncode} {err.read().decode(errors='replace')}")
        return digest.hexdigest()


def fill(home, vendor, options):
    """Rows of as many kinds as commands and requests make, then the mass."""
    integ = home.succeed
    home.configure()
    for words in (["slack"], ["github", "--user", "user-1"], ["stripe"], ["hubspot", "--user", "user-2"], ["telegram"],
                  ["google-calendar"]):
        integ("connect", *words, "--sandbox")
    home.connect(MAIN, vendor)
    integ("sync", "github", "hubspot/contacts", f"{MAIN}/orders", f"{MAIN}/notes")
    integ("cursor", "set", f"{MAIN}/notes", "5")
    integ("webhook", "subscribe", "telegram", "--url", "https://hooks.example.com")
    integ("schedule", "set", "github", "every 15m", "--jitter", "2m")
    integ("binding", "set", "person", "--from", "hubspot/contacts", "--template", "contact")
    integ("binding", "set", "order", "--from", f"{MAIN}/orders", "-", stdin="name = .name\n")
    # It fails on each of them.
    home.run("records", f"{MAIN}/orders", "--binding", "order", "--limit", "20")
    integ("reconnect", "hubspot", "--add-scope", "crm.objects.contacts.write")
    integ("binding", "set", "lead", "--from", "hubspot/contacts", "-", stdin=LEAD)
    leads = [{"entity": f"lead/{number}", "document": {"email": f"lead-{number}@example.com"}} for number in range(5)]
    integ("binding", "push", "lead", "-", stdin="".join(json.dumps(lead) + "\n" for lead in leads))
    integ("reconnect", "google-calendar", "--add-scope", "https://www.googleapis.com/auth/calendar.events.owned")
    integ("calendar", "create", "google-calendar", "--title", "Meeting", "--start", "2027-01-01", "--end", "2027-01-02",
          "--entity", "meeting/1")
    for number in range(20):
        integ("link", "add", f"customer/{number}", "hubspot/contacts", str(number))
    for purpose in ("sync", "call"):
        integ("consent", "grant", "user-1", purpose)
    integ("connect-link", "create", "slack", "--user", "user-3")
    integ("app", "set", "jira", "--client-id", "client", "--client-secret-file", "-", stdin="client-secret")
    integ("endpoint", "event", "add", "order.shipped", "--description", "An order was shipped")
    integ("endpoint", "add", f"{vendor.origin()}/messages")
    integ("endpoint", "add", f"{vendor.origin()}/other", "--events", "order.*")
    for number in range(10):
        data = json.dumps({"number": number})
        integ("endpoint", "send", "order.shipped", "--id", f"message-{number}", "--data", "-", stdin=data)
    integ("api-token", "trust", "add", "deploy", "--issuer", "https://ci.example.com", "--audience", "https://integ.example.com",
          "--claim", "repository=a/b", "--scope", "connections:read", "--connection", "slack")
    integ("api-token", "create", "limited", "--scope", "connections:read", "--connection", "slack")
    token = integ("api-token", "create", "campaign", "--scope", "admin:*", "--approve", "destroy").strip()
    integ("dashboard", "link", "--as", "ann", "--role", "editor")
    serve(home, vendor, token)
    connections = max(20, min(1000, options.rows // 50))
    # Each has a grant, and was checked 24 times.
    events = max(1, options.rows - vendor.records * 2 - connections * 26)
    subprocess.run([options.fill, str(connections), "--events", str(events)], env=home.environment(), check=True,
                   timeout=PATIENCE)


def serve(home, vendor, token):
    """What needs `integ serve`: events with attempts, deliveries, and requests of an API token."""
    secret = "whsec_" + base64.b64encode(hashlib.sha256(b"move").digest()).decode()
    home.succeed("webhook", "secret", MAIN, "--set", "-", stdin=secret)
    [url] = home.documents("webhook", "url", MAIN)
    home.add_nodes()
    [node] = home.nodes
    node.serve("--forward-to", f"{vendor.origin()}/events")
    node.wait_until_it_listens()

    def request(method, path, body, headers):
        connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=60)
        connection.request(method, path, body, {"content-type": "application/json", **headers})
        with contextlib.closing(connection):
            answer = connection.getresponse()
            return answer.status, answer.read()

    path, at = urllib.parse.urlsplit(url["local_url"]).path, int(time.time())
    for number in range(30):
        # Some ids come again with another body.
        event, body = f"event-{number % 25}", json.dumps({"type": "ping", "about": "nothing", "number": number})
        signature = "v1," + sign(secret, f"{event}.{at}.{body}".encode())
        headers = {"webhook-id": event, "webhook-timestamp": str(at), "webhook-signature": signature}
        request("POST", path, body, headers)
    headers = {"authorization": f"Bearer {token}"}
    for number in range(5):
        status, answer = request("POST", "/v1/consents", json.dumps({"user": f"user-{number}", "purpose": "sync"}),
                                 {**headers, "idempotency-key": f"key-{number}"})
        if status // 100 != 2:
            raise RuntimeError(f"consent: {status} {answer}")
    # A sign-in that waits for the user.
    request("POST", "/v1/connections", json.dumps({"connector": "slack", "account": "later", "is_sandbox": True}), headers)
    # It needs an approval.
    request("DELETE", "/v1/connections/slack", None, headers)
    until = time.monotonic() + 60
    while time.monotonic() < until and any(event["attempts"] == 0 for event in home.documents("webhook", "events")):
        # The last ones are being forwarded.
        time.sleep(0.2)
    node.process.terminate()
    node.process.wait(60)


def differing(path, other, note):
    """Compares the rows of two backups. The number of rows of each table in the first one."""
    counts = {}
    with contextlib.closing(sqlite3.connect(path)) as first, contextlib.closing(sqlite3.connect(other)) as second:
        for (table,) in first.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"):
            columns = [(name, key) for _, name, _, _, _, key in first.execute(f"PRAGMA table_info({table})")]
            keys = [name for name, key in sorted(columns, key=lambda column: column[1]) if key] or ["rowid"]
            names = [name for name, _ in columns if f"{table}.{name}" not in DERIVED] + (["rowid"] if table in NUMBERED else [])
            if table in ("audit_entries", "audit_state", "event_dedup_keys"):
                counts[table] = first.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                continue
            sql = f"SELECT {', '.join(names)} FROM {table} ORDER BY {', '.join(keys)}"
            counts[table] = 0
            for row, found in itertools.zip_longest(first.execute(sql), second.execute(sql)):
                counts[table] += row is not None
                if row != found:
                    note("rows_that_differ", table, str(row)[:200], str(found)[:200])
        compare_audit_logs(first, second, note)
        compare_keys(second, note)
        for name, last in first.execute("SELECT name, seq FROM sqlite_sequence"):
            if (second.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = ?", [name]).fetchone()[0] or 0) < last:
                note("rows_that_differ", "sqlite_sequence", name)
    return counts


def compare_audit_logs(first, second, note):
    """Every entry is still there. Others are of moves and backups only."""
    sql = "SELECT * FROM audit_entries ORDER BY sequence"
    rows, found = first.execute(sql).fetchall(), second.execute(sql).fetchall()
    for row, same in itertools.zip_longest(rows, found[:len(rows)]):
        if row != same:
            note("rows_that_differ", "audit_entries", row, same)
    more = second.execute("SELECT operation FROM audit_entries WHERE sequence > (SELECT max(sequence) FROM audit_entries) - ?",
                          [len(found) - len(rows)])
    for (operation,) in more:
        if operation not in RECORDED:
            note("rows_that_differ", "audit_entries", operation)
    sql = "SELECT signing_seed, pruned_sequence, pruned_hash, pruned_at, pruned_signature FROM audit_state"
    if first.execute(sql).fetchall() != second.execute(sql).fetchall():
        note("rows_that_differ", "audit_state")


def compare_keys(store, note):
    """Every event has its keys, by which a repeated one is recognised, and there are no others. Those of the last events are not
    there yet."""
    keys = "SELECT dedup_key, id FROM events UNION SELECT signed_dedup_key, id FROM events WHERE signed_dedup_key IS NOT NULL"
    indexed = f"SELECT * FROM ({keys}) WHERE id <= (SELECT dedup_indexed_to FROM meta)"
    without, = store.execute(f"SELECT count(*) FROM ({indexed} EXCEPT SELECT * FROM event_dedup_keys)").fetchone()
    more, = store.execute(f"SELECT count(*) FROM (SELECT * FROM event_dedup_keys EXCEPT {keys})").fetchone()
    if without or more:
        note("rows_that_differ", "event_dedup_keys", without, more)
