"""What `authz mcp` does in front of the small server, on any back end."""

import json
import os
import pathlib
import sys
import tempfile
import time

import harness
from harness import check

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from client import MODERN, Gate, words  # noqa: E402

POLICY = """
deny contains {{"id": "prod", "reason": "Agents do not write production files.", "advice": "Write to staging."}} if {{
	writes
	under(input.resource.id, "{top}/prod")
}}

compute contains {{"id": "staged", "reason": "Drafts go to staging.",
	"rewrite": {{"arguments": {{"path": "{top}/staging/draft"}}}}}} if {{
	input.action.name == "tool.call"
	input.resource.properties.arguments.path == "{top}/draft"
}}

escalate contains {{"id": "ask-a-human", "reason": "A human decides."}} if {{
	input.action.name == "tool.call"
	input.resource.id == "filesystem/held"
}}

deny contains {{"id": "no-reading", "reason": "Not this one."}} if {{
	input.action.name == "tool.call"
	input.resource.id == "filesystem/resources/read"
}}

allow contains {{"id": "rest"}} if not startswith(input.action.name, "system.")
"""
TRACE = "0af7651916cd43dd8448eb211c80319c"
HOSTILE = [
    ("a batch", '[{"jsonrpc":"2.0","id":901,"method":"tools/call","params":{"name":"EVIL"}}]'),
    ("a key twice", '{"jsonrpc":"2.0","id":902,"method":"ping","method":"tools/call","params":{"name":"EVIL"}}'),
    ("an escaped key twice", '{"jsonrpc":"2.0","id":903,"method":"tools/call","params":{"name":"sleep","n\\u0061me":"EVIL"}}'),
    ("another case", '{"jsonrpc":"2.0","id":904,"method":"ping","Method":"tools/call","params":{"name":"EVIL"}}'),
    ("another case in params", '{"jsonrpc":"2.0","id":905,"method":"tools/call","params":{"name":"sleep","Name":"EVIL"}}'),
    ("another case in arguments", '{"jsonrpc":"2.0","id":906,"method":"tools/call","params":{"name":"write_file","arguments":{"Path":"EVIL"}}}'),
    ("a key twice in arguments", '{"jsonrpc":"2.0","id":907,"method":"tools/call","params":{"name":"write_file","arguments":{"path":"/tmp/x","path":"EVIL"}}}'),
    ("a call without an id", '{"jsonrpc":"2.0","method":"tools/call","params":{"name":"EVIL"}}'),
    ("a call with a null id", '{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"EVIL"}}'),
    ("an unknown method", '{"jsonrpc":"2.0","id":908,"method":"EVIL/run","params":{}}'),
    ("an unknown notification", '{"jsonrpc":"2.0","method":"notifications/EVIL","params":{}}'),
    ("an answer to nothing", '{"jsonrpc":"2.0","id":1,"result":{"x":"EVIL"}}'),
    ("deep nesting", '{"jsonrpc":"2.0","id":909,"method":"tools/call","params":{"name":"EVIL","arguments":{"x":' + "[" * 9000 + "]" * 9000 + "}}}"),
    ("a number beyond 64 bits", '{"jsonrpc":"2.0","id":910,"method":"tools/call","params":{"name":"EVIL","arguments":{"x":123456789012345678901234567890}}}'),
    ("no JSON", "EVIL"),
    ("half a surrogate", '{"jsonrpc":"2.0","id":911,"method":"tools/call","params":{"name":"EVIL\\ud800"}}'),
    ("a control character in a name", '{"jsonrpc":"2.0","id":912,"method":"tools/call","params":{"name":"EVIL\\u0000"}}'),
    ("an overlong line", '{"jsonrpc":"2.0","id":913,"method":"tools/call","params":{"name":"EVIL","arguments":{"x":"' + "x" * (17 << 20) + '"}}}'),
]


class Place:
    """Folders, the policy and the server's command."""

    def __init__(self, options=()):
        self.top = pathlib.Path(tempfile.mkdtemp(prefix="mcp-"))
        self.options = list(options)
        for name in ("prod", "staging"):
            (self.top / name).mkdir()
        self.policy = harness.policy_file(POLICY.format(top=self.top))
        self.seen, self.state = self.top / "seen", self.top / "state"
        self.server = [sys.executable, "-S", str(HERE / "server.py")]

    def argv(self, *more):
        return [harness.AUTHZ, "mcp", "--server", "filesystem", "--policy", self.policy, "--state", str(self.state),
                *self.options, *more, "--", *self.server]

    def gate(self, *more, **env):
        return Gate(self.argv(*more), env={**os.environ, "MCP_SEEN": str(self.seen), **env}, cwd=self.top)

    def reached(self):
        """What reached the server."""
        return self.seen.read_text(encoding="utf-8") if self.seen.exists() else ""

    def ledger(self):
        """The entries of every session so far."""
        done = harness.authz("ledger", "--state", str(self.state), "list", "--json", "--limit", "0")
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    def end(self):
        harness.finish(["rm", "-rf", str(self.top)], 60, None, None)


