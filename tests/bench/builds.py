"""Builds, bare and in a session that has begun before, in turn: make of C files, cargo build of a small crate."""
import glob
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


def of_process(pid):
    """Nanoseconds of a processor that the threads of a process have had."""
    return sum(int(open(path).read().split()[0]) for path in glob.glob(f"/proc/{pid}/task/*/schedstat"))


class Shell:
    """A shell that does what it is told; `before` is what starts it."""

    def __init__(self, before=()):
        self.process = subprocess.Popen([*before, "sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def take(self, folder, clean, command):
        """What a command takes in a folder, once what it makes is away (which counts in all but the first): nanoseconds,
        those of the machine's work, and of that without the process that started the shell, which is authz or itself."""
        print(f"bench: {command}", file=sys.stderr, flush=True)
        before = busy(), of_process(self.process.pid)
        self.process.stdin.write(f"cd {folder} && rm -rf {clean}; s=$(date +%s%N); {command} > log 2>&1 < /dev/null; "
                                 f"echo $? $s $(date +%s%N)\n")
        self.process.stdin.flush()
        status, since, until = map(int, self.process.stdout.readline().split())
        if status:
            sys.exit(f"bench: {command} FAILED in {self.process.args}, status {status}: "
                     f"{open(os.path.join(folder, 'log')).read()[-500:]}")
        work = busy() - before[0]
        return until - since, work, work - (of_process(self.process.pid) - before[1])

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
    # Emulated, a build mostly waits for files of the host: what counts is work.
    measures = {0: "the session's start apart"} if not emulated else {
        1: "the machine's work", 2: "the machine's work without the daemon's, which another processor would do"}
    for name, prepare in ((f"make of {SOURCES} C files", c_files), ("cargo build of one file", crate)):
        work = os.path.join(folder, prepare.__name__)
        os.makedirs(work)
        program, command, clean = prepare(work)
        if not shutil.which(program):
            print(f"bench: {name} is skipped: there is no {program}", file=sys.stderr, flush=True)
            continue
        bare = Shell()
        under = Shell(["authz", "exec", "--backend", backend, "--quiet", "--policy", POLICY, "--workspace", work,
                       "--state", f"{work}.state", "--"])
        times = {bare: [], under: []}
        for turn in range(ROUNDS + 1):
            for shell in (bare, under)[::-1 if turn % 2 else 1]:
                took = shell.take(work, clean, command)
                if turn:
                    times[shell].append(took)
        bare.end()
        under.end()
        for measure, what in measures.items():
            without, so = ([took[measure] for took in times[shell]] for shell in (bare, under))
            ratios = [b / a for a, b in zip(without, so)]
            over = 100 * (statistics.median(ratios) - 1)
            rows.add(f"{name}, {backend}" + (", without the daemon" if measure == 2 else ""), "x bare", ratios,
                     f"{POLICY}, {what}; {ROUNDS} rounds in turn after one that is not counted; medians "
                     f"{statistics.median(without) / scale:.0f} {unit} bare, {statistics.median(so) / scale:.0f} {unit} so; "
                     f"{over:+.1f} %", "<= 1.05 x bare", "met" if over <= 5 else "missed")
