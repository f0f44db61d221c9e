"""`authz mcp` in front of a small server, with LSM programs."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "mcp"))

import checks  # noqa: E402


def run():
    checks.run("--backend", "bpf-lsm")
