"""The trace of an agent's work, agent-trace.txt, and its replay, bare and under preset:coding-agent in turn.

    python3 tests/bench/trace.py record    makes it anew: the work below, in observe mode, seen by the seccomp back end

A line is a pause in microseconds, a letter (see replay.c) and one or two paths; `@f PATH SIZE` and `@d PATH` are what is
there before. Paths of the system are below `system`, those of the workspace below `work`; files that are read have the
size they had, 64 KiB at most, and programs are one that ends at once. The pauses are those of the recording, so they
have what the programs computed, and are scaled to what the same work takes bare. No model thinks in between.
"""
import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from figures import HERE, Rows, Worker

TRACE = os.path.join(HERE, "agent-trace.txt.gz")
ROUNDS = 7
PACED = 7
WORK = r"""
set -e
export HOME=$PWD GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
git status --short; git log --oneline -3; grep -rn total src; cat src/cart.py README
cat > src/cart.py.new <<'END'
def total(prices, tax=0):
    return sum(prices) * (1 + tax)
END
mv src/cart.py.new src/cart.py
cat > tests/test_tax.py <<'END'
import unittest
from src.cart import total
class Tax(unittest.TestCase):
    def test_tax(self):
        self.assertEqual(total([10], 0.5), 15)
END
python3 -m unittest discover -s tests -t .
node -e 'const fs = require("fs"); for (const name of fs.readdirSync("src").filter(name => name.endsWith(".py"))) fs.readFileSync("src/" + name)'
python3 -c '
import http.server, threading, urllib.request
server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
for _ in range(3): urllib.request.urlopen("http://127.0.0.1:%d/README" % server.server_port).read()
'
git diff; git add -A; git commit -qm 'Tax'; git log -1 --stat
"""


def repository(folder):
    """What the work is done in."""
    files = {"README": "A cart.\n", "src/__init__.py": "", "tests/__init__.py": "",
             "src/cart.py": "def total(prices):\n    return sum(prices)\n",
             "tests/test_cart.py": "import unittest\nfrom src.cart import total\nclass Cart(unittest.TestCase):\n"
                                   "    def test_total(self):\n        self.assertEqual(total([1, 2]), 3)\n"}
    files.update({f"src/part{number}.py": f"value = {number}\n" * 50 for number in range(20)})
    for name, text in files.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
    for command in ("init -q", "add -A", "-c user.name=a -c user.email=a@example.org commit -qm first"):
        subprocess.run(["git", *command.split()], cwd=folder, check=True)


LETTERS = {"file.write": "w", "file.create": "c", "file.delete": "u", "file.rename": "n", "file.link": "l",
           "file.setattr": "a", "net.connect": "t"}


def letter(entry, last):
    """What an entry is in a trace; none: nothing of its own."""
    action, syscall = entry["action"], entry.get("syscall")
    properties = entry["resource"].get("properties", {})
    role, path = properties.get("role"), entry["resource"]["id"]
    if action == "process.exec":
        if role == "library":
            return "m"
        # Its loader is decided beside it; the stand-in has none.
        return None if last == ("x", entry["subject"]["tid"]) or "/ld-linux" in path else "x"
    if action == "file.read":
        return "d" if properties.get("directory") else "r"
    if role == "target" or syscall in ("symlink", "symlinkat"):
        return None
    special = {"mkdir": "k", "mkdirat": "k", "rmdir": "e"}
    if action == "file.delete" and properties.get("directory"):
        return "e"
    return special.get(syscall) or LETTERS.get(action)


class Tree:
    """What is there while a trace runs, and what was before."""

    def __init__(self):
        self.now, self.before = {}, {}

    def folder(self, path):
        while path and path not in self.now:
            self.now[path] = self.before[path] = None
            path = os.path.dirname(path)

    def need(self, path, size):
        if path not in self.now:
            self.folder(os.path.dirname(path))
            self.now[path] = self.before[path] = size

    def apply(self, op, path, other, size):
        """Whether it can be done."""
        if op in "ck":
            if path in self.now or self.now.get(os.path.dirname(path), 0) is not None:
                if path not in self.now:
                    self.folder(os.path.dirname(path))
                else:
                    return False
            self.now[path] = 1000 if op == "c" else None
        elif op == "d":
            self.folder(path)
            return self.now[path] is None
        elif op != "t":
            self.need(path, None if op == "e" else size)
            if (self.now[path] is None) != (op == "e") and op not in "na":
                return False
            if op in "nl":
                if self.now[path] is None or (op == "l" and other in self.now):
                    return False
                self.folder(os.path.dirname(other))
                self.now[other] = self.now[path]
            if op in "uen":
                if op == "e" and any(name.startswith(path + "/") for name in self.now):
                    return False
                del self.now[path]
        return True


def lines(entries, work, scale):
    """The trace as text. `scale`: what a pause is multiplied by."""
    tree, steps, last, since = Tree(), [], None, None
    for entry in entries:
        at = timestamp(entry["timestamp"])
        op = letter(entry, last)
        last = (op, entry["subject"]["tid"])
        path = entry["resource"]["id"]
        if op is None or (op != "t" and (not path.startswith("/") or path.startswith(("/proc", "/dev", "/sys")) or " " in path)):
            continue
        size = min(os.stat(path).st_size, 65536) if op in "rmx" and os.path.isfile(path) else 1000
        other = entry["resource"]["properties"].get("target", "") if op in "nl" else ""
        path, other = (place(name, work) if name else "" for name in ("-" if op == "t" else path, other))
        if op == "m" and steps and steps[-1][1:3] == ["r", path]:
            steps.pop()  # it was opened for that
        if op == "x":
            size = -1
        if tree.apply(op, path, other, size):
            pause = 0 if since is None else max(0, round((at - since) * 1e6 * scale))
            steps.append([pause, op, path, other])
            since = at
    there = [f"@d {path}" if size is None else f"@x {path}" if size < 0 else f"@f {path} {size}"
             for path, size in sorted(tree.before.items())]
    return there + [" ".join(map(str, step)).rstrip() for step in steps]


