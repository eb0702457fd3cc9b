"""What `tests/campaigns/workspaces` and `tests/campaigns/server-load` share: a workspace seen from outside, and a process under
traffic whose store must equal, at the end, what the vendors know.
"""

import base64
import datetime
import hashlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

from rival import ACCOUNTS, CONNECTOR, LIFETIME, MAIN, OTHERS, Vendor, sign, sign_in

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

WORKSPACES = ["default", "second"]

# How long after its marker a refresh may still be under way, in seconds: the vendor's latency, and two commits.
LONGEST_REFRESH = 10

# How much later than its arrival a message may be noted here, in seconds.
LATE = 2

# How long a command may take, the queues may take to drain, and the process to end, in seconds.
PATIENCE = 120

# Figures that must be 0.
BAD = [
    "lost_events", "duplicated_events", "lost_handled_events", "handled_again_without_kill", "lost_messages",
    "duplicated_messages", "lost_records", "duplicated_records", "stale_records", "lost_grants", "unreported_grants",
    "presented_twice", "leaked", "forged_accepted", "ended_by_itself", "undrained", "unexpected",
]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Tenant:
    """A workspace, seen from outside."""

    def __init__(self, name, campaign):
        self.name, self.campaign = name, campaign
        self.vendor = Vendor(name, campaign)
        self.port, self.events_file = free_port(), os.path.join(campaign.home, f"{name}.events.jsonl")
        self.secret = "whsec_" + base64.b64encode(hashlib.sha256(name.encode()).digest()).decode()
        self.path = None
        self.lock = threading.Lock()
        # What was acknowledged: ids of events, and data by the ids of messages.
        self.events, self.messages = set(), {}

    def run(self, *words, stdin=None):
        return self.campaign.run("-w", self.name, *words, stdin=stdin)

    def documents(self, *words):
        """What a command prints, which must succeed."""
        code, out, err = self.run(*words, "--json")
        if code != 0:
            self.campaign.note("unexpected", self.name, words, code, err)
            return []
        return [json.loads(line) for line in out.splitlines()]

    def connect(self, account):
        words = ["connect", *account.replace("@", " --as ").split(), "--client-id", account, "--no-browser", "--json"]
        child = self.campaign.start("-w", self.name, *words, "--origin", self.vendor.origin())
        sign_in(json.loads(child.stdout.readline())["url"])
        code, _, err = self.campaign.end(child)
        if code != 0:
            self.campaign.note("unexpected", "connect", self.name, account, code, err)

    def set_up(self):
        for account in ACCOUNTS:
            self.connect(account)
        for stream in ["orders", "notes"]:
            self.run("schedule", "set", f"{MAIN}/{stream}", "every 1m", "--jitter", "5s")
        for account in OTHERS:
            self.run("schedule", "set", f"{account}/lines", "every 1m", "--jitter", "30s")
        self.run("webhook", "secret", MAIN, "--set", "-", stdin=self.secret)
        [url] = self.documents("webhook", "url", MAIN)
        self.path = urllib.parse.urlsplit(url["local_url"]).path
        [endpoint] = self.documents("endpoint", "add", f"{self.vendor.origin()}/messages")
        self.vendor.message_secret = endpoint["secret"]
        for _ in range(60):
            for account in ACCOUNTS:
                for stream in ["orders", "notes"] if account == MAIN else ["lines"]:
                    self.vendor.change(account, stream)

    def post(self, port, event, body, secret):
        """One attempt to send an event: the status, or None without an answer."""
        at = int(time.time())
        headers = {"content-type": "application/json", "webhook-id": event, "webhook-timestamp": str(at),
                   "webhook-signature": "v1," + sign(secret, f"{event}.{at}.{body}".encode())}
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("POST", self.path, body, headers)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def send_events(self, number):
        """Sends webhooks until the campaign's end, each until it is acknowledged."""
        campaign, choose = self.campaign, random.Random(f"{self.campaign.options.seed} {self.name} {number}")
        count = 0
        while not campaign.over.wait(choose.random() * 0.3):
            count += 1
            event, kind = f"{self.name}/event/{number}/{count}", choose.random()
            document = {"type": "ping", "about": event}
            if kind < 0.4:
                record = self.vendor.change(MAIN, "orders")
                document = {"type": "order.changed", "about": record["id"], "record": record}
            elif kind < 0.5:
                document = {"type": "note.changed", "about": self.vendor.change(MAIN, "notes")["id"]}
            body = json.dumps(document)
            if choose.random() < 0.3:
                # Another one overtakes it.
                time.sleep(choose.random())
            if choose.random() < 0.01:
                self.send_forged(event, body)
            tries = 0
            while (status := self.post(self.port, event, body, self.secret)) is None or status // 100 != 2:
                tries += 1
                if status is not None:
                    campaign.count("events_answered_with_failure")
                if campaign.given_up.is_set():
                    return
                # As vendors do, it waits before it sends the event again.
                time.sleep(0.2)
            with self.lock:
                self.events.add(event)
            campaign.count("events_resent", tries)
            if choose.random() < 0.1:
                campaign.count("events_sent_again")
                self.post(self.port, event, body, self.secret)

    def send_forged(self, event, body):
        """Sends what must be refused: signed with the other's secret, or to the other's port."""
        other = next(tenant for tenant in self.campaign.tenants if tenant is not self)
        # Where both share a port, the path alone says whose event it is.
        ports = {(self.port, other.secret), (other.port, self.secret)} - {(self.port, self.secret)}
        for port, secret in ports:
            status = self.post(port, f"{event}/forged", body, secret)
            if status is not None:
                self.campaign.count("forged_refused" if status // 100 == 4 else "forged_accepted")

    def send_messages(self):
        """Sends messages by commands. One that is killed is repeated under its id."""
        campaign, choose = self.campaign, random.Random(f"{self.campaign.options.seed} {self.name} messages")
        count = 0
        while not campaign.over.wait(0.1 + choose.random() * 0.3):
            count += 1
            message, data = f"{self.name}-message-{count}", {"of": self.name, "number": count}
            words = ["endpoint", "send", "order.shipped", "--id", message, "--data", "-", "--json"]
            if choose.random() < 0.1:
                child = campaign.start("-w", self.name, *words, stdin=json.dumps(data))
                # At a random moment of its short life.
                time.sleep(choose.random() * 0.15)
                child.kill()
                campaign.end(child)
                campaign.count("send_commands_killed")
            while True:
                code, _, err = self.run(*words, stdin=json.dumps(data))
                if code == 0:
                    break
                campaign.note("unexpected", "send", self.name, message, code, err)
                if campaign.given_up.is_set():
                    return
            self.messages[message] = data

    def change_lines(self):
        choose = random.Random(f"{self.campaign.options.seed} {self.name} lines")
        while not self.campaign.over.wait(0.1):
            self.vendor.change(choose.choice(OTHERS), "lines")

    def operate(self):
        """Reconnects what needs it, as a person would."""
        while not self.campaign.stopped.wait(2):
            self.reconnect()

    def reconnect(self):
        campaign = self.campaign
        for status in self.documents("status"):
            for connection in status["connections"]:
                name = connection["connection"]
                if connection["status"] != "needs_reauth":
                    continue
                found = re.search(r"a refresh at (\S+) was cut off", connection["reason"] or "")
                if not found:
                    campaign.note("lost_grants", self.name, name, connection["reason"])
                else:
                    at = datetime.datetime.fromisoformat(found[1]).timestamp()
                    # The marker's time has no fractions.
                    if any(at - 1 <= kill <= at + 1 + LONGEST_REFRESH for kill in campaign.killed_at):
                        campaign.count("refreshes_interrupted_and_reported")
                    else:
                        campaign.note("lost_grants", "no kill", self.name, name, connection["reason"])
                self.connect(name)
                campaign.count("reconnected")

    def waiting(self):
        """How many events and messages are not done with."""
        statuses = ["pending", "failed"]
        events = [self.documents("webhook", "events", "--status", status, "--limit", "1000000") for status in statuses]
        deliveries = [self.documents("endpoint", "deliveries", "--status", status, "--limit", "1000000")
                      for status in statuses]
        return sum(map(len, events)), sum(len(listed["deliveries"]) for one in deliveries for listed in one)

    def handled(self):
        """The ids of the events that were handled, as often as they were."""
        with open(self.events_file, "rb") as file:
            return [json.loads(line)["delivery_id"] for line in file]

    def judge_events(self):
        campaign = self.campaign
        stored = [event["delivery_id"] for event in self.documents("webhook", "events", "--limit", "1000000")]
        handled = self.handled()
        for name in {*stored, *handled} - self.events:
            campaign.note("leaked" if not name.startswith(self.name) else "unexpected", "event", self.name, name)
        again = len(handled) - len(set(handled))
        campaign.count("events_acknowledged", len(self.events))
        campaign.count("events_stored", len(set(stored)))
        campaign.count("events_handled", len(set(handled)))
        campaign.count("events_handled_again", again)
        # Events are handled one after the other, so that a kill repeats at most one of them.
        campaign.count("handled_again_without_kill", max(0, again - campaign.counts["kills"]))
        campaign.count("duplicated_events", len(stored) - len(set(stored)))
        for figure, have in [("lost_events", stored), ("lost_handled_events", handled)]:
            for name in self.events - set(have):
                campaign.note(figure, self.name, name)
        for event in self.documents("webhook", "events", "--status", "dead"):
            campaign.note("unexpected", "dead", self.name, event)

    def judge_messages(self):
        campaign, arrivals = self.campaign, self.vendor.arrivals
        [listed] = self.documents("endpoint", "deliveries", "--limit", "1000000")
        deliveries = {}
        for delivery in listed["deliveries"]:
            deliveries.setdefault(delivery["message"], []).append(delivery["status"])
        for message, data in self.messages.items():
            if deliveries.get(message) != ["delivered"]:
                figure = "duplicated_messages" if len(deliveries.get(message, [])) > 1 else "lost_messages"
                campaign.note(figure, self.name, message, deliveries.get(message))
            came = arrivals.get(message, [])
            if not came or any(other != data for _, other in came):
                campaign.note("lost_messages", self.name, message, came)
            for (first, _), (second, _) in zip(came, came[1:]):
                if any(first - LATE <= kill <= second for kill in campaign.killed_at_monotonic):
                    campaign.count("messages_delivered_again")
                else:
                    campaign.note("duplicated_messages", "without a kill", self.name, message, first, second)
        for message in {*deliveries, *arrivals} - set(self.messages):
            campaign.note("leaked" if not message.startswith(self.name) else "unexpected", "message", self.name, message)
        campaign.count("messages_acknowledged", len(self.messages))
        campaign.count("messages_refused_once", len(self.vendor.refused))
        campaign.count("messages_delivered", len(arrivals.keys() & self.messages.keys()))

    def judge_records(self):
        campaign = self.campaign
        code, _, err = self.run("sync", "--json")
        if code != 0:
            campaign.note("unexpected", "sync", self.name, code, err)
        for (account, stream), records in self.vendor.lists.items():
            if not records:
                continue
            expected = {name: record for name, record in records.items() if not record["deleted"]}
            # What begins with an underscore is integ's own.
            found = [{key: value for key, value in record.items() if not key.startswith("_")}
                     for record in self.documents("records", f"{account}/{stream}")]
            have = {record["id"]: record for record in found}
            campaign.count("records", len(have))
            campaign.count("records_deleted", len(records) - len(expected))
            campaign.count("duplicated_records", len(found) - len(have))
            for name in expected.keys() - have.keys():
                campaign.note("lost_records", self.name, expected[name])
            for name, record in have.items():
                if not name.startswith(f"{self.name}/{account}/{stream}/"):
                    campaign.note("leaked", "record", self.name, account, record)
                elif record != expected.get(name):
                    campaign.note("stale_records", self.name, record, records.get(name))
        [jobs] = self.documents("job", "list", "--limit", "1000000")
        campaign.count("syncs", len(jobs["jobs"]))

    def judge_grants(self):
        for account in ACCOUNTS:
            for printed in self.documents("token", account):
                if printed["token"] != self.vendor.newest[account]:
                    self.campaign.note("unreported_grants", self.name, account, printed["token"])
        self.campaign.count("refreshes", self.vendor.refreshes)
        self.campaign.count("list_pages", self.vendor.pages)
        self.campaign.count("presented_twice", sum(times > 1 for times in self.vendor.presented.values()))


class Campaign:
    """Runs a process under traffic, kills it again and again, and judges what is left. A kind of campaign says how the process is
    started (`command`), which threads send (`senders`) and what is judged beside the rest."""

    # What a workspace of it is.
    tenant = Tenant
    # Further figures, and further ones that must be 0.
    figures, bad = [], []
    # How the process ends when it is asked to.
    end_code = 0

    def __init__(self, options, home):
        self.options, self.home = options, home
        self.random = random.Random(options.seed)
        self.lock = threading.Lock()
        # No more traffic; everything has drained, or never will; the process has ended.
        self.over, self.given_up, self.stopped = (threading.Event() for _ in range(3))
        self.counts = dict.fromkeys(
            ["kills", "events_acknowledged", "events_resent", "events_sent_again", "events_answered_with_failure",
             "events_stored", "events_handled", "events_handled_again", "forged_refused", "records", "records_deleted",
             "syncs", "list_pages", "messages_acknowledged", "messages_refused_once", "messages_delivered",
             "messages_delivered_again", "send_commands_killed", "refreshes", "refreshes_interrupted_and_reported",
             "reconnected", *self.figures, *BAD, *self.bad], 0)
        self.examples = []
        # Of the wall clock, as markers are, and of the monotonic one.
        self.killed_at, self.killed_at_monotonic = [], []
        self.process, self.children = None, set()
        self.tenants = [self.tenant(name, self) for name in WORKSPACES]
        self.log_file = os.path.join(home, "process.log")
        self.log = open(self.log_file, "ab")

    def count(self, figure, by=1):
        with self.lock:
            self.counts[figure] += by

    def note(self, figure, *details):
        with self.lock:
            self.counts[figure] += 1
            if self.counts[figure] <= 10:
                self.examples.append([figure, *map(str, details)])

    def expect_own(self, vendor, name):
        """Whatever a workspace sends to its vendor is named after it."""
        if not name.startswith(vendor.workspace):
            self.note("leaked", "sent to the vendor", vendor.workspace, name)

    def environment(self):
        return {"INTEG_HOME": self.home, "HOME": self.home, "PATH": os.environ.get("PATH", "")}

    def start(self, *words, stdin=None):
        pipe = subprocess.PIPE
        child = subprocess.Popen([self.options.integ, *words], env=self.environment(), cwd=self.home, stdin=pipe, stdout=pipe,
                                 stderr=pipe, text=True)
        with self.lock:
            self.children.add(child)
        try:
            child.stdin.write(stdin or "")
            child.stdin.close()
        except BrokenPipeError:
            pass
        child.stdin = None
        return child

    def end(self, child):
        """Exit code, stdout and stderr; negative codes are signals."""
        try:
            out, err = child.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.note("unexpected", "a command hangs", child.args)
            child.kill()
            out, err = child.communicate()
        with self.lock:
            self.children.discard(child)
        return child.returncode, out, err

    def run(self, *words, stdin=None):
        return self.end(self.start(*words, stdin=stdin))

    def set_up(self):
        os.makedirs(os.path.join(self.home, "connectors"), mode=0o700)
        with open(os.path.join(self.home, "connectors/rival.toml"), "w") as file:
            file.write(CONNECTOR)
        for words in [["config", "set", "vault.identity", "file"], ["config", "set", "http.allow", "127.0.0.1"],
                      *(["workspace", "create", name] for name in WORKSPACES)]:
            code, _, err = self.run(*words)
            if code != 0:
                raise SystemExit(f"{words}: {err}")
        for tenant in self.tenants:
            tenant.set_up()

    def command(self):
        """The process's words."""
        raise NotImplementedError

    def senders(self):
        """What sends until the campaign is over: functions and their arguments."""
        for tenant in self.tenants:
            yield from ((tenant.send_events, (number,)) for number in range(3))
            yield tenant.send_messages, ()
            yield tenant.change_lines, ()

    def start_process(self):
        self.process = subprocess.Popen(self.command(), env=self.environment(), cwd=self.home, stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log)

    def check_alive(self):
        if self.process.poll() is not None:
            self.note("ended_by_itself", self.process.returncode)
            self.start_process()

    def kill_process(self):
        self.check_alive()
        # Nobody has waited for it yet: the pid is still the child's.
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.killed_at.append(time.time())
        self.killed_at_monotonic.append(time.monotonic())
        self.count("kills")
        self.start_process()

    def traffic(self):
        """Runs and kills the process under traffic, then lets it finish its work and stops it."""
        self.start_process()
        senders = [threading.Thread(target=work, args=arguments, daemon=True) for work, arguments in self.senders()]
        operators = [threading.Thread(target=tenant.operate, daemon=True) for tenant in self.tenants]
        for thread in senders + operators:
            thread.start()
        end = time.monotonic() + self.options.minutes * 60
        while (left := end - time.monotonic()) > 0:
            every = self.options.kill_every
            # The process works meanwhile.
            time.sleep(min(left, every * (0.75 + self.random.random() / 2) if every else 60))
            if every:
                self.kill_process()
            print(f"{max(0, end - time.monotonic()):.0f} s left, {self.counts['kills']} kills, "
                  f"{[len(tenant.events) for tenant in self.tenants]} events, "
                  f"{[len(tenant.messages) for tenant in self.tenants]} messages, "
                  f"{[tenant.vendor.refreshes for tenant in self.tenants]} refreshes", file=sys.stderr)
        self.over.set()
        self.drain(senders)
        self.stop_process()
        self.stopped.set()
        for thread in operators:
            thread.join()

    def drain(self, senders):
        until = time.monotonic() + PATIENCE
        # Every grant has been due once after the last kill.
        time.sleep(LIFETIME)
        for thread in senders:
            thread.join(max(0, until - time.monotonic()))
        while any(thread.is_alive() for thread in senders) or any(map(any, (left := [one.waiting() for one in self.tenants]))):
            self.check_alive()
            if time.monotonic() > until:
                self.note("undrained", left)
                break
            # Each look takes several commands.
            time.sleep(1)
        self.given_up.set()

    def stop_process(self):
        self.check_alive()
        began = time.monotonic()
        self.process.terminate()
        try:
            code = self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            code = "hangs"
        if code != self.end_code:
            self.note("unexpected", "the end of the process", code)
        self.counts["seconds_to_stop"] = round(time.monotonic() - began, 1)

    def end_of_log(self):
        with open(self.log_file, encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-40:])

    def judge(self):
        for tenant in self.tenants:
            tenant.reconnect()
            tenant.judge_grants()
            tenant.judge_records()
            tenant.judge_events()
            tenant.judge_messages()

    def passed(self):
        return all(self.counts[figure] == 0 for figure in [*BAD, *self.bad])

    def close(self):
        for child in [self.process, *self.children]:
            if child is not None and child.poll() is None:
                child.kill()
                child.wait()
        self.log.close()


def revision():
    def git(*words):
        return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True).stdout.strip()

    return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))


def run(kind, options, name):
    """Runs a campaign, writes its figures, and returns the exit code."""
    commit, changed = revision()
    home = tempfile.mkdtemp(prefix=f"integ-{name}-")
    started = time.monotonic()
    campaign = kind(options, home)
    try:
        campaign.set_up()
        campaign.traffic()
        campaign.judge()
        passed = campaign.passed()
        if not passed:
            sys.stderr.write(campaign.end_of_log())
    finally:
        campaign.close()
        if options.keep:
            print(home, file=sys.stderr)
        else:
            shutil.rmtree(home, ignore_errors=True)
    figures = {
        "campaign": name,
        "commit": commit,
        "changed_since_commit": changed,
        "seed": options.seed,
        "minutes": options.minutes,
        "kill_every": options.kill_every,
        **campaign.counts,
        "seconds": round(time.monotonic() - started, 1),
        "passed": passed,
        "examples": campaign.examples,
    }
    text = json.dumps(figures, indent=1) + "\n"
    if options.output:
        with open(options.output, "w") as file:
            file.write(text)
    else:
        sys.stdout.write(text)
    return 0 if passed else 1
