"""The seccomp back end: operations and builds, bare and supervised in turn, as ratios."""
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from figures import Worker, compile_worker, fill

POLICY = "preset:prod-readonly"
BUILDER = "preset:coding-agent"
ROUNDS = 21
BUILDS = 7
FILES = 200
SOURCES = 40


def session(state, policy, *more):
    return ["authz", "exec", "--backend", "seccomp", "--quiet", "--policy", policy, "--state", state, *more, "--"]


def skip(what, why):
    print(f"bench: {what} is skipped: {why}", file=sys.stderr, flush=True)


def ratios(rows, what, bare, other, method, unit="us", scale=1000):
    """A row of what each round took of the bare one beside it."""
    here, there = statistics.median(bare) / scale, statistics.median(other) / scale
    rows.add(what, "x bare", [b / a for a, b in zip(bare, other)],
             f"{method}; medians {here:.2f} {unit} bare, {there:.2f} {unit} so")


def in_turn(outside, inside, what, path, count):
    """What each takes, the two in turn and each first every other time, after one round that is not counted."""
    times = {outside: [], inside: []}
    for turn in range(ROUNDS + 1):
        for worker in (outside, inside) if turn % 2 else (inside, outside):
            took = worker.each(what, path, count)
            if turn:
                times[worker].append(took)
    return times[outside], times[inside]


def operations(folder, rows):
    program, data = compile_worker(folder), os.path.join(folder, "data")
    fill(data, FILES)
    static = os.path.join(folder, "static")
    memory = tempfile.mkdtemp(prefix="authz-bench-", dir="/dev/shm")  # a disk's journal would be most of the time
    subprocess.run(["gcc", "-O2", "-static", "-x", "c", "-o", static, "-"], input=b"int main(void) { return 0; }",
                   check=True)
    outside = Worker(program)
    outside.ask("first", data, FILES)
    bare = outside.ask("first", data, FILES)
    inside = Worker(program, session(os.path.join(folder, "state"), POLICY))
    first, again = inside.ask("first", data, FILES), inside.ask("first", data, FILES)
    if statistics.median(again) > 0.5 * statistics.median(first):
        print("bench: the second open of a file costs as the first: not remembered?", file=sys.stderr)
    load = f"load average at the start {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
    for what, path, count, name, more in (
            ("open", f"{data}/f0", 300, "open+close, remembered", f"; {load}"),
            ("getppid", "-", 20000, "getppid, which the filter lets through", ""),
            ("stat", f"{data}/f0", 2000, "stat, which is not mediated", ""),
            ("create", f"{memory}/new", 100, "create+close+unlink, remembered", ", on tmpfs"),
            ("fork", static, 20, "fork+exec+wait of a static program, remembered", ""),
            ("connect", "-", 50, "TCP connect+accept+close, remembered", "")):
        times = in_turn(outside, inside, what, path, count)
        ratios(rows, f"{name}, seccomp", *times, f"{count} a round, {ROUNDS} rounds in turn{more}")
    ratios(rows, "open+close, first sight, seccomp", bare, first,
           f"first open of each of {FILES} files in the session, decided by the daemon; bare: the second open of each")
    if shutil.which("strace"):
        traced = Worker(program, ["strace", "-f", "-e", "trace=openat", "-o", "/dev/null"])
        times = in_turn(outside, traced, "open", f"{data}/f0", 300)
        ratios(rows, "open+close, strace -f -e trace=openat", *times,
               f"300 a round, {ROUNDS} rounds in turn, no authz; for comparison")
        traced.end()
    else:
        skip("strace", "not installed")
    for worker in (outside, inside):
        worker.end()
    shutil.rmtree(memory)


def build(folder, rows, name, command, clean, method):
    """Times a command in `folder` bare and under the policy for agents that write code."""
    wrapped = session(f"{folder}.state", BUILDER, "--workspace", folder)
    times = ([], [])
    for turn in range(BUILDS + 1):
        for place in (0, 1) if turn % 2 else (1, 0):
            for path in clean:
                shutil.rmtree(os.path.join(folder, path), ignore_errors=True)
            since = time.monotonic_ns()
            ended = subprocess.run([*(wrapped if place else ()), *command], cwd=folder, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
            took = time.monotonic_ns() - since
            if ended.returncode:
                said = " / ".join(ended.stdout.strip().splitlines()[:3]) or "no output"
                if place:
                    sys.exit(f"bench: {name} FAILED under authz in round {turn}, status {ended.returncode}: {said}")
                return skip(name, f"it fails bare, status {ended.returncode}: {said}")
            if turn:
                times[place].append(took)
    ratios(rows, f"{name}, seccomp", *times,
           f"{method}; policy {BUILDER}, a session of its own each time, its start included; {BUILDS} rounds in turn "
           "after one that is not counted", "s", 1e9)


def builds(folder, rows):
    sources = os.path.join(folder, "sources")
    os.makedirs(sources)
    names = [f"part{number}" for number in range(SOURCES)]
    for name in names:
        with open(os.path.join(sources, f"{name}.c"), "w") as file:
            file.write(f'#include <stdio.h>\n#include <stdlib.h>\nint {name}(void) {{ return printf("{name}\\n"); }}\n')
    with open(os.path.join(sources, "Makefile"), "w") as file:
        objects = " ".join(f"out/{name}.o" for name in names)
        file.write(f"all: {objects}\n\tar rcs out/all.a {objects}\n"
                   "out/%.o: %.c | out\n\tgcc -O1 -c -o $@ $<\nout:\n\tmkdir out\n")
    if shutil.which("make"):
        build(sources, rows, f"make of {SOURCES} C files", ["make", "-s", "-j2"], ["out"],
              "gcc -O1 and ar, two at a time")
    else:
        skip("make", "not installed")
    crate = os.path.join(folder, "crate")
    os.makedirs(os.path.join(crate, "src"))
    with open(os.path.join(crate, "Cargo.toml"), "w") as file:
        file.write('[package]\nname = "small"\nversion = "0.1.0"\nedition = "2021"\n[workspace]\n')
    with open(os.path.join(crate, "src/main.rs"), "w") as file:
        file.write('fn main() {\n    println!("{:?}", std::env::args().collect::<Vec<_>>());\n}\n')
    cargo = os.environ.get("CARGO") or shutil.which("cargo")
    if cargo:
        build(crate, rows, "cargo build", [cargo, "build", "--offline", "--quiet", "--target-dir", "target"],
              ["target"], "a crate of one file without dependencies")
    else:
        skip("cargo build", "not installed")
    package = os.path.join(folder, "package")
    os.makedirs(package)
    with open(os.path.join(package, "package.json"), "w") as file:
        file.write('{"name": "small", "version": "1.0.0", "private": true}\n')
    if shutil.which("npm"):
        command = ["npm", "install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund",
                   "--no-update-notifier", "--cache", os.path.join(package, "cache"), "is-odd"]
        build(package, rows, "npm install", command, ["node_modules"],
              "is-odd and its one dependency, from the configured registry, with npm's cache of the round before")
    else:
        skip("npm install", "npm is not installed")


def part(folder, rows):
    operations(folder, rows)
    builds(folder, rows)
