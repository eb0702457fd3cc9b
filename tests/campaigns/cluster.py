"""A PostgreSQL cluster of two servers, and nodes of integ that share a workspace in it.

The primary answers a commit once the replica has it on its disk. A failover kills the primary, promotes the replica, and makes a
replica of what was the primary, with pg_basebackup. As with Patroni's `synchronous_mode`, `synchronous_standby_names` is empty until
that replica streams. The nodes have both addresses in their URL (`target_session_attrs=read-write`): no proxy is needed.
"""

import concurrent.futures
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from rival import sign_in
from tenants import free_port, revision

# The user `nobody`: PostgreSQL does not run as root.
NOBODY = 65_534

# How long a server may take to start, and a command to end, in seconds.
PATIENCE = 300

# An hour apart, the first as it is.
CLOCKS = [None, "+1h", "-1h"]


# Starts every process that lives long. The kernel ends them with the thread that started them (PDEATHSIG), and this one lives as
# long as the program, however that ends.
STARTER = concurrent.futures.ThreadPoolExecutor(1)


def start(words, **options):
    words = ["setpriv", "--pdeathsig", "KILL", *words]
    return STARTER.submit(subprocess.Popen, words, **options).result()


def programs():
    """The folder with the programs of the newest PostgreSQL that is installed, as Debian's packages place them; or None."""
    found = [folder for folder in glob.glob("/usr/lib/postgresql/*/bin") if os.path.exists(f"{folder}/pg_basebackup")]
    return max(found, key=lambda folder: int(folder.split("/")[-2]), default=None)


def faketime():
    return next(iter(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), None)


def children_of(pid):
    """The processes that a process has started and not yet waited for."""
    found = []
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                number, rest = file.read().rsplit(")", 1)
        except OSError:
            continue
        if int(rest.split()[1]) == pid:
            found.append(int(number.split()[0]))
    return found


