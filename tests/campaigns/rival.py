"""The vendor of `tests/campaigns/workspaces`, and the receiver of messages: all that the process talks to.

Refresh tokens are rotated, and one that is presented twice revokes its grant. Lists change all the time; their pages, and
answers to refreshes, take a while, so that a kill comes in between.
"""

import base64
import hashlib
import hmac
import http.server
import json
import random
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

# `rival` receives webhooks and has the lists that events are about; the others have the list that only schedules sync.
ACCOUNTS = ["rival", "rival@a", "rival@b", "rival@c", "rival@d", "rival@e"]
MAIN, OTHERS = ACCOUNTS[0], ACCOUNTS[1:]

STREAMS = ["orders", "notes", "lines"]

CONNECTOR = """
id = "rival"
name = "Rival"
category = "generic"
description = "A service that rotates refresh tokens, changes its lists and sends webhooks."
docs = "https://rival.invalid/docs"

[api]
base = "https://rival.invalid/api"
pages = { kind = "cursor", records = "/items", next = "/next", param = "after" }

[auth.oauth]
label = "OAuth"

[auth.oauth.oauth2]
grants = ["authorization_code"]
authorize_url = "https://rival.invalid/authorize"
token_url = "https://rival.invalid/token"
rotation = "always"
scope = { default = ["read"] }

[scopes]
read = "Read"

[health]
path = "/me"
account = { id = "/id", name = "/id" }

[webhook]
setup = "Enter the URL and the secret."
retry = "Until it is acknowledged"
params.secret = { prompt = "Secret, whsec_…" }

[[webhook.proofs]]
scheme = "hmac_sha256"
signature = { header = "webhook-signature", separator = " ", format = "v1,{signature}" }
encoding = "base64"
base = "{message_id}.{timestamp}.{body}"
key_encoding = "whsec"
timestamp = { place = { header = "webhook-timestamp" }, tolerance_secs = 300 }
values = { message_id = { header = "webhook-id" } }

[webhook.event]
id = [{ header = "webhook-id" }]
type = [{ at = "/type" }]
resource = [{ at = "/about" }]

[events]
"ping" = { about = "Nothing happened" }
"order.changed" = { about = "An order was changed", sync = { stream = "orders", record = "/record" } }
"note.changed" = { about = "A note was changed", sync = { stream = "notes" } }
"""

STREAM = """
[streams.NAME]
about = "NAME, deleted ones among them"
path = "/NAME"
key = ["/id"]
deleted = { "/deleted" = [true] }
incremental = { at = "/changed", format = "integer", query = { since = "{since}" } }
"""

CONNECTOR += "".join(STREAM.replace("NAME", name) for name in STREAMS)

# Records of a page.
PAGE = 20

# Of an access token, in seconds.
LIFETIME = 16


class NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def sign_in(url):
    """Does what a browser does with the URL that `connect` prints: follows the vendor's redirect back to integ."""
    opener = urllib.request.build_opener(NoRedirects)
    try:
        opener.open(url, timeout=60)
    except urllib.error.HTTPError as answer:
        opener.open(answer.headers["location"], timeout=60).read()


def sign(secret, data):
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return base64.b64encode(hmac.new(key, data, hashlib.sha256).digest()).decode()


