"""Another policy and another mode for a session that runs, with seccomp; what a reload says of the floor that was laid;
SIGHUP for a daemon of a policy alone."""

import json
import os
import select
import signal
import tempfile

import control
import reload
from harness import check
from native import Place, identities
from test_authzen import Daemon, question, send

FILE = {"type": "file", "id": "/srv/file"}


def floor():
    """The floor stays as it was laid; an answer says in what the new policy's differs."""
    running = reload.Running("floored", reload.ALL, backend="seccomp")
    if not running.id:
        return
    before = running.reload(reload.ALL, reload.rule("deny", "x", running.top / "c"))
    check("reload: the same floor is not spoken of", before.get("floor") in ({}, None), before)
    (running.policy / "floor.json").write_text(json.dumps({"authz": {"floor": {"write": ["/tmp"]}}}))
    done = running.reload()
    check("reload: a narrower floor is told, and is not laid",
          done.get("floor") == {"narrower": ["write"]} and done["difference"]["data"] == {"added": ["data.authz.floor.write"]},
          done)
    running.finish()


def daemon():
    """SIGHUP has it load its policy again."""
    with tempfile.TemporaryDirectory(prefix="reload-") as folder:
        file = os.path.join(folder, "p.rego")

        def policy(text):
            with open(file, "w") as out:
                out.write(f"package authz\n\n{text}\n")

        def effect():
            answer = send(daemon.http(), "/access/v1/evaluation", question({"type": "user", "id": "a"}, "file.read", FILE))[1]
            return answer["decision"]

        policy(reload.ALL)
        with Daemon(policy=file) as daemon:
            check("reload: a daemon allows", effect() is True)
            policy(reload.ALL + reload.rule("deny", "no", "/srv", "reads"))
            daemon.child.send_signal(signal.SIGHUP)
            check("reload: after SIGHUP it denies", control.wait(lambda: effect() is False, 20))
            policy("deny contains")
            daemon.child.send_signal(signal.SIGHUP)
            errors = daemon.child.stderr
            said = errors.readline() if select.select([errors], [], [], 20)[0] else ""
            check("reload: a broken one leaves the last good one in force",
                  "the policy stays as it was" in said and "p.rego:" in said and effect() is False, said)
            policy(reload.ALL)
            daemon.child.send_signal(signal.SIGHUP)
            check("reload: and the next is taken", control.wait(lambda: effect() is True, 20))
            changed = [entry["detail"]["by"] for entry in daemon.entries() if entry["kind"] == "policy_changed"]
            check("reload: on record as by a signal", len(changed) >= 2 and set(changed) == {"SIGHUP"}, changed)
            check("reload: SIGTERM ends it still", daemon.end() == 0, daemon.error)


def run():
    reload.run(backend="seccomp")
    with Place() as place:
        for identity in identities()[1:2]:
            reload.run(backend="seccomp", before=identity.before, home=str(place.home))
    floor()
    daemon()
