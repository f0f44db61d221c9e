"""authz killed in the middle: the tree stays enforced, and the next start cleans up."""

import os
import pathlib
import signal

import control
import harness
from harness import check

PINS = pathlib.Path("/sys/fs/bpf/authz")


def run():
    top = control.folder("open", "other", "prod")
    probe = control.probe()
    policy = "\n".join(f'allow contains {{"id": "{name}", "reason": "r"}} if under(input.resource.id, "{path}")'
                       for name, path in [("open", top / "open"), ("other", top / "other"), ("probe", probe)])
    policy += "\n" + 'allow contains {"id": "reads", "reason": "r"} if { reads; not under(input.resource.id, "/etc") }'
    policy += "\n" + 'allow contains {"id": "runs", "reason": "r"} if executes'
    # Twice, since the first use of an answer tells the thread its domain.
    before = [f"w:{top}/open/a", f"w:{top}/open/a", f"w:{top}/prod/a"]
    after = [f"w:{top}/prod/a", f"w:{top}/prod/b", f"w:{top}/open/a", f"w:{top}/other/a"]
    bare = harness.bare([probe, *before, *after])
    check("kill: the probe writes when bare", control.numbers(bare.stdout) == [0] * 7, bare)
    agent = harness.authz_start(policy, [probe, *before, f"until:{top}/go", *after, f"until:{top}/end"])
    lines = control.Lines(agent)
    first = lines.take(len(before), control.SLOW)
    check("kill: before, the policy is enforced", control.numbers(first) == [0, 0, 13], first)
    daemon = control.daemon_of(agent)
    if not check("kill: the daemon is found", daemon):
        control.finish(agent, 1)
        return
    pid, instance = daemon
    os.kill(pid, signal.SIGKILL)
    os.kill(agent.pid, signal.SIGKILL)
    (top / "go").touch()
    errnos = control.numbers(lines.take(len(after)))
    check("kill: the surviving agent still gets EACCES for what was denied", errnos[:1] == [13], errnos)
    check("kill: the surviving agent gets EACCES for what was never decided", errnos[1:2] + errnos[3:] == [13, 13], errnos)
    check("kill: what was remembered as allowed still works", errnos[2:3] == [0], errnos)
    agent.wait()
    check("kill: the pins outlive the daemon", (PINS / instance).exists(), list(PINS.iterdir()))
    other = harness.authz_exec(policy, ["/bin/true"])
    check("kill: another session starts meanwhile, and leaves the pins in place",
          other.returncode == 0 and (PINS / instance).exists(), other)
    (top / "end").touch()
    check("kill: the agent ends", lines.ended())
    third = harness.authz_exec(policy, ["/bin/true"])
    check("kill: the next start cleans up", third.returncode == 0 and not (PINS / instance).exists(), third)
