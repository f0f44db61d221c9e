"""`authz policy why` about a session under the supervisor, as root and as a user."""

import why
from native import Place, identities


def run():
    why.run(backend="seccomp")
    with Place() as place:
        for identity in identities()[1:2]:
            why.run(backend="seccomp", before=identity.before, home=str(place.home))
