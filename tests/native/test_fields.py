"""The ledger has the same fields about the same operations as with the other back end."""

import fields
from native import BARE, PYTHON, Place, identities
from trial import Trial


def run():
    if BARE:
        return
    with Place() as place:
        for identity in identities():
            found = {}
            for effect in ("allow", "deny"):
                trial = Trial(place, identity, "fields")
                with fields.Stage(trial.folder("stage"), identity.owner) as stage:
                    _, entries = trial.run(stage.rules(effect), stage.argv(PYTHON))
                    found |= stage.seen(entries, effect)
            fields.compare(f"fields, {identity.name}", found)
