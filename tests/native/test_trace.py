"""`authz trace` and `authz denials`: the tool calls of a session with what was seen under them, and what contradicts them."""

import json
import pathlib

import harness
from harness import check, skip
from native import ACTS, BARE, PYTHON, Place, identities

POLICY = """
deny contains {{"id": "no-prod", "reason": "Not there.", "advice": "Go elsewhere."}} if {{
	writes
	under(input.resource.id, "{top}/prod")
}}

allow contains {{"id": "rest", "reason": "everything else"}} if not startswith(input.action.name, "system.")
"""

# An agent that tells of one call, and does what the call does not say.
AGENT = ACTS + """
import json, os, socket, subprocess, sys

top, authz = sys.argv[1:]

write("before")
call = ask(op="open_call", layer="hook", server="filesystem", name="write_file", call_id="toolu_7",
           arguments={"path": f"{top}/work/said"})
write("work/said")
write("work/hidden")
write("work/hidden")
write("prod/x")
ask(op="close_call", call="toolu_7", outcome="ok")
write("between")
denied = subprocess.run([authz, "denials", "--json"], capture_output=True, text=True)
print(json.dumps({"call": call["call"], "span": call["span_id"], "session": call["session"], "trace": call["trace_id"],
                  "denied": json.loads(denied.stdout or "null"), "error": denied.stderr}))
"""


def one(place, identity):
    named = lambda what: f"trace, {identity.name}, {what}"
    top, state = place.fresh("trace"), place.fresh("state")
    for name in ("work", "prod"):
        (top / name).mkdir()
        (top / name).chmod(0o777)
    top.chmod(0o777)
    state.chmod(0o777)
    authz = str(place.tools / "authz")
    rules = place.policy(POLICY.format(top=top))
    # A folder of the user's own, as the ledger wants it.
    ledger = pathlib.Path(state) / "own"
    done = harness.finish(identity.bound([PYTHON, "-c", AGENT, str(top), authz], str(rules), "--state", str(ledger),
                                         authz=authz), 120, {"HOME": place.home}, str(top))
    try:
        told = json.loads(done.stdout)
    except ValueError:
        check(named("the agent gets to its end"), False, done)
        return

    def ask(*arguments):
        return harness.finish([*identity.before, authz, *arguments, "--state", str(ledger)], 60, None, "/")

    denied = [(denial["resource"], denial["rule"], denial["advice"]) for denial in told["denied"] or []]
    expected = [(f"{top}/prod/x", "no-prod", "Go elsewhere.")]
    check(named("a live session is told its denials"), denied == expected, told)
    done = ask("denials", "--session", told["session"], "--json")
    denied = [(denial["resource"], denial["rule"], denial["advice"]) for denial in json.loads(done.stdout or "[]")]
    check(named("so does the ledger once it has ended"), denied == expected, done)

    done = ask("trace", told["session"], "--json")
    [tree] = json.loads(done.stdout)
    [call] = tree["calls"]
    check(named("the call is there"), (call["call"], call["span_id"], call["tool"], call["outcome"])
          == (told["call"], told["span"], "filesystem/write_file", "ok"), call)
    check(named("with what it declares"), [node["resource"] for node in call["declared"][1:]] == [f"{top}/work/said"], call)
    contradicts = {(node["resource"].removeprefix(str(top)), node.get("contradicts"), bool(node.get("finding")))
                   for node in call["operations"] + tree["outside"] if node["resource"].startswith(f"{top}/")
                   and node["action"] in ("file.write", "file.create")}
    check(named("contradictions are marked, and on record"), {
        ("/before", None, False), ("/work/said", None, False), ("/work/hidden", "undeclared", True),
        ("/prod/x", "undeclared", True), ("/between", "no_call", True)} <= contradicts, contradicts)
    check(named("and nothing else is"), not any(name == "/work/said" and what for name, what, _ in contradicts), contradicts)
    for text in (told["call"], "toolu_7", told["span"]):
        done = ask("trace", text)
        check(named("the call is found by each of its names"), done.returncode == 0
              and f"file.write {top}/work/hidden  allow [rest]" in done.stdout
              and "!! outside what the call declares" in done.stdout and f"{top}/between" not in done.stdout, (text, done))
    check(named("an id that is none is an error"), ask("trace", "nothing").returncode == 1)
    done = ask("replay", "--json")
    check(named("calls are replayed too"), done.returncode == 0 and json.loads(done.stdout)["same"]["entries"] > 10, done)


def run():
    if BARE:
        skip("trace", "there is nothing to trace without authz")
        return
    with Place() as place:
        for identity in identities()[:2]:
            one(place, identity)
