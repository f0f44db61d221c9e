"""Speaks with the daemons as a human's tools do, and finds them; for the modules that hold, kill and change."""

import glob
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import threading
import time

import harness

HERE = pathlib.Path(__file__).resolve().parent
SLOW = 60


def probe():
    """The compiled probe, in a folder of its own."""
    program = pathlib.Path(tempfile.gettempdir()) / "probe-program" / "probe"
    if not program.exists():
        program.parent.mkdir(exist_ok=True)
        subprocess.run(["gcc", "-O2", "-o", str(program), str(HERE / "probe.c"), "-lpthread"], check=True)
    return str(program)


def folder(*names):
    """A new folder that all may use, with folders in it, each with files `a` to `h`."""
    top = pathlib.Path(tempfile.mkdtemp(prefix="case-"))
    for name in names:
        (top / name).mkdir(parents=True)
        for letter in "abcdefgh":
            (top / name / letter).write_text("before\n")
            (top / name / letter).chmod(0o666)
        (top / name).chmod(0o777)
    top.chmod(0o777)
    return top


def wait(test, seconds=SLOW):
    """The first true value of `test()`, or the last false one."""
    end = time.monotonic() + seconds
    while not (value := test()) and time.monotonic() < end:
        time.sleep(0.05)
    return value


def request(path, **fields):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(path)
        sock.sendall(json.dumps(fields).encode() + b"\n")
        line = sock.makefile().readline()
    if not line:
        raise ConnectionError(f"{path}: the daemon ended before it responded")
    return json.loads(line)


def sockets():
    return sorted(glob.glob("/run/authz/*/control.sock"))


def everywhere(**fields):
    """Each live daemon's response, with its socket."""
    found = []
    for path in sockets():
        try:
            found.append((path, request(path, **fields)))
        except OSError:
            continue
    return found


def session(name):
    """(socket, view) of the live session with this name, or None."""
    for path, response in everywhere(op="sessions"):
        for view in response.get("sessions", []):
            if view["name"] == name:
                return path, view
    return None


def pending(resource=None):
    """What waits, or what waits for this resource."""
    views = [view for _, response in everywhere(op="pending") for view in response.get("pending", [])]
    return [view for view in views if resource in (None, view["resource"])]


def answer(view, approve, scope="once"):
    return [response for _, response in everywhere(op="answer", id=view["id"], approve=approve, scope=scope)]


def daemon_of(process):
    """The daemon that an `authz exec` started."""
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            fields = pathlib.Path(path).read_text().rpartition(")")[2].split()
            line = pathlib.Path(path).with_name("cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if int(fields[1]) == process.pid and b"daemon" in line:
            return int(path.split("/")[2]), line[line.index(b"--instance") + 1].decode()
    return None


def entries(run, *options):
    """The ledger's entries of the session of a finished `authz exec`."""
    words = (run.stderr if hasattr(run, "stderr") else run).replace(",", " ").split()
    found = [word for before, word in zip(words, words[1:]) if before in ("session", "--session")]
    return ledger("--session", found[0].rstrip(",;"), *options) if found else []


def ledger(*options):
    done = harness.authz("ledger", "list", "--json", "--limit", "0", *options)
    return [json.loads(line) for line in done.stdout.splitlines()]


class Lines:
    """What a running command writes to its standard output, line by line, without waiting for ever."""

    def __init__(self, process):
        self.lines, self.read = [], 0
        self.thread = threading.Thread(target=self.collect, args=[process.stdout], daemon=True)
        self.thread.start()

    def collect(self, stream):
        for line in stream:
            self.lines.append(line)

    def take(self, count, seconds=30):
        """The next `count` lines, or fewer if they do not come."""
        wait(lambda: len(self.lines) >= self.read + count, seconds)
        new = self.lines[self.read:self.read + count]
        self.read += len(new)
        return "".join(new)

    def ended(self, seconds=30):
        """Whether all who could write have ended."""
        self.thread.join(seconds)
        return not self.thread.is_alive()


def numbers(output, letters="wrcd"):
    """The probe's errno for each operation, in turn."""
    lines = [line.split() for line in output.splitlines()]
    return [int(line[1]) for line in lines if len(line) == 4 and line[0] in letters]


def timings(output):
    """(errno, counted, milliseconds) for each operation."""
    lines = [line.split() for line in output.splitlines()]
    return [tuple(map(int, line[1:])) for line in lines if len(line) == 4 and line[0] in "wrcd"]


def stops(output):
    """How many stops the probe's parent saw; None if it did not watch to the end."""
    for line in output.splitlines():
        if line.startswith("stops "):
            return int(line.split()[1])
    return None


def finish(process, seconds=120):
    """(stdout, stderr) of a running command, which is ended if it does not end."""
    try:
        return process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            out, err = process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            out, err = "", ""  # others may hold the pipes open
        return out, err + "\ntimed out"
