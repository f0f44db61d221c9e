"""The ledger has the same fields about the same operations as with the other back end."""

import cases
import control
import fields
import harness


def run():
    found = {}
    for effect in ("allow", "deny"):
        with fields.Stage(control.folder()) as stage:
            done = harness.authz_exec(stage.rules(effect), stage.argv(cases.python()))
            found |= stage.seen(control.entries(done), effect)
            harness.check(f"fields: the operations are done, {effect}", done.returncode == 0, done)
    fields.compare("fields", found)