class Server:
    """One of the cluster's servers: a folder, a port, and the process while it runs."""

    def __init__(self, cluster, name):
        self.cluster, self.name, self.port = cluster, name, free_port()
        self.data, self.process = os.path.join(cluster.folder, name), None

    def start(self):
        # Without a socket, whose path could be too long.
        words = [os.path.join(self.cluster.programs, "postgres"), "-D", self.data, "-p", str(self.port), "-k", "",
                 "-c", "listen_addresses=127.0.0.1"]
        self.process = self.cluster.spawn(words)

    def kill(self):
        """Kills every process of the server at once, as a machine ends that loses its power."""
        # It is stopped first: it starts no others and forgets none, so that their ids stay theirs.
        os.kill(self.process.pid, signal.SIGSTOP)
        pids = [*children_of(self.process.pid), self.process.pid]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        until = time.monotonic() + PATIENCE
        while any(os.path.exists(f"/proc/{pid}") for pid in pids) and time.monotonic() < until:
            # A server does not start while a process of the last one lives.
            time.sleep(0.01)
        self.process = None

    def psql(self, sql, database="postgres", wait=True):
        """Runs a statement as superuser and returns what it prints; waits for the server."""
        until = time.monotonic() + PATIENCE
        words = [os.path.join(self.cluster.programs, "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1",
                 "-p", str(self.port), "-U", "postgres", "-d", database, "-c", sql]
        while True:
            done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
            if done.returncode == 0:
                return done.stdout.strip()
            if done.returncode != 2 or not wait or time.monotonic() > until:
                raise RuntimeError(f"{sql}: {done.stderr}{self.cluster.end_of_log()}")
            # It is starting.
            time.sleep(0.05)


class Cluster:
    def __init__(self, settings=(), prefix="integ-cluster-", parent="/tmp"):
        self.programs = programs()
        self.folder = tempfile.mkdtemp(prefix=prefix, dir=parent)
        self.log = open(os.path.join(self.folder, "log"), "ab")
        self.settings = list(settings)
        if os.geteuid() == 0:
            os.chown(self.folder, NOBODY, NOBODY)
        self.primary, self.standby = Server(self, "a"), Server(self, "b")

    def spawn(self, words):
        """Starts a program as a user that PostgreSQL accepts."""
        env = {"PATH": os.environ.get("PATH", "")}
        user = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []
        return start([*user, "--", *words], env=env, cwd="/", stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def run(self, program, *words):
        process = self.spawn([os.path.join(self.programs, program), *words])
        if process.wait(timeout=PATIENCE * 4) != 0:
            raise RuntimeError(f"{program}: {self.end_of_log()}")

    def end_of_log(self):
        with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-15:])

    def start(self, replica=True):
        self.run("initdb", "-D", self.primary.data, "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C",
                 "--locale-provider=icu", "--icu-locale=en-US", "--no-sync")
        settings = {"max_connections": 400, "wal_retrieve_retry_interval": "100ms", **dict(self.settings)}
        with open(os.path.join(self.primary.data, "postgresql.conf"), "a", encoding="utf-8") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        self.primary.start()
        self.primary.psql("CREATE ROLE integ LOGIN")
        self.primary.psql("CREATE DATABASE integ OWNER integ")
        if replica:
            self.add_replica()

    def add_replica(self):
        """Makes the other server a replica, and commits wait for it from now on."""
        standby = self.standby
        shutil.rmtree(standby.data, ignore_errors=True)
        self.run("pg_basebackup", "-D", standby.data, "-h", "127.0.0.1", "-p", str(self.primary.port), "-U", "postgres",
                 "--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf", "--no-sync")
        standby.start()
        self.wait_for("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1")
        self.set_standby_names("*")
        self.wait_until_synchronous()

    def set_standby_names(self, names):
        self.primary.psql(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        self.primary.psql("SELECT pg_reload_conf()")

    def wait_for(self, sql, wanted):
        until = time.monotonic() + PATIENCE
        while (found := self.primary.psql(sql)) != wanted:
            if time.monotonic() > until:
                raise RuntimeError(f"{sql}: {found}, not {wanted}: {self.end_of_log()}")
            # The replica is starting, or catches up.
            time.sleep(0.05)

    def wait_until_synchronous(self):
        self.wait_for("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND flush_lsn >= pg_current_wal_flush_lsn()",
                      "1")

    def restart_primary(self):
        """Kills the primary and starts it. What it had not yet sent to the replica is there when this returns."""
        self.primary.kill()
        self.primary.start()
        self.primary.psql("SELECT 1")
        self.wait_until_synchronous()

    def failover(self, pause=0.0):
        """Kills the primary, promotes the replica, and makes the other one a replica."""
        self.primary.kill()
        # As long as it takes somebody to notice.
        time.sleep(pause)
        self.promote()

    def isolate(self, seconds):
        """The replica is lost for a while, so that the primary answers no commit. Then the primary is lost, and the replica, which is
        there again, is promoted: whatever was answered meanwhile is lost."""
        self.standby.kill()
        # Longer than any limit of a statement, if the caller wants that.
        time.sleep(seconds)
        self.primary.kill()
        self.standby.start()
        self.promote()

    def promote(self):
        """Promotes the replica, which runs, and makes a replica of the other one, which does not."""
        self.primary, self.standby = self.standby, self.primary
        self.primary.psql("SELECT pg_promote()")
        self.set_standby_names("")
        self.add_replica()

    def url(self):
        hosts = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}"
        return f"postgres://integ@{hosts}/integ?target_session_attrs=read-write"

    def close(self):
        for server in (self.primary, self.standby):
            if server.process is not None:
                server.kill()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Node:
    """A machine: a folder with copies of the vault's key and the reference to the store, and `integ serve` there."""

    def __init__(self, number, home, integ, workspace):
        self.number, self.home, self.integ, self.workspace, self.clock = number, home, integ, workspace, None
        self.port, self.process = free_port(), None
        self.log = open(os.path.join(home, "serve.log"), "ab")

    def environment(self):
        environment = {"INTEG_HOME": self.home, "HOME": self.home, "PATH": os.environ.get("PATH", "")}
        if self.clock:
            environment.update(LD_PRELOAD=faketime(), FAKETIME=self.clock, FAKETIME_DONT_FAKE_MONOTONIC="1", NO_FAKE_STAT="1")
        return environment

    def spawn(self, words, **pipes):
        return start(["--", self.integ, "-w", self.workspace, *words], env=self.environment(), cwd=self.home, **pipes)

    def start(self, *words):
        """Starts `serve` once more with the words of the first start."""
        self.words = words or self.words
        self.process = self.spawn(self.words, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def serve(self, *words):
        self.start("serve", "--bind", f"127.0.0.1:{self.port}", *words)

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        return self.process.wait()

    def wait_until_it_listens(self):
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise RuntimeError(f"node {self.number} has ended: {self.end_of_log()}")
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                # It is starting.
                time.sleep(0.02)
        raise RuntimeError(f"node {self.number} does not listen: {self.end_of_log()}")

    def end_of_log(self):
        with open(os.path.join(self.home, "serve.log"), encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-20:])

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.kill()
        self.log.close()


