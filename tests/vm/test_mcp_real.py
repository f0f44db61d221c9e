"""Real MCP servers in one session, with LSM programs. By name only, after tests/native/run mcp_real has fetched them: a machine
has no network. With an optimised authz: on an emulated processor another one answers too late."""

import pathlib
import sys

from harness import skip

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "mcp"))

import real  # noqa: E402


def run():
    if real.INTERPRETER.exists() and real.MODULES.exists():
        real.together("--backend", "bpf-lsm")
    else:
        skip("mcp_real", "run `tests/native/run mcp_real` first, which fetches the servers")
