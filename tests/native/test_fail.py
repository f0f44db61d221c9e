"""Calls that cannot be judged: refused in enforce mode, left to the kernel in observe mode, recorded in both. And what
is no failure of authz: a bad pointer, a thread that dies."""

import os
import shutil
import signal
import time

from native import BARE, Place, compiled, identities
from test_edge import descendants, exe
from trial import REST, Trial, decisions, failures

UNREADABLE = "the program cannot be read, nor could the process that it becomes"
NO_MEMORY = "the process cannot be read, so what it asks for cannot be told"


def unreadable(trial):
    """A program that may be run and not read: without root neither can the process."""
    program = trial.top / "unreadable"
    shutil.copy(trial.place.tools / "edge-static", program)
    os.chown(program, trial.identity.owner, trial.identity.owner)
    program.chmod(0o111)
    file = trial.folder("free", file="text\n") / "file"
    argv = [str(program), "open", str(file), str(trial.top / "missing")]
    plain = ["ok", "ENOENT"]
    done = trial.bare(argv)
    trial.check("unreadable: bare", done.stdout.split() == plain, done)
    done, entries = trial.run(REST, argv, "--mode", "observe")
    trial.check("unreadable, observe: it runs as bare", done.stdout.split() == plain, done)
    seen = failures(entries)
    if trial.identity.name != "user":
        trial.check("unreadable, observe: root's supervisor reads it", not seen and decisions(entries, "file.read", str(file)), entries)
        return
    trial.check("unreadable, observe: the program is recorded as what could not be judged",
                ("process.exec", "execve", [UNREADABLE], False) in seen, seen)
    trial.check("unreadable, observe: so is each of its calls",
                sum(entry[2:] == ([NO_MEMORY], False) and entry[0].startswith("file.") for entry in seen) >= 2, seen)
    subjects = [entry["subject"] for entry in entries if entry.get("causes") == [NO_MEMORY]]
    trial.check("unreadable, observe: with the process", all(one["pid"] > 1 and one["uid"] == trial.identity.owner
                and one["comm"] == "unreadable" for one in subjects), subjects)
    done, entries = trial.run(REST, argv)
    trial.check("unreadable, enforce: it is not executed", done.returncode == 126 and not done.stdout, done)
    trial.check("unreadable, enforce: and that is recorded, by its name",
                [entry["causes"] for entry in decisions(entries, "process.exec", str(program)) if entry["enforced"]
                 and entry["decided_by"] == "failsafe"] == [[UNREADABLE]], entries)


def pointers(trial, program):
    """Bad pointers are the kernel's own error, and nothing that is recorded."""
    done = trial.bare([program, "pointers"])
    for mode in ("enforce", "observe"):
        bound, entries = trial.run(REST, [program, "pointers"], "--mode", mode)
        trial.check(f"bad pointers, {mode}: the kernel's errors", bound.stdout == done.stdout and "EFAULT" in done.stdout, (done, bound))
        trial.check(f"bad pointers, {mode}: no failure is recorded", not failures(entries), failures(entries))


def dying(trial, program):
    """Threads and processes that end while their calls wait leave no failure, and nothing that hangs."""
    held = trial.folder("held", file="text\n") / "file"
    before = len(trial.entries())
    rules = f'escalate contains {{"id": "held", "reason": "r"}} if is(input.resource.id, "{held}")\n\n{REST}'
    agent = trial.start(rules, ["sh", "-c", f"{program} open {held} & {program} dies {held}; echo over; wait"], "--hold-timeout", "30s")
    over = agent.stdout.readline()
    trial.check("a process ends while a thread's call is held", over == "over\n", over)
    time.sleep(1)
    for pid in descendants(agent.pid):
        if os.path.basename(exe(pid)) == "edge":
            os.kill(pid, signal.SIGKILL)
    out, err = agent.communicate(timeout=25)
    entries = trial.entries()[before:]
    trial.check("dying threads: what waited is over, and no failure is recorded",
                agent.returncode == 0 and not failures(entries), (agent.returncode, out, err, failures(entries)))
    done, entries = trial.run(REST, [program, "storm-of-deaths", "300", str(held)], timeout=90)
    trial.check("300 processes that die in the middle of a call", done.stdout.split() == ["ok"], done)
    trial.check("300 deaths: no failure is recorded", not failures(entries), failures(entries)[:5])


def run():
    if BARE:
        return
    with Place() as place:
        program = compiled("edge", place.tools / "edge")
        compiled("edge", place.tools / "edge-static", "-static")
        for identity in identities():
            trial = Trial(place, identity, "fail")
            unreadable(trial)
            pointers(trial, program)
            dying(trial, program)
