"""What every part of the bench needs: the process that is timed, its files, and the rows."""
import json
import os
import shutil
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def at(values, share):
    values = sorted(values)
    return values[round((len(values) - 1) * share)]


class Worker:
    """One openclose process; `before` is what starts it."""

    def __init__(self, program, before=()):
        self.process = subprocess.Popen(
            [*before, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, what, path, count):
        print(f"bench: {what} {path} {count}", file=sys.stderr, flush=True)
        self.process.stdin.write(f"{what} {path} {count}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"bench: {what} {path} failed in {self.process.args}")
        return [int(word) for word in line.split()]

    def each(self, what, path, count):
        return self.ask(what, path, count)[0] / count

    def end(self):
        self.process.stdin.close()
        if self.process.wait(120):
            sys.exit(f"bench: {self.process.args} ended with {self.process.returncode}")


class Rows:
    def __init__(self):
        folder = os.environ.get("AUTHZ_RESULTS") or os.path.join(HERE, "../../target/results/here")
        os.makedirs(folder, exist_ok=True)
        self.rows = []
        self.path = folder

    def add(self, what, unit, values, method, target=None, verdict=None, p99=False):
        row = {"what": what, "unit": unit, "median": statistics.median(values), "p10": at(values, 0.1),
               "p90": at(values, 0.9), "best": min(values), "p99": at(values, 0.99) if p99 else None,
               "target": target, "verdict": verdict, "method": method}
        self.rows.append(row)
        print(f"{what}: {row['median']:.2f} {unit} ({row['p10']:.2f} to {row['p90']:.2f})", file=sys.stderr, flush=True)

    def write(self, name):
        with open(os.path.join(self.path, name), "w") as file:
            for row in self.rows:
                file.write(json.dumps(row) + "\n")


def compile_worker(folder):
    program = os.path.join(folder, "openclose")
    subprocess.run(["gcc", "-O2", "-o", program, os.path.join(HERE, "openclose.c")], check=True)
    return program


def find_cargo():
    """Puts the toolchain that $CARGO names first in PATH, and tells whether there is one."""
    if cargo := os.environ.get("CARGO"):
        os.environ["PATH"] = f"{os.path.dirname(cargo)}:{os.environ['PATH']}"
    return shutil.which("cargo")


def fill(folder, count):
    os.makedirs(folder, exist_ok=True)
    for number in range(count):
        with open(os.path.join(folder, f"f{number}"), "w") as file:
            file.write("x\n")
