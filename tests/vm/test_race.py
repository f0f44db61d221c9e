"""Races: a link swapped, and the path's string rewritten, between the check and the use; thousands of times."""

import json
import os
import pathlib
import subprocess
import tempfile

import control
import harness
from harness import check

HERE = pathlib.Path(__file__).resolve().parent
# Each time afresh, so that the thread is held while the name is changed.
EACH_TIME = 'deny contains {"id": "clock", "reason": "r"} if { writes; time.now_ns() < 0 }\n'


# How often each race is tried; a tenth of it where each try is held.
ROUNDS = int(os.environ.get("RACE_ROUNDS", "1000"))


def program():
    target = pathlib.Path(tempfile.mkdtemp(prefix="race-")) / "race"
    target.parent.chmod(0o755)
    subprocess.run(["gcc", "-O2", "-o", str(target), str(HERE / "race.c"), "-lpthread"], check=True)
    return str(target)


def prepare(top):
    """Two files whose names differ in one byte, so that no third is met; what can be seen of the protected one."""
    for name in ["f", "p"]:
        path = top / name
        path.mkdir(exist_ok=True)
        path.chmod(0o777)
        (path / "file").write_text("before\n")
        (path / "file").chmod(0o666)
    return seen(top)


def seen(top):
    info = os.stat(top / "p" / "file")
    return info.st_mtime_ns, info.st_ctime_ns, info.st_mode, (top / "p" / "file").read_text()


def results(run):
    """(succeeded, refused, other) for open, truncate, utimes, chmod."""
    rows = [tuple(map(int, line.split())) for line in run.stdout.splitlines() if len(line.split()) == 3]
    return rows if len(rows) == 4 else []


def race(what, policy, line, top, rounds, **options):
    before = prepare(top)
    run = harness.authz_exec(policy, line, timeout=300, **options)
    rows = results(run)
    done = rows and all(row[0] and row[1] for row in rows) and not any(row[2] for row in rows)
    check(f"race: {what}: {rounds} rounds, both names were met by each operation", done, run)
    check(f"race: {what}: nothing reached the protected file", rows and seen(top) == before, (before, seen(top)))


def swapped(what, policy, racer, top, swapper, rounds, **options):
    """The link is swapped by a process outside the session, which nothing holds."""
    line = [racer, str(rounds), str(top / "link"), str(top / "link")]
    process = subprocess.Popen(swapper)
    try:
        control.wait(lambda: os.path.lexists(top / "link"))
        race(what, policy, line, top, rounds, **options)
    finally:
        process.kill()
        process.wait()


def run():
    racer = program()
    top = pathlib.Path(tempfile.mkdtemp(prefix="race-"))
    top.chmod(0o777)
    inventory = top / "inventory.json"
    inventory.write_text(json.dumps({"authz": {"production": [str(top / "p")]}}))
    preset = ["preset:prod-readonly", str(inventory)]
    free, prod = str(top / "f" / "file"), str(top / "p" / "file")
    prepare(top)
    bare = harness.bare([racer, "400", free, prod])
    check("race: without authz both files change", seen(top)[3] != "before\n" and not any(row[1] for row in results(bare)), bare)
    held = ROUNDS // 10
    for who in ({}, {"user": "nobody"}):
        name = who.get("user", "root")
        if who:
            for path in (free, prod):
                os.chown(path, 65534, 65534)
        race(f"string rewritten, {name}", preset, [racer, str(ROUNDS), free, prod], top, ROUNDS, **who)
        race(f"string rewritten while held, {name}", [*preset, EACH_TIME], [racer, str(held), free, prod], top, held, **who)
        swap = [racer, "swap", str(top / "link"), free, prod]
        swapped(f"link swapped, {name}", preset, racer, top, swap, ROUNDS, **who)
        swapped(f"link swapped while held, {name}", [*preset, EACH_TIME], racer, top, swap, held, **who)
        swap = [racer, "swap", str(top / "link"), str(top / "f"), str(top / "p")]
        os.unlink(top / "link")
        process = subprocess.Popen(swap)
        try:
            control.wait(lambda: os.path.lexists(top / "link"))
            through = str(top / "link" / "file")
            race(f"folder swapped, {name}", preset, [racer, str(ROUNDS), through, through], top, ROUNDS, **who)
        finally:
            process.kill()
            process.wait()
            os.unlink(top / "link")