def place(path, work):
    if path == "-" or path == work:
        return "-" if path == "-" else "work"
    return f"work{path[len(work):]}" if path.startswith(work + "/") else f"system{path}"


def timestamp(text):
    whole, part = text.rstrip("Z").split(".")
    return time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{part}")


def record():
    folder = tempfile.mkdtemp(prefix="authz-trace-")
    work, state = os.path.join(folder, "work"), os.path.join(folder, "state")
    took = []
    for wrap in ([], ["authz", "exec", "--backend", "seccomp", "--mode", "observe", "--audit-each", "--quiet", "--policy",
                      "preset:coding-agent", "--workspace", work, "--state", state, "--"]):
        shutil.rmtree(work, ignore_errors=True)
        os.mkdir(work)
        repository(work)
        since = time.monotonic()
        subprocess.run([*wrap, "sh", "-c", WORK], cwd=work, check=True, stdin=subprocess.DEVNULL,
                       env={"PATH": "/usr/bin:/bin:" + os.path.dirname(shutil.which("authz"))})
        took.append(time.monotonic() - since)
    listed = subprocess.run(["authz", "ledger", "--state", state, "list", "--json", "--limit", "0"],
                            stdout=subprocess.PIPE, check=True)
    entries = [entry for entry in map(json.loads, listed.stdout.splitlines()) if entry["kind"] == "decision"]
    text = lines(entries, work, took[0] / took[1])
    with gzip.GzipFile(TRACE, "wb", mtime=0) as file:
        file.write(("\n".join(text) + "\n").encode())
    shutil.rmtree(folder)
    print(f"{len(text)} lines of {len(entries)} operations; {took[0]:.2f} s bare, {took[1]:.2f} s recorded")


class Stage:
    """The folder that a trace is replayed in."""

    def __init__(self, folder):
        self.root = os.path.join(folder, "agent")
        self.trace = os.path.join(folder, "agent-trace.txt")
        self.program, self.nothing = os.path.join(folder, "replay"), os.path.join(folder, "nothing")
        subprocess.run(["gcc", "-O2", "-static", "-o", self.program, os.path.join(HERE, "replay.c")], check=True)
        subprocess.run(["gcc", "-O2", "-static", "-nostdlib", "-o", self.nothing, "-x", "c", "-"], check=True,
                       input=b'void _start(void) { __asm__("mov $60, %eax; xor %edi, %edi; syscall"); }')
        with gzip.open(TRACE, "rt") as packed, open(self.trace, "w") as file:
            text = packed.read()
            file.write(text)
        steps = [line.split() for line in text.splitlines()]
        self.there = [step for step in steps if step[0].startswith("@")]
        self.steps = len(steps) - len(self.there)
        self.pauses = sum(int(step[0]) for step in steps if step[0].isdigit()) / 1e6

    def set(self):
        """As it was before the work."""
        shutil.rmtree(os.path.join(self.root, "work"), ignore_errors=True)
        for what, path, *size in self.there:
            path = os.path.join(self.root, path)
            if what == "@d":
                os.makedirs(path, exist_ok=True)
            elif not os.path.exists(path):
                os.makedirs(os.path.dirname(path), exist_ok=True)
                if what == "@x":
                    shutil.copy(self.nothing, path)
                    continue
                with open(path, "wb") as file:
                    file.write(b"x" * int(size[0]))

    def take(self, worker, paced):
        """Nanoseconds, and those of a processor that the replayer had."""
        self.set()
        return worker.ask("replay", self.trace, int(paced))


def part(folder, rows, backend, unit, scale):
    stage = Stage(folder)
    stage.set()
    here = os.getcwd()
    os.chdir(stage.root)
    outside = Worker(stage.program)
    inside = Worker(stage.program, ["authz", "exec", "--backend", backend, "--quiet", "--policy", "preset:coding-agent",
                                    "--workspace", f"{stage.root}/work", "--state", f"{folder}/agent.state", "--"])
    first = stage.take(inside, False)[0] / stage.take(outside, False)[0]
    for paced, rounds, what in ((False, ROUNDS, "back to back"), (True, PACED, "with its pauses")):
        bare, under = [], []
        for turn in range(rounds):
            for times, worker in ((bare, outside), (under, inside))[::-1 if turn % 2 else 1]:
                times.append(stage.take(worker, paced))
        how = f"{stage.steps} operations" + (f" and {stage.pauses:.1f} s of pauses" if paced else "") + f"; {rounds} rounds in turn"
        for index, of in ((0, ""), (1, ", the replayer's own processor time")):
            ratios = [b[index] / a[index] for a, b in zip(bare, under)]
            medians = [statistics.median(took[index] for took in times) / scale for times in (bare, under)]
            over = 100 * (statistics.median(ratios) - 1)
            # A target is about the time that an agent takes.
            target = () if index else ("<= 1.02 x bare", "met" if over <= 2 else "missed")
            rows.add(f"agent's trace, {what}, {backend}{of}", "x bare", ratios,
                     f"{how}; medians {medians[0]:.1f} {unit} bare, {medians[1]:.1f} {unit} so; {over:+.1f} %", *target)
    rows.add(f"agent's trace, the first time, {backend}", "x bare", [first], "back to back, before anything was decided")
    outside.end()
    inside.end()
    os.chdir(here)


if __name__ == "__main__":
    if sys.argv[1:] == ["record"]:
        record()
    else:
        sys.exit(__doc__)
