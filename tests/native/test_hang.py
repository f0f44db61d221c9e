"""A file system that does not answer, under a path in a tool's arguments: that call is denied when its time is over, and every other
decision of the session is made meanwhile. As root, since it is mounted: FUSE without anybody behind it."""

import json
import os
import pathlib
import shutil
import sys

import harness
from harness import check, skip
from native import ACTS, BARE, PYTHON, Place

POLICY = """
allow contains {"id": "rest", "reason": "everything else"} if not startswith(input.action.name, "system.")
"""
# Mounts it at the first word and runs the others; ends with it, for nobody else sees it.
MOUNTED = """
import ctypes, os, subprocess, sys

device = os.open("/dev/fuse", os.O_RDWR)
libc = ctypes.CDLL(None, use_errno=True)
options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
if libc.mount(b"hang", sys.argv[1].encode(), b"fuse", 0, options):
    sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
sys.exit(subprocess.run(sys.argv[2:]).returncode)
"""
# Asks about a path that hangs, about others while that waits, and about more that hang than may wait at once.
AGENT = ACTS + """
import sys, threading

top, hang = sys.argv[1:]
answers = []

def call(name, path):
    response = ask(op="open_call", layer="mcp", server="filesystem", name="write_file", call_id=name, arguments={"path": path})
    answers.append([name, response.get("effect"), " ".join(rule["reason"] for rule in response.get("rules", []))])

def started(name):
    thread = threading.Thread(target=call, args=(name, f"{hang}/{name}"))
    thread.start()
    return thread

first = started("first")
for number in range(20):
    call(f"other-{number}", f"{top}/work/{number}")
    write(f"work/{number}")
first.join()
more = [started(f"more-{number}") for number in range(20)]
for thread in more:
    thread.join()
print(json.dumps(answers))
"""


def run():
    if BARE or os.getuid() or not os.path.exists("/dev/fuse") or not shutil.which("unshare"):
        skip("hang", "it needs authz, root and FUSE")
        return
    with Place() as place:
        top, hang = place.fresh("top"), place.fresh("hang")
        (top / "work").mkdir()
        state, rules = str(place.fresh("state")), str(place.policy(POLICY))
        authz = [str(place.tools / "authz"), "exec", "--backend", "seccomp", "--quiet", "--state", state, "--policy", rules, "--"]
        done = harness.finish(["unshare", "--mount", "--propagation", "private", "--", sys.executable, "-c", MOUNTED, str(hang), *authz,
                               PYTHON, "-c", AGENT, str(top), str(hang)], 180, None, "/")
        if "mount: " in done.stderr:
            skip("hang", done.stderr.strip())
            return
        answers = json.loads(done.stdout) if done.stdout.startswith("[") else []
        if not check("hang: the agent gets to its end", len(answers) == 41, (done.stdout[-500:], done.stderr[-2000:])):
            return
        others, first, more = answers[:20], answers[20], answers[21:]
        check("hang: other calls are decided before the one that hangs", [name for name, *_ in others]
              == [f"other-{number}" for number in range(20)] and {effect for _, effect, _ in others} == {"allow"}, answers[:21])
        check("hang: and so are system calls", sorted(path.name for path in pathlib.Path(top / "work").iterdir())
              == sorted(map(str, range(20))))
        check("hang: that one is denied, with its cause", first[:2] == ["first", "deny"]
              and "could not be resolved within 5 s: a file system does not answer" in first[2], first)
        causes = [why.count("calls before it are not resolved yet") for _, _, why in more]
        check("hang: only so many of a session wait; the others are denied at once", {effect for _, effect, _ in more} == {"deny"}
              and causes == sorted(causes, reverse=True) and sum(causes) == 5, more)
        listed = harness.authz("ledger", "--state", state, "list", "--json", "--limit", "0", "--effect", "deny").stdout
        entries = [json.loads(line) for line in listed.splitlines()]
        check("hang: each denial is in the ledger", len(entries) == 21
              and all(entry["result"]["rules"][0]["id"] == "authz-failsafe" for entry in entries), entries[:2])
