"""What the measurements of syncs share: the service that lists records, the Python that has the peers, and the time and memory of
one process.
"""

import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

PEERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers")
VENV = os.path.join(PEERS, "venv")

# What `list_server` accepts.
TOKEN = "0123456789abcdef"


def python():
    """The Python that has the peers."""
    requirements = os.path.join(PEERS, "requirements.txt")
    if not os.path.isdir(VENV) or os.path.getmtime(requirements) > os.path.getmtime(VENV):
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
        pip = [os.path.join(VENV, "bin", "pip"), "install", "--quiet", "--no-deps", "--require-hashes", "-r", requirements]
        subprocess.run(pip, check=True)
        os.utime(VENV)
    return os.path.join(VENV, "bin", "python")


@contextmanager
def server(binary, records, delay_ms=0):
    """Runs `list_server`: its URL."""
    process = subprocess.Popen([binary, str(records), str(delay_ms)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait()


def measured(command, env, note):
    """Seconds and peak MiB of one whole process, which must succeed; memory as GNU time sees it."""
    timer = shutil.which("time")
    timed = [timer, "-f", "%M", "-o", note, *command] if timer else command
    start = time.perf_counter()
    done = subprocess.run(timed, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        raise SystemExit(f"{command} failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    if not timer:
        return seconds, float("nan")
    with open(note, encoding="utf-8") as file:
        return seconds, int(file.read().split()[-1]) / 1024


def environment(home):
    return {"PATH": os.environ["PATH"], "HOME": home, "INTEG_HOME": home, "CI": "1"}
