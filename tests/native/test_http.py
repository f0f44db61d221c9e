"""`authz mcp --listen` in front of a small server that records what reaches it: what is denied does not, what is rewritten does so in
body and headers, and what headers say otherwise than the body, redirects, batches and web pages are refused."""

import http.client
import http.server
import json
import pathlib
import ssl
import subprocess
import tempfile
import threading
import urllib.parse

import harness
from harness import check

POLICY = """
allow contains {"id": "reads", "reason": "reading"} if input.resource.id == "small/read"

allow contains {"id": "slow", "reason": "reading"} if input.resource.id in {"small/stream", "small/task"}

deny contains {"id": "no-prod", "reason": "Not in production.", "advice": "Use staging."} if {
    input.resource.id == "small/read"
    input.resource.properties.arguments.region == "prod"
}

compute contains {"id": "moved", "rewrite": {"arguments": {"region": "eu"}}} if {
    input.resource.id == "small/read"
    input.resource.properties.arguments.region == "us"
}
"""
SESSION = "the-conversation"


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, tls=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen = []
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def given(self):
        return {name.lower(): value for name, value in self.headers.items()}

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((body, self.given()))
        method, params = body.get("method"), body.get("params", {})
        if "id" not in body:
            return self.reply(202, b"")
        if method == "initialize":
            result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "small", "version": "1"}}
            return self.reply(200, answer(body, result), {"Mcp-Session-Id": SESSION})
        if method == "ping":
            return self.reply(302, b"", {"Location": "http://127.0.0.1:9/mcp"})
        if params.get("name") == "stream":
            note = json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "half"}})
            unknown = json.dumps({"jsonrpc": "2.0", "method": "notifications/unknown"})
            events = f"id: 1\ndata:\n\nevent: message\nid: 2\ndata: {note}\n\ndata: {unknown}\n\n: alive\n\n"
            return self.reply(200, events.encode() + b"id: 3\r\ndata: " + answer(body, {"content": []}) + b"\r\n\r\n",
                              kind="text/event-stream")
        if params.get("name") == "task":
            return self.reply(200, answer(body, {"resultType": "task", "taskId": "t1", "status": "working"}))
        if method == "tasks/get":
            result = {"content": [{"type": "text", "text": "done"}]}
            return self.reply(200, answer(body, {"taskId": "t1", "status": "completed", "result": result}))
        if params.get("name") == "read" and params["arguments"].get("region") == "gone":
            return self.reply(404, b"no such session")
        self.reply(200, answer(body, {"content": [{"type": "text", "text": json.dumps(params.get("arguments"))}]}))

    def do_GET(self):
        note = json.dumps({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        self.reply(200, f"data: {note}\n\n".encode(), kind="text/event-stream")

    def do_DELETE(self):
        self.server.seen.append(("DELETE", self.given()))
        self.reply(200, b"")

    def reply(self, status, body, more=(), kind="application/json"):
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": len(body), **dict(more)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)


def answer(body, result):
    return json.dumps({"jsonrpc": "2.0", "id": body["id"], "result": result}).encode()


class Gate:
    def __init__(self, upstream, policy, *options, **env):
        self.state = tempfile.mkdtemp(prefix="http-gate-")
        self.child = subprocess.Popen(
            [harness.AUTHZ, "mcp", "--server", "small", "--listen", "127.0.0.1:0", "--upstream", upstream, "--state", self.state,
             "--policy", policy, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=harness.environment(env))
        line = self.child.stdout.readline()
        self.ready = json.loads(line) if line else None

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.end()
        subprocess.run(["rm", "-rf", self.state], check=False)

    def end(self):
        self.child.terminate()
        self.error = self.child.communicate(timeout=30)[1]
        return self.child.returncode

    def send(self, body, method="POST", **headers):
        """Status, messages and headers; `headers` with _ for -."""
        at = urllib.parse.urlsplit(self.ready["listening"])
        connection = http.client.HTTPConnection(at.netloc, timeout=30)
        given = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, at.path, body if isinstance(body, (str, type(None))) else json.dumps(body), given)
        response = connection.getresponse()
        text = response.read().decode()
        if response.getheader("Content-Type") == "text/event-stream":
            return response.status, text, response.headers
        return response.status, json.loads(text) if text.startswith("{") else text, response.headers


def call(region, tool="read", number=7):
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": tool, "arguments": {"region": region}}}


def judged(server, gate):
    status, body, headers = gate.send({"jsonrpc": "2.0", "id": 1, "method": "initialize",
                                       "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {}}})
    check("initialize passes, with the name of the conversation", (status, headers.get("Mcp-Session-Id")) == (200, SESSION), body)
    named = {"Mcp_Session_Id": SESSION}
    status, body, _ = gate.send(call("asia"), **named, Authorization="Bearer x", Connection="close, X-Hop", X_Hop="1")
    check("what is allowed is answered", body.get("result", {}).get("content"), body)
    sent, given = server.seen[-1]
    check("the trace context is told to the server", sent["params"]["_meta"]["traceparent"].startswith("00-"), sent)
    check("the client's headers pass, but for those of the connection", given.get("authorization") == "Bearer x"
          and "x-hop" not in given and given["host"] == f"127.0.0.1:{server.server_port}", given)
    before = len(server.seen)
    status, body, _ = gate.send(call("prod"), **named)
    check("what is denied is told with the reason", status == 200 and body["result"]["isError"]
          and "Not in production. Use staging." in body["result"]["content"][0]["text"], body)
    check("what is denied does not reach the server", len(server.seen) == before, server.seen[before:])
    status, body, _ = gate.send(call("us"), **named, Mcp_Method="tools/call", Mcp_Name="read", Mcp_Param_Region="us")
    sent, given = server.seen[-1]
    check("a rewrite reaches the server in the body", sent["params"]["arguments"] == {"region": "eu"}, sent)
    check("and in the headers", (given.get("mcp-param-region"), given.get("mcp-name")) == ("eu", "read"), given)
    status, body, _ = gate.send({"jsonrpc": "2.0", "method": "notifications/initialized"}, **named)
    check("a notification passes", status == 202 and server.seen[-1][0]["method"] == "notifications/initialized", status)
    status, text, _ = gate.send(call("asia", "stream"), **named)
    check("events pass one by one, with their ids", status == 200 and text.startswith("id: 1\n") and "half" in text
          and "id: 2\n" in text and "id: 3\n" in text and '"result"' in text, text)
    check("a notification that authz does not know is dropped", "notifications/unknown" not in text, text)
    status, body, _ = gate.send(call("gone"), **named)
    check("an error of the server keeps its status", status == 404 and body["error"], (status, body))
    status, body, _ = gate.send({"jsonrpc": "2.0", "id": 9, "method": "ping"}, **named)
    check("a redirect is not followed", status == 502 and body["error"], (status, body))
    status, text, _ = gate.send(None, "GET", **named)
    check("the server's own stream passes", status == 200 and "list_changed" in text, text)
    status, _, _ = gate.send(None, "DELETE", **named)
    check("the end of the conversation passes", status == 200 and server.seen[-1][0] == "DELETE", status)


def refused(server, gate):
    before = len(server.seen)
    modern = {"MCP_Protocol_Version": "2026-07-28"}
    both = call("asia")
    both["params"]["_meta"] = {"io.modelcontextprotocol/protocolVersion": "2025-11-25"}
    cases = {
        "a method in the header that the body has not": (call("asia"), {"Mcp_Method": "tools/list"}),
        "a name in the header that the body has not": (call("asia"), {"Mcp_Name": "stream"}),
        "a parameter in the header that the body has not": (call("asia"), {"Mcp_Param_Region": "eu"}),
        "no method in the header, of 2026-07-28": (call("asia"), modern),
        "two versions": (both, {**modern, "Mcp_Method": "tools/call", "Mcp_Name": "read"}),
        "a batch": ([call("asia")], {}),
        "a member that stands twice": ('{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}', {}),
        "no JSON": ("{", {}),
        "another Host": (call("asia"), {"Host": "evil.example"}),
        "a web page": (call("asia"), {"Origin": "http://evil.example"}),
        "another content type": (call("asia"), {"Content_Type": "text/plain"}),
    }
    for name, (body, headers) in cases.items():
        status, body, _ = gate.send(body, **headers)
        check(f"{name} is refused", 400 <= status < 500, (status, body))
    status, body, _ = gate.send({"jsonrpc": "2.0", "id": 3, "method": "tools/other"})
    check("a method that authz does not know is refused", body["error"]["code"] == -32601, body)
    status, body, _ = gate.send({**call("asia"), "params": {"name": "read", "Name": "stream", "arguments": {}}})
    check("a member that could be taken for another is refused", "error" in body, body)
    check("nothing of it reaches the server", len(server.seen) == before, server.seen[before:])


def entries(gate):
    listed = harness.finish([harness.AUTHZ, "ledger", "--state", gate.state, "list", "--json", "--limit", "0"], 60, None, None)
    return [json.loads(line) for line in listed.stdout.splitlines()]


def tasks(gate):
    """A task outlives the request that it began with, and the gate of that."""
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}

    def ask(method, params, name):
        return gate.send({"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}},
                         MCP_Protocol_Version="2026-07-28", Mcp_Method=method, Mcp_Name=name)[1]

    handle = ask("tools/call", {"name": "task", "arguments": {}}, "task")
    check("a task's handle passes", handle.get("result", {}).get("taskId") == "t1", handle)
    between = ask("tools/call", {"name": "stream", "arguments": {}}, "stream")
    check("another task's name in the header is refused", ask("tasks/get", {"taskId": "t1"}, "t2")["error"]["code"] == -32020)
    done = ask("tasks/get", {"taskId": "t1"}, "t1")
    check("so does its end", done.get("result", {}).get("status") == "completed", (done, between))
    # A denial is on disk when it is told, and with it what was before.
    ask("tools/call", {"name": "read", "arguments": {"region": "prod"}}, "read")
    seen = entries(gate)
    calls = {one["resource"]["id"]: one for one in seen if one["kind"] == "decision"}
    task, other = calls["small/task"], calls["small/stream"]
    closed = [one for one in seen if one["kind"] == "call_closed" and one["detail"]["call"] == task["decision_id"]]
    check("its call stays open until then, and is closed once", len(closed) == 1 and closed[0]["detail"]["outcome"] == "ok"
          and task["seq"] < other["seq"] < closed[0]["seq"], (task, other, closed))


def over_tls(policy):
    """A server whose certificate is trusted, and one whose is not."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="http-tls-"))
    made = harness.finish(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                           "-subj", "/CN=small", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE",
                           "-keyout", "key", "-out", "certificate"], 60, None, folder)
    if made.returncode:
        return harness.skip("a server over https", made.stderr)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "certificate", folder / "key")
    server = Server(tls)
    url = f"https://localhost:{server.server_port}/mcp"
    with Gate(url, policy, SSL_CERT_FILE=folder / "certificate") as gate:
        status, body, _ = gate.send(call("asia"))
        check("a server over https answers", status == 200 and "result" in body, (status, body))
    before = len(server.seen)
    with Gate(url, policy) as gate:
        status, body, _ = gate.send(call("asia"))
        check("one that nobody vouches for is sent nothing", status == 502 and len(server.seen) == before, (status, body))


def run():
    server = Server()
    policy = harness.policy_file(POLICY)
    with Gate(f"http://127.0.0.1:{server.server_port}/mcp", policy) as gate:
        if not check("the gate is ready", gate.ready, gate.child):
            return
        judged(server, gate)
        refused(server, gate)
        effects = [one["result"]["effect"] for one in entries(gate) if one.get("layer") == "mcp" and one["kind"] == "decision"]
        check("each call is in the ledger", effects == ["allow", "deny", "compute", "allow", "allow"], effects)
        tasks(gate)
        check("SIGTERM ends it in order", gate.end() == 0, gate.error)
    with Gate("http://127.0.0.1:9/mcp", policy) as gate:
        status, body, _ = gate.send(call("asia"))
        check("a server that is not there is an error", status == 502 and "server" in body["error"]["message"], (status, body))
    over_tls(policy)
