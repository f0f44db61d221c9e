"""Builds, bare and in a session that has begun before, in turn: make of C files, cargo build of a small crate."""
import os
import shutil
import statistics
import subprocess
import sys

from figures import find_cargo

POLICY = "preset:coding-agent"
SOURCES = 12
ROUNDS = 5


def busy():
    """Nanoseconds that the machine's processors have worked, in hundredths of a second."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, open("/proc/stat").readline().split()[1:8])
    return (user + nice + system + irq + softirq) * 10_000_000


class Shell:
    """A shell that does what it is told; `before` is what starts it. `emulated`: what counts is the machine's work, not
    how long it waits for files of the host."""

    def __init__(self, emulated, before=()):
        self.emulated = emulated
        self.process = subprocess.Popen([*before, "sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def take(self, folder, clean, command):
        """Nanoseconds that a command takes in a folder, once what it makes is away (which counts where it is emulated)."""
        print(f"bench: {command}", file=sys.stderr, flush=True)
        before = busy()
        self.process.stdin.write(f"cd {folder} && rm -rf {clean}; s=$(date +%s%N); {command} > log 2>&1 < /dev/null; "
                                 f"echo $? $s $(date +%s%N)\n")
        self.process.stdin.flush()
        status, since, until = map(int, self.process.stdout.readline().split())
        if status:
            sys.exit(f"bench: {command} FAILED in {self.process.args}, status {status}: "
                     f"{open(os.path.join(folder, 'log')).read()[-500:]}")
        return busy() - before if self.emulated else until - since

    def end(self):
        self.process.stdin.close()
        self.process.wait(120)


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
    what = "the machine's work, daemon included" if emulated else "the session's start apart"
    for name, prepare in ((f"make of {SOURCES} C files", c_files), ("cargo build of one file", crate)):
        work = os.path.join(folder, prepare.__name__)
        os.makedirs(work)
        program, command, clean = prepare(work)
        if not shutil.which(program):
            print(f"bench: {name} is skipped: there is no {program}", file=sys.stderr, flush=True)
            continue
        bare = Shell(emulated)
        under = Shell(emulated, ["authz", "exec", "--backend", backend, "--quiet", "--policy", POLICY, "--workspace", work,
                       "--state", f"{work}.state", "--"])
        times = {bare: [], under: []}
        for turn in range(ROUNDS + 1):
            for shell in (bare, under)[::-1 if turn % 2 else 1]:
                took = shell.take(work, clean, command)
                if turn:
                    times[shell].append(took)
        bare.end()
        under.end()
        ratios = [b / a for a, b in zip(times[bare], times[under])]
        over = 100 * (statistics.median(ratios) - 1)
        rows.add(f"{name}, {backend}", "x bare", ratios,
                 f"{POLICY}, {what}; {ROUNDS} rounds in turn after one that is not counted; medians "
                 f"{statistics.median(times[bare]) / scale:.0f} {unit} bare, "
                 f"{statistics.median(times[under]) / scale:.0f} {unit} so; {over:+.1f} %",
                 "<= 1.05 x bare", "met" if over <= 5 else "missed")