class Vendor:
    """The service and the receiver of one workspace. Every id begins with the workspace's name."""

    lifetime = LIFETIME

    def __init__(self, workspace, campaign):
        self.workspace, self.campaign = workspace, campaign
        self.lock = threading.Lock()
        self.random = random.Random(f"{campaign.options.seed} {workspace}")
        self.number = 0
        # Grants, by account: the live refresh token, and access tokens with their ends.
        self.live, self.newest, self.access = {}, {}, {}
        self.presented, self.refreshes = {}, 0
        # Records, by account and stream, then id.
        self.lists = {(account, stream): {} for account in ACCOUNTS for stream in STREAMS}
        # Arrivals of messages that were answered with success: times and data, by id.
        self.arrivals = {}
        # Ids of messages that were refused.
        self.refused = set()
        self.message_secret = None
        self.pages = 0
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads, self.server.vendor = True, self
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def origin(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def next(self):
        self.number += 1
        return self.number

    def issue(self, account):
        number = self.next()
        access, refresh = (f"{self.workspace}/{account}/{kind}/{number}" for kind in ("access", "refresh"))
        self.live[account], self.newest[account] = refresh, access
        self.access[access] = (account, time.monotonic() + self.lifetime + 2)
        return {"access_token": access, "refresh_token": refresh, "token_type": "Bearer", "expires_in": self.lifetime}

    def token(self, form):
        """Status, answer, and how long the answer takes."""
        with self.lock:
            latency = self.random.choice([0.05, 0.3, 0.8, 1.5])
            if form.get("grant_type") == "authorization_code":
                return 200, self.issue(form["code"]), 0
            token = form.get("refresh_token", "")
            self.refreshes += 1
            self.presented[token] = self.presented.get(token, 0) + 1
            self.campaign.expect_own(self, token)
            account = next((account for account, live in self.live.items() if live == token), None)
            if account is None:
                self.live.pop(token.split("/")[1] if token.count("/") > 1 else "", None)
                return 400, {"error": "invalid_grant"}, 0
            return 200, self.issue(account), latency

    def api(self, bearer, name, query):
        with self.lock:
            self.campaign.expect_own(self, bearer)
            account, ends = self.access.get(bearer, (None, 0))
            if account is None or ends < time.monotonic():
                return 401, {"error": "expired"}, 0
            if name == "me":
                return 200, {"id": f"{self.workspace}/{account}"}, 0
            self.pages += 1
            items = sorted(self.lists[account, name].values(), key=lambda item: item["changed"])
            if "after" in query:
                items = [item for item in items if item["changed"] > int(query["after"])]
            elif "since" in query:
                items = [item for item in items if item["changed"] >= int(query["since"])]
            page = items[:PAGE]
            following = str(page[-1]["changed"]) if len(items) > PAGE else None
            latency = self.random.choice([0.02, 0.1, 0.4])
            return 200, {"items": [dict(item) for item in page], "next": following}, latency

    def change(self, account, stream):
        """Creates, changes or deletes a record, and returns it as it is now."""
        with self.lock:
            records, number = self.lists[account, stream], self.next()
            existing = self.random.choice(list(records)) if records and self.random.random() < 0.6 else None
            name = existing or f"{self.workspace}/{account}/{stream}/{number}"
            record = {"id": name, "changed": number, "deleted": existing is not None and self.random.random() < 0.2,
                      "text": f"{self.workspace} {self.random.getrandbits(64):x}"}
            records[name] = record
            return record

    def receive(self, headers, body):
        """Takes a message; some are refused, and come again."""
        now = time.monotonic()
        message = headers.get("webhook-id", "")
        signed = f"{message}.{headers.get('webhook-timestamp')}.".encode() + body
        if f"v1,{sign(self.message_secret, signed)}" not in headers.get("webhook-signature", "").split():
            self.campaign.note("leaked", "a message with another signature", self.workspace, message)
        with self.lock:
            self.campaign.expect_own(self, message)
            # A receiver that is slow is killed in the middle more often.
            latency = self.random.choice([0, 0.05, 0.3])
            # Once at most: it comes again after 5 s, and after a second refusal only after 5 min, when the campaign is over.
            if message not in self.refused and self.random.random() < 0.03:
                self.refused.add(message)
                return 503, {}, latency
            self.arrivals.setdefault(message, []).append((now, json.loads(body)["data"]))
            return 200, {}, latency


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, status, document, latency=0, headers=()):
        body = json.dumps(document).encode()
        # The vendor's latency. What was asked for is done already.
        time.sleep(latency)
        try:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            # Its process was killed.
            pass

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.path == "/authorize":
            # Each connection has a client of its own, so that it is known whose account is wanted.
            back = urllib.parse.urlencode({"code": query["client_id"], "state": query["state"]})
            self.answer(302, {}, headers=[("location", f"{query['redirect_uri']}?{back}")])
        else:
            bearer = self.headers.get("authorization", "").removeprefix("Bearer ")
            self.answer(*self.server.vendor.api(bearer, url.path.rsplit("/", 1)[1], query))

    def do_POST(self):
        try:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
        except OSError:
            return
        if self.path == "/token":
            self.answer(*self.server.vendor.token(dict(urllib.parse.parse_qsl(body.decode()))))
        else:
            self.answer(*self.server.vendor.receive(self.headers, body))
