#!/usr/bin/env python3
"""How long an agent waits for its hook, which runs at every tool call: `authz hook claude`, from its start to its end.

`tests/bench/hook.py [ROUNDS]`, with a release build of authz in PATH. Outside of every session (it loads the policy and
writes a ledger itself), in one (it asks the session's daemon, and in a pair opens and closes a call), and for comparison
`/bin/true`. The time of the processor is that of the hook alone; with a session the daemon's comes on top.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

ALLOW = 'package authz\n\nallow contains {"id": "all", "reason": "everything"} if true\n'


def event(name, number):
    common = {"session_id": "bench", "transcript_path": "/dev/null", "cwd": os.getcwd(), "hook_event_name": name,
              "tool_name": "Write", "tool_input": {"file_path": f"{os.getcwd()}/x{number}", "content": "text"},
              "tool_use_id": f"toolu_{number}"}
    return json.dumps(common | ({"tool_response": {"ok": True}} if name == "PostToolUse" else {}))


def measure(argv, rounds, *names):
    """Wall and processor milliseconds of each run, of what is run for `names`, one after the other."""
    wall, cpu = [], []
    for number in range(rounds):
        for name in names:
            text = event(name, number)
            before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            done = subprocess.run(argv, input=text, capture_output=True, text=True)
            took = time.monotonic() - start
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            assert done.returncode == 0 and "deny" not in done.stdout, done
            wall.append(took * 1000)
            cpu.append(sum(getattr(after, field) - getattr(before, field) for field in ("ru_utime", "ru_stime")) * 1000)
    return wall, cpu


def show(what, wall, cpu):
    tenth = lambda values: statistics.quantiles(values, n=10)
    print(f"{what:<44} wall {statistics.median(wall):6.1f} ms ({tenth(wall)[0]:.1f} to {tenth(wall)[-1]:.1f}), best {min(wall):5.1f}; "
          f"processor {statistics.median(cpu):5.1f} ms", flush=True)


def main():
    rounds = int(sys.argv[-1]) if sys.argv[-1].isdigit() else 50
    if "--inside" in sys.argv:
        return show("in a live session, before and after a tool", *measure(["authz", "hook", "claude"], rounds, "PreToolUse", "PostToolUse"))
    print(f"{rounds} rounds, load {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
    show("/bin/true", *measure(["/bin/true"], rounds, ""))
    os.environ.pop("RUST_BACKTRACE", None)
    with tempfile.TemporaryDirectory() as state:
        for policy in ("preset:coding-agent", "preset:prod-readonly"):
            argv = ["authz", "hook", "claude", "--policy", policy, "--state", f"{state}/{policy[7:]}"]
            show(f"alone, {policy}", *measure(argv, rounds, "PreToolUse"))
        with open(f"{state}/all.rego", "w") as file:
            file.write(ALLOW)
        subprocess.run(["authz", "exec", "--quiet", "--backend", "seccomp", "--policy", f"{state}/all.rego", "--state",
                        f"{state}/exec", "--", sys.executable, os.path.abspath(__file__), "--inside", str(rounds)], check=True)
        # Its supervisor still closes the ledger.
        time.sleep(3)


if __name__ == "__main__":
    main()
