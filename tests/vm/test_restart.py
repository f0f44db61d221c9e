"""Held calls start anew whatever the file system does meanwhile: 9p takes the signal's flag away while it waits."""

import glob
import json
import os
import pathlib

import cases
import harness
from harness import check

# Every operation is asked for each time.
EACH_TIME = ('allow contains {"id": "rest", "reason": "r"} if true\n'
             'deny contains {"id": "clock", "reason": "r"} if time.now_ns() < 0\n')

# Does everything to files whose names begin with argv[1], argv[2] times, and prints how often each operation ended how.
STEPS = r"""
import collections, errno, json, os, subprocess, sys

top, rounds = sys.argv[1], int(sys.argv[2])

def opened(name, flags):
    os.close(os.open(name, flags, 0o755))

def script(name):
    fd = os.open(name, os.O_WRONLY | os.O_CREAT, 0o755)
    os.write(fd, b"#!/bin/true\n")
    os.close(fd)
    subprocess.run([name], check=True)

ways = {
    "create": lambda n: opened(f"{n}-new", os.O_WRONLY | os.O_CREAT | os.O_EXCL),
    "create, open": lambda n: opened(n, os.O_RDWR | os.O_CREAT), "create again": lambda n: opened(n, os.O_RDWR | os.O_CREAT),
    "read": lambda n: opened(n, os.O_RDONLY), "empty": lambda n: opened(n, os.O_WRONLY | os.O_TRUNC),
    "truncate": lambda n: os.truncate(n, 0), "chmod": lambda n: os.chmod(n, 0o700), "utime": lambda n: os.utime(n, (1, 1)),
    "link": lambda n: os.link(n, f"{n}-link"), "symlink": lambda n: os.symlink(n, f"{n}-symlink"),
    "rename": lambda n: os.rename(f"{n}-link", f"{n}-renamed"), "mkdir": lambda n: os.mkdir(f"{n}-folder"),
    "list": lambda n: os.listdir(f"{n}-folder"), "rmdir": lambda n: os.rmdir(f"{n}-folder"),
    "unlink": lambda n: os.unlink(f"{n}-renamed"), "execute": lambda n: script(f"{n}-script"),
    "none": lambda n: opened(f"{n}-none", os.O_RDONLY),
}
counts = {}
for number in range(rounds):
    for way, act in ways.items():
        try:
            act(f"{top}{number}")
            outcome = "ok"
        except OSError as error:
            outcome = errno.errorcode.get(error.errno, str(error.errno))
        except subprocess.CalledProcessError as error:
            outcome = str(error)
        counts.setdefault(way, collections.Counter())[outcome] += 1
print(json.dumps(counts))
"""


def shared():
    """A folder of the host's that is mounted here over 9p, to write to; None: this machine has none."""
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, system = line.partition(" - ")
        place, options = mount.split()[4:6]
        if system.startswith("9p ") and "rw" in options.split(","):
            return place
    return None


def steps(run):
    try:
        return json.loads(run.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return {}


def same(where, place, rounds):
    """Fresh names for each run: those that were looked up before cost the file system no more waiting."""
    def one(name, runner, *front):
        try:
            return runner(*front, [cases.python(), "-c", STEPS, f"{place}/restart-{name}-", str(rounds)])
        finally:
            for path in glob.glob(f"{place}/restart-{name}-*"):
                (os.rmdir if os.path.isdir(path) and not os.path.islink(path) else os.unlink)(path)

    bare = steps(one("bare", harness.bare))
    run = one("held", harness.authz_exec, EACH_TIME)
    held = steps(run)
    check(f"restart: {where}: the operations work without authz", bare.get("create") == {"ok": rounds}, bare)
    check(f"restart: {where}: {rounds} of each, all held, end as they do without", bare and held == bare,
          ({way: held.get(way) for way in bare if held.get(way) != bare[way]}, run.stderr[-500:]))


def run():
    rounds = int(os.environ.get("RESTART_ROUNDS", "3"))
    same("tmpfs", "/tmp", rounds)
    same("the root's file system", "/var/tmp", rounds)
    if place := shared():
        same("9p", place, rounds)
    else:
        harness.skip("restart: 9p", "no 9p file system to write to")