class Team:
    """A workspace in a cluster, and the machines that share it."""

    workspace = "team"

    def __init__(self, cluster, integ, nodes=3, connectors=(), settings=(), parent="/tmp"):
        self.cluster, self.integ = cluster, integ
        self.folder = tempfile.mkdtemp(prefix="integ-team-", dir=parent)
        self.nodes, self.count = [], nodes
        self.connectors, self.settings = dict(connectors), [("vault.identity", "file"), *settings]
        self.home = os.path.join(self.folder, "0")

    def run(self, *words, stdin="", home=None):
        """Exit code, stdout and stderr of a command."""
        home = home or self.home
        env = {"INTEG_HOME": home, "HOME": home, "PATH": os.environ.get("PATH", "")}
        done = subprocess.run([self.integ, *words], env=env, cwd=home, input=stdin, capture_output=True, text=True, timeout=PATIENCE)
        return done.returncode, done.stdout, done.stderr

    def succeed(self, *words, stdin=""):
        code, out, err = self.run(*words, stdin=stdin)
        if code != 0:
            raise RuntimeError(f"{words}: {code} {err}")
        return out

    def documents(self, *words):
        return [json.loads(line) for line in self.succeed("-w", self.workspace, *words, "--json").splitlines()]

    def configure(self):
        """Makes the folder, with connectors and settings."""
        os.makedirs(os.path.join(self.home, "connectors"), mode=0o700)
        for name, text in self.connectors.items():
            with open(os.path.join(self.home, "connectors", f"{name}.toml"), "w", encoding="utf-8") as file:
                file.write(text)
        for name, value in self.settings:
            self.succeed("config", "set", name, value)

    def create(self):
        self.configure()
        self.succeed("workspace", "create", self.workspace, "--store", self.cluster.url())

    def connect(self, account, vendor, client_secret=None):
        """Connects an account of a vendor of `rival`."""
        words = [self.integ, "-w", self.workspace, "connect", *account.replace("@", " --as ").split(), "--client-id", account]
        env = {"INTEG_HOME": self.home, "HOME": self.home, "PATH": os.environ.get("PATH", "")}
        pipe = subprocess.PIPE
        words += ["--client-secret-file", "-"] if client_secret else []
        with subprocess.Popen([*words, "--origin", vendor.origin(), "--no-browser", "--json"], env=env, cwd=self.home,
                              stdin=pipe, stdout=pipe, stderr=pipe, text=True) as child:
            child.stdin.write(client_secret or "")
            child.stdin.close()
            child.stdin = None
            line = child.stdout.readline()
            if line:
                sign_in(json.loads(line)["url"])
            _, err = child.communicate(timeout=PATIENCE)
        if child.returncode != 0:
            raise RuntimeError(f"connect {account}: {err}")

    def add_nodes(self):
        """Copies the folder for the other machines. Whatever needs the key is done by then."""
        homes = [self.home, *(os.path.join(self.folder, str(number)) for number in range(1, self.count))]
        for home in homes[1:]:
            shutil.copytree(self.home, home)
        self.nodes = [Node(number, home, self.integ, self.workspace) for number, home in enumerate(homes)]

    def close(self):
        for node in self.nodes:
            node.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Counts:
    """Figures, and examples of those that must be 0."""

    def __init__(self, *names):
        self.lock, self.figures, self.examples = threading.Lock(), dict.fromkeys(names, 0), []

    def count(self, figure, by=1):
        with self.lock:
            self.figures[figure] = self.figures.get(figure, 0) + by

    def note(self, figure, *details):
        with self.lock:
            self.figures[figure] = self.figures.get(figure, 0) + 1
            if self.figures[figure] <= 8:
                self.examples.append([figure, *map(str, details)])


def missing(integ, clocks=False):
    """What is not there, as a sentence; empty if all is."""
    absent = []
    if not os.access(integ, os.X_OK):
        absent.append(f"{integ} (build it, or name it with --integ)")
    if programs() is None:
        absent.append("PostgreSQL (the Debian package postgresql)")
    if clocks and faketime() is None:
        absent.append("libfaketime (the Debian package faketime; or --no-clocks)")
    return f"missing: {', '.join(absent)}" if absent else ""


def write(name, figures, output):
    """Writes the figures with the commit; an exit code comes back."""
    commit, changed = revision()
    document = {"campaign": name, "commit": commit, "changed_since_commit": changed, **figures}
    text = json.dumps(document, indent=1) + "\n"
    if output:
        with open(output, "w", encoding="utf-8") as file:
            file.write(text)
    else:
        print(text, end="")
    return 0 if figures["passed"] else 1


def end_on_signals():
    """Makes SIGTERM an exception, so that `finally` cleans up."""
    def end(*_):
        raise SystemExit("ended by a signal")

    signal.signal(signal.SIGTERM, end)
