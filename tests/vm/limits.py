"""Constraints of a rule, at system calls: max_uses and rate let so many through, and a ttl has it decided again."""

import shutil

import control
import harness
from harness import check

RULE = 'allow contains {"id": "%s", "reason": "r", "constraints": {%s}} if {\n\treads\n\tis(input.resource.id, "%s")\n}\n'
REST = """
limited := {%s}

allow contains {"id": "rest", "reason": "r"} if {
	not input.resource.id in limited
	not startswith(input.action.name, "system.")
}
"""
# Reads each file as often as it is told, and prints how often it could; a number alone is seconds to wait.
SCRIPT = """
import sys, time
for word in sys.argv[1:]:
    name, _, times = word.rpartition("=")
    if not name:
        time.sleep(float(times))
        continue
    fine = 0
    for _ in range(int(times)):
        try:
            with open(name) as file:
                file.read()
            fine += 1
        except PermissionError:
            pass
    print(fine)
"""


def run(**flags):
    top = control.folder("files")
    names = {name: f"{top}/files/{name}" for name in "abcd"}
    constraints = {"a": '"max_uses": 2', "b": '"rate": "3/1h"', "c": '"rate": "1/2s"', "d": '"ttl": "1s"'}
    rules = "".join(RULE % (f"limit-{name}", constraints[name], names[name]) for name in names)
    policy = rules + REST % ", ".join(f'"{path}"' for path in names.values())
    python = shutil.which("python3", path="/usr/bin:/bin")
    asked = [f"{names['a']}=4", f"{names['b']}=5", f"{names['c']}=1", f"{names['d']}=3", "=2.5", f"{names['c']}=1", f"{names['d']}=3"]
    done = harness.authz_exec(policy, [python, "-c", SCRIPT, *asked], **flags)
    check("limits: max_uses 2 lets two through, rate 3/1h three, and rate 1/2s one more when its time is over; a ttl all",
          done.stdout.split() == ["2", "3", "1", "3", "1", "3"], (done.stdout, done.stderr[-2000:]))
    entries = control.entries(done)
    decided = {name: [entry["result"]["effect"] for entry in entries if entry["kind"] == "decision"
                      and (entry.get("resource") or {}).get("id") == path and entry["action"] == "file.read"]
               for name, path in names.items()}
    check("limits: each counted use is a decision of its own", decided["a"] == ["allow"] * 2 + ["deny"] * 2
          and decided["b"] == ["allow"] * 3 + ["deny"] * 2, decided)
    check("limits: what is used up says so", any("max_uses 2 is used up" in str(entry) for entry in entries)
          and any("rate 3 in 3600 s is used up" in str(entry) for entry in entries))
    check("limits: within its ttl a decision is remembered, after it decided again",
          2 <= len(decided["d"]) < 6 and set(decided["d"]) == {"allow"}, decided["d"])
