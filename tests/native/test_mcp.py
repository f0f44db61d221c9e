"""`authz mcp` in front of a small server, with the seccomp back end."""

import pathlib
import sys

import harness
from native import BARE

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "mcp"))

import checks  # noqa: E402


def run():
    if BARE:
        harness.skip("mcp", "it needs authz")
    else:
        checks.run("--backend", "seccomp")
