"""How calls through `authz mcp --listen` end when a side goes away, and how a human is asked there: no call stays open, nothing that
was taken back happens."""

import contextlib
import http.client
import json
import threading
import time
import urllib.parse

import control
import harness
from harness import check
from test_http import SESSION, Gate, Handler, Server, answer, call

POLICY = """
escalate contains {"id": "ask", "reason": "A human decides."} if input.resource.id == "small/held"

allow contains {"id": "rest"} if not input.resource.id == "small/held"
"""
META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}


class Slow(Handler):
    """Answers late, in a stream that it leaves in the middle, or says nothing at all."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((body, self.given()))
        tool = body.get("params", {}).get("name")
        if "id" not in body:
            return self.reply(202, b"")
        if tool == "late":
            self.server.go.wait(60)
        if tool in ("cut", "resumed"):
            return self.reply(200, f"{'id: 1' if tool == 'resumed' else ''}\ndata:\n\n".encode(), kind="text/event-stream")
        if tool in ("late", "held"):
            with contextlib.suppress(BrokenPipeError):
                self.reply(200, answer(body, {"content": [{"type": "text", "text": tool}]}))
            return None
        return self.reply(200, answer(body, {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {}}),
                          {"Mcp-Session-Id": SESSION})

    def do_GET(self):
        self.server.seen.append(("GET", self.given()))
        last = self.server.seen[-2][0]
        self.reply(200, b"id: 2\ndata: " + answer(last, {"content": []}) + b"\n\n", kind="text/event-stream")


def begun(gate, body, **headers):
    """A request whose answer nobody has read."""
    at = urllib.parse.urlsplit(gate.ready["listening"])
    connection = http.client.HTTPConnection(at.netloc, timeout=60)
    given = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    connection.request("POST", at.path, json.dumps(body), {**given, **{name.replace("_", "-"): value for name, value in headers.items()}})
    return connection


def outcomes(gate):
    entries = control.ledger("--state", gate.state)
    names = {entry["decision_id"]: entry["resource"]["id"] for entry in entries if entry.get("action") == "tool.call"}
    return [(names.get(entry["detail"]["call"]), entry["detail"]["outcome"]) for entry in entries if entry["kind"] == "call_closed"]


def ends(server, gate):
    named = {"Mcp_Session_Id": SESSION}
    gate.send({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}})
    status, text, _ = gate.send(call("x", "cut"), **named)
    check("a stream that ends before its answer leaves an error", '"error"' in text and "ended before" in text, (status, text))
    check("and its call is over", control.wait(lambda: outcomes(gate) == [("small/cut", "error")]), outcomes(gate))
    status, text, _ = gate.send(call("x", "resumed", 8), **named)
    check("one that can be resumed leaves none", '"error"' not in text and len(outcomes(gate)) == 1, text)
    status, text, _ = gate.send(None, "GET", Last_Event_ID="1", **named)
    check("the client comes for the rest: its Last-Event-ID reaches the server, and the answer the client",
          server.seen[-1][1].get("last-event-id") == "1" and '"result"' in text, (server.seen[-1], text))
    check("and that call is over", control.wait(lambda: ("small/resumed", "ok") in outcomes(gate)), outcomes(gate))
    for version, headers, wanted in (("with a session", named, "ok"), ("without one", {}, "lost")):
        server.go.clear()
        number, before = len(outcomes(gate)), len(server.seen)
        connection = begun(gate, call("x", "late", 20), **headers)
        control.wait(lambda: len(server.seen) > before)
        connection.close()
        if wanted == "lost":
            closed = control.wait(lambda: len(outcomes(gate)) > number)
            check(f"{version}: a client that is gone has taken its call back, whatever the server does", closed, outcomes(gate))
        server.go.set()
        check(f"{version}: the call of a client that is gone ends", control.wait(lambda: len(outcomes(gate)) > number)
              and outcomes(gate)[-1][0] == "small/late" and (wanted != "ok" or outcomes(gate)[-1][1] == "ok"), outcomes(gate))


def reached(server, number):
    return any(body != "GET" and body.get("id") == number for body, _ in server.seen)


def waiting():
    return [view for view in json.loads(harness.authz("pending", "--json").stdout or "[]") if view["resource"] == "small/held"]


def human(server, gate):
    """Both generations."""
    named = {"Mcp_Session_Id": SESSION}
    hello = {"protocolVersion": "2025-06-18", "capabilities": {"elicitation": {}}, "clientInfo": {"name": "t", "version": "1"}}
    gate.send({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello})
    answers = []
    thread = threading.Thread(target=lambda: answers.append(gate.send(call("x", "held", 30), **named)))
    thread.start()
    pending = control.wait(waiting)
    check("a call that a human has to allow waits", pending and not reached(server, 30), server.seen)
    harness.authz("approve", pending[0]["id"])
    thread.join(60)
    text = answers[0][1] if isinstance(answers[0][1], str) else json.dumps(answers[0][1])
    check("the client is asked on the answer's stream, and gets the answer once it is approved",
          "elicitation/create" in text and '"text": "held"' in text.replace("\\", ""), answers)

    modern = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": "tools/call", "Mcp_Name": "held"}
    body = call("x", "held", 31)
    body["params"]["_meta"] = META
    status, first, _ = gate.send(body, **modern)
    result = first.get("result", {}) if isinstance(first, dict) else {}
    check("2026-07-28: input is required", result.get("resultType") == "input_required", first)
    check("2026-07-28: the call waits", control.wait(waiting))
    harness.authz("approve", waiting()[0]["id"])
    body["id"] = 32
    body["params"] |= {"requestState": result["requestState"],
                       "inputResponses": {key: {"action": "accept", "content": {}} for key in result["inputRequests"]}}
    status, second, _ = gate.send(body, **modern)
    check("2026-07-28: the retry goes on once it is approved", "held" in json.dumps(second) and "error" not in second
          and "requestState" not in server.seen[-1][0]["params"], (second, server.seen[-1]))

    connection = begun(gate, call("x", "held", 33), **named)
    check("a third call waits", control.wait(waiting))
    connection.close()
    check("a client that is gone waits no more", control.wait(lambda: not waiting()), waiting())
    time.sleep(0.2)
    check("and its call does not happen", not reached(server, 33))


def run():
    server = Server()
    server.RequestHandlerClass = Slow
    server.go = threading.Event()
    for part in (ends, human):
        with Gate(f"http://127.0.0.1:{server.server_port}/mcp", harness.policy_file(POLICY)) as gate:
            part(server, gate)
