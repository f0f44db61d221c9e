"""A real workload, each operation decided by the daemon, gives the same result as without authz."""

import json
import shutil
import tempfile

import control
import harness
from harness import check

ASKED = 'allow contains {"id": "time", "reason": "never remembered"} if time.now_ns() > 0\n'
SCRIPT = str(control.HERE / "workload.sh")


def steps():
    """The command in a new folder, always the same, so that results can be compared."""
    work = tempfile.gettempdir() + "/workload"
    shutil.rmtree(work, ignore_errors=True)
    control.pathlib.Path(work).mkdir()
    return [control.probe(), "run", "sh", SCRIPT, work]


def network():
    """The loopback device, which a machine just started may not have up."""
    harness.bare(["ip", "link", "set", "lo", "up"])


def causes(session):
    """Why the policy itself gave no decision, as the ledger has it."""
    return [entry.get("causes") for entry in control.ledger("--session", session, "--effect", "deny")]


def compare(name, bare, run):
    # The probe's last line counts the stops that were seen; the rest is the workload's own.
    check(f"workload, {name}: the result is that of the bare run", run.stdout == bare.stdout and not run.returncode,
          (run.returncode, run.stdout[-700:], bare.stdout[-700:], run.stderr[-700:]))
    check(f"workload, {name}: no stop is seen", control.stops(run.stdout) == 0, run.stdout[-200:])
    try:
        summary = next(json.loads(line) for line in run.stderr.splitlines() if line.startswith('{"s') and "summary" in line)
    except StopIteration:
        check(f"workload, {name}: there is a summary", False, run.stderr[-700:])
        return
    stats = summary["summary"]
    check(f"workload, {name}: each operation was decided by the daemon",
          stats["operations"] > 500 and not any(stats[key] for key in ("remembered", "denied", "held", "failed", "lost")),
          (stats, causes(summary["session"]) if stats["denied"] or stats["failed"] else ""))


def run():
    network()
    bare = harness.bare(steps())
    if not check("workload: it runs bare", bare.returncode == 0 and control.stops(bare.stdout) == 0
                 and bare.stdout.count("\n") > 60, bare):
        return
    for name, prefix in [("two processors", []), ("one processor", ["taskset", "-c", "0"])]:
        line = prefix + harness.authz_argv(ASKED, steps(), json=True)
        compare(name, bare, harness.finish(line, 150, None, None))
