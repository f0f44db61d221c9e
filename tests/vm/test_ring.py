"""A daemon that is slow to take records: changes that are allowed from memory wait for it, and each is in the record."""

import json
import mmap
import os
import signal
import time

import control
import harness
from harness import check

# Two changes each; together more than the ring takes.
ROUNDS = 12_000

AGENT = """
import mmap, os, sys, time
top, rounds = sys.argv[1], int(sys.argv[2])
with open(top + "/done", "r+b") as file:
    done = mmap.mmap(file.fileno(), 8)
for number in range(-2, rounds):
    if number == 0:
        print("begun", flush=True)
        while not os.path.exists(top + "/go"):
            time.sleep(0.05)
    os.mkdir(top + "/open/made")
    os.rmdir(top + "/open/made")
    done[:] = max(number, 0).to_bytes(8, "little")
print("done", flush=True)
"""


def run():
    top = control.folder("open")
    (top / "done").write_bytes(bytes(8))
    policy = f'allow contains {{"id": "open", "reason": "r"}} if under(input.resource.id, "{top}")\n' \
        'allow contains {"id": "rest", "reason": "r"} if input.action.name in {"file.read", "process.exec"}'
    agent = harness.authz_start(policy, ["python3", "-c", AGENT, str(top), str(ROUNDS)], json=True)
    lines = control.Lines(agent)
    daemon = control.daemon_of(agent) if lines.take(1, control.SLOW) == "begun\n" else None
    if not daemon:
        check("ring: the agent runs", False, (lines.lines, control.finish(agent, 1)))
        return
    with open(top / "done", "rb") as file:
        done = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)
    os.kill(daemon[0], signal.SIGSTOP)
    (top / "go").touch()
    # Shorter than a daemon may be silent.
    counts = []
    for _ in range(7):
        time.sleep(0.5)
        counts.append(int.from_bytes(done[:], "little"))
    os.kill(daemon[0], signal.SIGCONT)
    check("ring: changes wait while nobody takes their records", 0 < counts[-1] <= counts[-2] + 1 < ROUNDS, counts)
    check("ring: all of them happen then", lines.take(1, control.SLOW) == "done\n")
    lines.ended(control.SLOW)
    agent.wait(control.SLOW)
    stderr = agent.stderr.read()
    session = next((json.loads(line)["started"]["session"] for line in stderr.splitlines() if '"started"' in line), "")
    entries = control.ledger("--session", session)
    made = sum(entry["kind"] == "decision" and entry["resource"]["id"] == f"{top}/open/made" for entry in entries)
    check("ring: each is in the record", made == 2 * (ROUNDS + 2), (made, stderr[-500:]))
    check("ring: nothing else is missing in it", not any(entry["kind"] == "gap" for entry in entries),
          [entry for entry in entries if entry["kind"] == "gap"][:3])
