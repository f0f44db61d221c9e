"""Constraints, with seccomp; and of tool calls, at the gate."""

import os
import pathlib
import sys

import harness
import limits
from harness import check
from native import BARE

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "mcp"))

from checks import Place  # noqa: E402
from client import words  # noqa: E402

CALLS = """
package authz

allow contains {"id": "twice", "constraints": {"max_uses": 2}} if input.resource.id == "filesystem/held"

allow contains {"id": "slowly", "constraints": {"rate": "1/1h"}} if input.resource.id == "filesystem/sleep"

allow contains {"id": "rest"} if {
	not input.resource.id in {"filesystem/held", "filesystem/sleep"}
	not startswith(input.action.name, "system.")
}
"""


def calls():
    place = Place(["--backend", "seccomp"])
    try:
        place.policy = harness.policy_file(CALLS)
        gate = place.gate()
        gate.hello()
        results = [gate.call("held", content=str(number)) for number in range(3)]
        check("limits: at the gate max_uses 2 lets two calls through", [result["isError"] for result in results]
              == [False, False, True] and "max_uses 2 is used up" in words(results[2]), results)
        results = [gate.call("sleep", seconds=0) for _ in range(2)]
        check("limits: and rate 1/1h one", [result["isError"] for result in results] == [False, True]
              and "rate 1 in 3600 s is used up" in words(results[1]), results)
        check("limits: what was denied did not reach the server", place.reached().count('"held"') == 2, place.reached())
        gate.close()
    finally:
        place.end()


def run():
    if BARE:
        harness.skip("limits", "it needs authz")
        return
    limits.run(backend="seccomp")
    if not os.getuid():
        limits.run(backend="seccomp", user="nobody")
    calls()