def run(*options):
    """Everything; `options` are of authz mcp."""
    for part in (layers, tasks, hostile, effects, human, endings, nested):
        place = Place(options)
        try:
            part(place)
        finally:
            place.end()


def layers(place):
    """The same rule at the gate and at the system call, one trace, one ledger; both generations."""
    for kind, meta in (("legacy", {}), ("2026-07-28", MODERN)):
        gate = place.gate("--serialize", HOME=str(place.top))
        if kind == "legacy":
            gate.hello()
        else:
            check(f"{kind}: discover passes", gate.ask("server/discover", {"_meta": meta})["result"]["supportedVersions"])
        meta = {**meta, "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        target = place.top / "prod" / kind
        declared = gate.call("write_file", meta, path=str(target), content="x")
        text = words(declared)
        check(f"{kind}: a declared write is denied at the gate, with the rule's reason and advice",
              declared["isError"] and "Agents do not write production files. Write to staging. [rule prod," in text, declared)
        data = declared["_meta"]["dev.authz/decision"]
        check(f"{kind}: with machine data", data["rules"][0]["id"] == "prod" and data["trace_id"] == TRACE, data)
        check(f"{kind}: the server never saw it", "write_file" not in place.reached())
        hidden = gate.call("shell", meta, command=f"echo x > {target}")
        text = words(hidden)
        check(f"{kind}: a hidden write is denied at the system call, and the answer says so",
              f"{target}: Agents do not write production files. Write to staging. [rule prod, decision" in text, text)
        check(f"{kind}: by both ways nothing was written", not target.exists())
        fine = gate.call("shell", meta, command=f"echo x > {place.top}/staging/{kind}")
        check(f"{kind}: what is allowed passes, and nothing is added", words(fine) == "status 0: ", fine)
        relative = gate.call("write_file", meta, path=f"prod/../prod/{kind}", content="x")
        check(f"{kind}: a relative path is judged as what it is", relative["isError"], relative)
        tilde = gate.call("write_file", meta, path=f"~/prod/{kind}", content="x")
        check(f"{kind}: one that begins at home is in the server's", tilde["isError"] and "[rule prod," in words(tilde), tilde)
        gate.close()
        check(f"{kind}: the call's own trace context goes on", f'"traceparent": "00-{TRACE}' in place.reached()
              or f'"traceparent":"00-{TRACE}' in place.reached(), place.reached()[-500:])
        denials = [entry for entry in place.ledger() if entry.get("trace_id") == TRACE and entry["kind"] == "decision"
                   and entry.get("result", {}).get("effect") == "deny"]
        layers_of = {(entry["layer"], entry["action"]) for entry in denials}
        rules = {rule["id"] for entry in denials for rule in entry["result"]["rules"]}
        check(f"{kind}: both denials are in one ledger under one trace by one rule",
              ("mcp", "file.write") in layers_of and any(layer in ("kernel", "seccomp") for layer, _ in layers_of)
              and rules == {"prod"}, (layers_of, rules))
        attributed = {entry.get("attribution") for entry in denials if entry["layer"] in ("kernel", "seccomp")}
        check(f"{kind}: the system call's to its call for certain", attributed == {"exact"}, attributed)
        place.seen.unlink()


def tasks(place):
    """A call whose answer is a task stays open until that is over, and what was denied under it is told with its result."""
    for kind, meta in (("legacy", {}), ("2026-07-28", MODERN)):
        gate = place.gate("--serialize")
        gate.hello()
        target = place.top / "prod" / f"task-{kind}"
        params = {"name": "later", "arguments": {"command": f"echo x > {target}"}, **({"_meta": meta} if meta else {"task": {}})}
        handle = gate.ask("tools/call", params)["result"]
        identity = (handle if meta else handle["task"])["taskId"]
        about = {"taskId": identity, **({"_meta": meta} if meta else {})}
        working = gate.ask("tasks/get", about)["result"]
        check(f"{kind}: a task's handle and state pass", working["status"] == "working" and not target.exists(), (handle, working))
        result = gate.call("shell", meta, command="true")
        check(f"{kind}: one call at a time: none beside a task", result["isError"] and f'"{identity}" of an earlier one' in words(result),
              result)
        over = gate.ask("tasks/get", about)["result"]
        result = over["result"] if meta else gate.ask("tasks/result", about)["result"]
        check(f"{kind}: what was denied under the task is told with its result",
              f"{target}: Agents do not write production files. Write to staging. [rule prod, decision" in words(result), (over, result))
        check(f"{kind}: then the next call is free", words(gate.call("shell", meta, command="true")) == "status 0: ")
        gate.ask("tasks/get", {**about, "taskId": "none"})
        gate.close()
        entries = place.ledger()
        called = [entry for entry in entries if (entry.get("resource") or {}).get("id") == "filesystem/later"][-1]
        [denied] = [entry for entry in entries if (entry.get("resource") or {}).get("id") == str(target) and entry["kind"] == "decision"]
        closed = [entry for entry in entries if entry["kind"] == "call_closed" and entry["detail"]["call"] == called["decision_id"]]
        check(f"{kind}: the system call belongs to the task's call for certain, which is closed once, after it",
              (denied["attribution"], denied["span_id"]) == ("exact", called["span_id"]) and len(closed) == 1
              and called["seq"] < denied["seq"] < closed[0]["seq"], (called, denied, closed))


def hostile(place):
    gate = place.gate()
    gate.hello()
    gate.ask("tools/list")
    for name, line in HOSTILE:
        gate.send(line)
        check(f"after {name} the gate still answers", gate.ask("ping")["result"] == {})
        check(f"{name} does not reach the server", "EVIL" not in place.reached())
    gate.send('{"jsonrpc":"2.0","id":1.0e1,"method":"tools/call","params":{"name":"EVIL2","arguments":{"b":1.0,"a":1}}}')
    answer = gate.receive(lambda message: message.get("id") == 10 and "result" in message)
    check("a call goes on with its id as it was written, from the judged value",
          '"id":1.0e1,' in place.reached() and '"arguments":{"a":1,"b":1.0}' in place.reached(), answer)
    line = '{ "jsonrpc":"2.0" ,"params":{"x":1.0,"y" : 1e0},"method":"ping", "id":"a\\u0062"}'
    gate.send(line)
    gate.receive(lambda message: message.get("id") == "ab")
    check("what is not judged passes byte for byte", line in place.reached())
    number = gate.request("tools/call", {"name": "ask", "arguments": {}})
    question = gate.receive(lambda message: message.get("method") == "roots/list")
    gate.send({"jsonrpc": "2.0", "id": question["id"], "result": {"roots": []}})
    check("ids of both directions are apart", '"roots": []' in words(gate.answer(number)["result"]))
    for odd in ("no json", '{"jsonrpc":"2.0","id":77,"result":{}}', '{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{}}',
                '{"jsonrpc":"2.0","method":"notifications/odd"}'):
        result = gate.call("odd", line=odd)
        unasked = [message for message in gate.kept if "error" not in message]
        check(f"an odd line of the server is dropped: {odd}", words(result) == "said it" and not unasked, unasked)
    gate.close()


def effects(place):
    gate = place.gate()
    gate.hello()
    result = gate.call("write_file", path=str(place.top / "draft"), content="x")
    check("compute: the call goes on with the policy's arguments", words(result) == "written"
          and (place.top / "staging/draft").exists() and not (place.top / "draft").exists(), result)
    answer = gate.ask("resources/read", {"uri": "file:///etc/hostname"})
    check("a resource is judged too", answer["error"]["code"] == 403 and "no-reading" in answer["error"]["message"], answer)
    gate.close()
    observed = place.gate("--mode", "observe")
    observed.hello()
    target = place.top / "prod/observed"
    check("observe: nothing is blocked", words(observed.call("write_file", path=str(target), content="x")) == "written"
          and target.exists())
    observed.close()


def pending():
    """The one operation that waits."""
    for _ in range(200):
        done = harness.authz("pending", "--json")
        waiting = json.loads(done.stdout or "[]")
        if waiting:
            return waiting[0]["id"]
        time.sleep(0.1)
    raise TimeoutError("nothing waits")


def human(place):
    gate = place.gate("--hold-timeout", "60s")
    gate.hello({"elicitation": {}})
    number = gate.request("tools/call", {"name": "held", "arguments": {"content": "1"}})
    question = gate.receive(lambda message: message.get("method") == "elicitation/create")
    check("the client is asked, and told how to answer", "authz approve" in question["params"]["message"], question)
    gate.send({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {}}})
    check("an accept at the client is no approval", gate.ask("ping")["result"] == {} and "held" not in place.reached())
    done = harness.authz("approve", pending(), "--reason", "test")
    check("authz approve lets it go on", words(gate.answer(number)["result"]) == 'held {"content": "1"}', done.stderr)
    number = gate.request("tools/call", {"name": "held", "arguments": {"content": "2"}})
    question = gate.receive(lambda message: message.get("method") == "elicitation/create")
    harness.authz("deny", pending(), "--reason", "not now")
    result = gate.answer(number)["result"]
    check("authz deny refuses it", result["isError"] and "not approved" in words(result), result)
    back = gate.receive(lambda message: message.get("method") == "notifications/cancelled")
    check("the question is taken back", back["params"]["requestId"] == question["id"], back)
    number = gate.request("tools/call", {"name": "held", "arguments": {"content": "3"}})
    gate.receive(lambda message: message.get("method") == "elicitation/create")
    gate.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}})
    gate.ask("ping")
    check("a cancelled call waits no more", json.loads(harness.authz("pending", "--json").stdout) == [])
    gate.close()
    kinds = {(entry["kind"], (entry.get("detail") or {}).get("action")) for entry in place.ledger()}
    check("what the client said is in the ledger", ("elicited", "accept") in kinds, kinds)

    gate = place.gate("--hold-timeout", "60s")
    meta = {**MODERN, "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}
    params = {"name": "held", "arguments": {"content": "4"}, "_meta": meta}
    first = gate.ask("tools/call", params)["result"]
    check("2026-07-28: input is required", first["resultType"] == "input_required", first)
    answers = {key: {"action": "accept", "content": {}} for key in first["inputRequests"]}
    retry = {**params, "inputResponses": answers, "requestState": first["requestState"]}
    number = gate.request("tools/call", retry)
    harness.authz("approve", pending())
    check("2026-07-28: the retry goes on when it is approved", words(gate.answer(number)["result"]) == 'held {"content": "4"}')
    check("2026-07-28: our state and answers do not go upstream", "requestState" not in place.reached()
          and "dev.authz" not in place.reached())
    again = gate.ask("tools/call", retry)["result"]
    check("2026-07-28: a state serves once", again["resultType"] == "input_required", again)
    harness.authz("approve", pending())
    alone = str(place.top / "alone")
    gate.ask("tools/call", {"name": "write_file", "arguments": {"path": alone, "content": "x"}, "_meta": MODERN})
    gate.close()
    written = {entry["attribution"] for entry in place.ledger() if (entry.get("resource") or {}).get("id") == alone}
    check("2026-07-28: a call that is approved and not retried is not open", written == {"exact"}, written)

    gate = place.gate("--hold-timeout", "1s")
    gate.hello()
    result = gate.call("held", content="5")
    check("nobody answers: denied, with the pending id", result["isError"] and "authz held filesystem/held as" in words(result), result)
    gate.close()


def endings(place):
    gate = place.gate()
    gate.hello()
    result = gate.call("die")
    check("a server that dies leaves an error", result["isError"] and "ended before it answered" in words(result), result)
    status, errors = gate.close()
    check("its status is passed on", status == 3, (status, errors))
    outcomes = [entry["detail"]["outcome"] for entry in place.ledger() if entry["kind"] == "call_closed"]
    check("its call is closed as lost", outcomes == ["lost"], outcomes)
    gate = place.gate()
    gate.hello()
    gate.request("tools/call", {"name": "sleep", "arguments": {"seconds": 1}})
    status, errors = gate.close()
    check("a client that leaves ends the server, and what it asked for is still answered",
          status == 0 and "slept" in "".join(map(str, list(gate.lines.queue))), (status, errors))


def nested(place):
    """Inside a session of authz exec the same gate asks that session's daemon."""
    backend = [option for option in place.options if option not in ("--serialize",)]
    argv = [harness.AUTHZ, "exec", "--quiet", "--policy", place.policy, "--state", str(place.state), *backend, "--",
            *place.argv()]
    gate = Gate(argv, env={**os.environ, "MCP_SEEN": str(place.seen)}, cwd=place.top)
    gate.hello()
    target = place.top / "prod/nested"
    declared = gate.call("write_file", path=str(target), content="x")
    check("nested: denied at the gate", declared["isError"] and "[rule prod," in words(declared), declared)
    hidden = gate.call("shell", command=f"echo x > {target}")
    check("nested: denied at the system call", "[rule prod, decision" in words(hidden) and not target.exists(), hidden)
    gate.close()
    sessions = {entry["session"] for entry in place.ledger() if entry.get("session")}
    sources = {(entry.get("detail") or {}).get("source") for entry in place.ledger() if entry.get("action") == "tool.call"}
    check("nested: one session, and the call is the session's own word", len(sessions) == 1 and sources == {"session"},
          (sessions, sources))
