"""What others get of a session with LSM programs: a collector (OTLP), and gates that ask its policy (AuthZEN)."""

import pathlib
import sys

from harness import skip

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "native"))

import native  # noqa: E402
import test_authzen  # noqa: E402
import test_otlp  # noqa: E402


def run():
    native.BACKEND = "bpf-lsm"
    test_authzen.live(native.BACKEND)
    if not test_otlp.DECODER.exists():
        skip("otlp", "it needs target/venv, which cargo xtask setup makes")
        return
    root, _, for_user = native.identities()
    with native.Place() as place:
        for identity in (root, for_user):
            test_otlp.exported(place, identity)
