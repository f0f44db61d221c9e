"""Builds, bare and in a session that has begun before, in turn: make of C files, cargo build of a small crate."""
import glob
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

from figures import find_cargo

POLICY = "preset:coding-agent"
SOURCES = 12
ROUNDS = 5


def of_threads(pid):
    """Nanoseconds of a processor that the threads of a process have had."""
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        try:
            total += int(open(path).read().split()[0])
        except OSError:
            pass  # it has ended
    return total


def processes_of(state):
    """Those of authz that keep a ledger there: what decides and records, beside the command itself."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            words = open(path, "rb").read().split(b"\0")
        except OSError:
            continue  # it has ended
        if os.fsencode(state) in words and words[0].endswith((b"authz", b"/exe")):
            found.append((int(path.split("/")[2]), b"daemon" in words or b"--supervisor" in words))
    if not any(decides for _, decides in found):
        sys.exit(f"bench: no daemon keeps a ledger in {state}")
    return [pid for pid, _ in found]


class Builder:
    """A process that builds when it is told; `before` is what starts it, `state` the ledger's folder if it is authz."""

    def __init__(self, before=(), state=None):
        self.process = subprocess.Popen([*before, "python3", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.state = state

    def take(self, folder, clean, command):
        """What a command takes in a folder, once what it makes is away: nanoseconds, those of a processor that it and its
        children had, and these with what authz had meanwhile."""
        print(f"bench: {command}", file=sys.stderr, flush=True)
        self.ask([folder, clean, None])
        own = processes_of(self.state) if self.state else []
        if own:
            time.sleep(1.5)  # until what was removed is recorded and signed
        before = sum(map(of_threads, own))
        status, took, work = self.ask([folder, clean, command])
        if status:
            sys.exit(f"bench: {command} FAILED in {self.process.args}, status {status}: "
                     f"{open(os.path.join(folder, 'log')).read()[-500:]}")
        if own:
            time.sleep(1.5)  # until what was done is recorded and signed
        return took, work, work + sum(map(of_threads, own)) - before

    def ask(self, what):
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait(120)


def serve():
    """The builder's part: does what the lines of standard input say. Without a command it removes what one made."""
    for line in sys.stdin:
        folder, clean, command = json.loads(line)
        if not command:
            shutil.rmtree(os.path.join(folder, clean), ignore_errors=True)
            print(json.dumps([]), flush=True)
            continue
        with open(os.path.join(folder, "log"), "w") as log:
            since = time.monotonic_ns()
            process = subprocess.Popen(["sh", "-c", command], cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            _, status, usage = os.wait4(process.pid, 0)
            took = time.monotonic_ns() - since
        print(json.dumps([status, took, round((usage.ru_utime + usage.ru_stime) * 1e9)]), flush=True)


def c_files(folder):
    names = [f"part{number}" for number in range(SOURCES)]
    for name in names:
        with open(os.path.join(folder, f"{name}.c"), "w") as file:
            file.write(f'#include <stdio.h>\n#include <stdlib.h>\nint {name}(void) {{ return printf("{name}\\n"); }}\n')
    objects = " ".join(f"out/{name}.o" for name in names)
    with open(os.path.join(folder, "Makefile"), "w") as file:
        file.write(f"all: {objects}\n\tar rcs out/all.a {objects}\n"
                   "out/%.o: %.c | out\n\tgcc -O1 -c -o $@ $<\nout:\n\tmkdir out\n")
    return "make", "make -s", "out"


def crate(folder):
    os.makedirs(os.path.join(folder, "src"))
    with open(os.path.join(folder, "Cargo.toml"), "w") as file:
        file.write('[package]\nname = "small"\nversion = "0.1.0"\nedition = "2021"\n[workspace]\n')
    with open(os.path.join(folder, "src/main.rs"), "w") as file:
        file.write('fn main() {\n    println!("{:?}", std::env::args().collect::<Vec<_>>());\n}\n')
    return "cargo", "cargo build --offline --quiet --target-dir target", "target"


def part(folder, rows, backend, emulated, unit, scale):
    find_cargo()
    # Emulated, a build mostly waits for files of the host: what counts is work.
    measures = {0: "the session's start apart"} if not emulated else {
        1: "the processor time of the build itself", 2: "the same with what authz's own processes had meanwhile"}
    for name, prepare in ((f"make of {SOURCES} C files", c_files), ("cargo build of one file", crate)):
        work = os.path.join(folder, prepare.__name__)
        os.makedirs(work)
        program, command, clean = prepare(work)
        if not shutil.which(program):
            print(f"bench: {name} is skipped: there is no {program}", file=sys.stderr, flush=True)
            continue
        bare = Builder()
        under = Builder(["authz", "exec", "--backend", backend, "--quiet", "--policy", POLICY, "--workspace", work,
                         "--state", f"{work}.state", "--"], f"{work}.state")
        times = {bare: [], under: []}
        for turn in range(ROUNDS + 1):
            for builder in (bare, under)[::-1 if turn % 2 else 1]:
                took = builder.take(work, clean, command)
                if turn:
                    times[builder].append(took)
        bare.end()
        under.end()
        for measure, what in measures.items():
            without, so = ([took[measure] for took in times[builder]] for builder in (bare, under))
            ratios = [b / a for a, b in zip(without, so)]
            over = 100 * (statistics.median(ratios) - 1)
            rows.add(f"{name}, {backend}" + (", authz's processes too" if measure == 2 else ""), "x bare", ratios,
                     f"{POLICY}, {what}; {ROUNDS} rounds in turn after one that is not counted; medians "
                     f"{statistics.median(without) / scale:.0f} {unit} bare, {statistics.median(so) / scale:.0f} {unit} so; "
                     f"{over:+.1f} %", "<= 1.05 x bare", "met" if over <= 5 else "missed")


if __name__ == "__main__":
    serve()
