"""OTLP: what a collector gets of a session, what it does not get, and that nobody waits for it."""

import base64
import http.server
import json
import pathlib
import socket
import subprocess
import threading
import time

import harness
from harness import check, skip
from native import ACTS, BARE, HERE, PYTHON, Place, identities

# With OpenTelemetry's definitions; `cargo xtask setup` makes it.
DECODER = HERE.parents[1] / "target/venv/bin/python"
SECRET = "hunter2-7f3a"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

POLICY = """
deny contains {{"id": "no-prod", "reason": "Not there.", "advice": "Go elsewhere."}} if {{
	writes
	under(input.resource.id, "{top}/prod")
}}

deny contains {{"id": "no-tool", "reason": "Never."}} if input.resource.id == "filesystem/destroy"

allow contains {{"id": "rest", "reason": "everything else"}} if not startswith(input.action.name, "system.")
"""

# An agent with three calls: one under a trace of its own, with a secret and something denied beneath, one denied, one under
# the session. It tries to lead the records elsewhere.
AGENT = ACTS + """
import json, os, socket, sys

top, elsewhere, trace, secret = sys.argv[1:]
os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = elsewhere

def call(name, call_id, layer, **more):
    return ask(op="open_call", layer=layer, server="filesystem", name=name, call_id=call_id, **more)

first = call("write_file", "toolu_7", "mcp", traceparent=trace,
             arguments={"path": f"{top}/work/said", "api_key": secret, "nested": {"password": secret}})
write("work/said")
write("prod/x")
ask(op="close_call", call="toolu_7", outcome="ok")
second = call("destroy", "toolu_8", "mcp", arguments={})
third = call("Bash", "toolu_9", "hook", arguments={"command": f"curl --token {secret}"})
ask(op="close_call", call="toolu_9", outcome="error")
print(json.dumps([first, second, third]))
"""


class Collector:
    """Takes what is sent to it; `status` is its answer."""

    def __init__(self, status=200):
        self.taken, self.headers = [], []
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if status == 200:
                    collector.taken.append({"path": self.path, "body": base64.b64encode(body).decode()})
                    collector.headers.append(dict(self.headers))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.server.shutdown()
        self.server.server_close()

    def things(self, path):
        """What it was sent, decoded. What was on its way when the session ended may come twice, and counts once."""
        lines = "".join(json.dumps(taken) + "\n" for taken in self.taken)
        done = subprocess.run([str(DECODER), str(HERE / "otlp_decode.py")], input=lines, capture_output=True, text=True, check=True)
        return [thing for thing in map(json.loads, dict.fromkeys(done.stdout.splitlines())) if thing["path"] == path]

    def raw(self):
        return b"".join(base64.b64decode(taken["body"]) for taken in self.taken)


def session(place, identity, top, options, env=None):
    """The agent's run, what it was told, and the ledger's entries."""
    state = place.fresh("state")
    state.chmod(0o777)
    ledger = pathlib.Path(state) / "own"
    authz = str(place.tools / "authz")
    rules = place.policy(POLICY.format(top=top))
    argv = [PYTHON, "-c", AGENT, str(top), "http://127.0.0.1:1", f"00-{TRACE}-{SPAN}-01", SECRET]
    start = time.monotonic()
    done = harness.finish(identity.bound(argv, str(rules), "--state", str(ledger), *options, authz=authz), 120,
                          {"HOME": place.home, **(env or {})}, str(top))
    took = time.monotonic() - start
    try:
        told = json.loads(done.stdout)
    except ValueError:
        told = None
    listed = harness.finish([*identity.before, authz, "ledger", "list", "--json", "--limit", "0", "--state", str(ledger)], 60, None, "/")
    return done, told, [json.loads(line) for line in listed.stdout.splitlines()], ledger, took


def folder(place):
    top = place.fresh("otlp")
    for name in ("work", "prod"):
        (top / name).mkdir()
        (top / name).chmod(0o777)
    top.chmod(0o777)
    return top


def exported(place, identity):
    named = lambda what: f"otlp, {identity.name}, {what}"
    top = folder(place)
    with Collector() as collector, Collector() as other:
        done, told, entries, ledger, _ = session(
            place, identity, top, [f"--otlp={collector.url}/base/"],
            {"OTEL_EXPORTER_OTLP_ENDPOINT": other.url, "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20x"})
        if not check(named("the agent gets to its end"), told and len(told) == 3, done):
            return
        check(named("only the address of the flag is used"), collector.taken and not other.taken
              and {taken["path"] for taken in collector.taken} == {"/base/v1/logs", "/base/v1/traces"}, collector.taken)
        check(named("headers come from the environment"), all(one.get("authorization") == "Bearer x" for one in collector.headers),
              collector.headers)
        for taken in collector.taken:
            taken["path"] = taken["path"].removeprefix("/base")
        logs, spans = collector.things("/v1/logs"), collector.things("/v1/traces")

        checkpoints = [log for log in logs if log["eventName"] == "authz.checkpoint"]
        records = {log["attributes"]["authz.seq"]: log for log in logs if log not in checkpoints}
        check(named("each entry of the ledger is a log record"), sorted(records) == [entry["seq"] for entry in entries]
              and len(records) > 10, (sorted(records), len(entries)))
        same = lambda entry, log: (entry.get("trace_id", ""), entry.get("span_id", ""), "authz." + entry["kind"],
                                   entry.get("result", {}).get("effect"), entry.get("resource", {}).get("id")) == (
            log["traceId"], log["spanId"], log["eventName"], log["attributes"].get("authz.result.effect"),
            log["attributes"].get("authz.resource.id"))
        wrong = [(entry, records[entry["seq"]]) for entry in entries if not same(entry, records[entry["seq"]])]
        check(named("under the ledger's ids and words"), not wrong, wrong[:1])
        [denied, *_] = [log for log in records.values() if log["attributes"].get("file.path") == f"{top}/prod/x"
                        and log["eventName"] == "authz.decision" and log["attributes"].get("process.pid")] or [None]
        check(named("a denied system call is under its tool call's span"), denied and denied["traceId"] == TRACE
              and denied["spanId"] == told[0]["span_id"] and denied["severityNumber"] == "SEVERITY_NUMBER_WARN"
              and denied["attributes"]["authz.result.effect"] == "deny"
              and denied["attributes"]["authz.result.rules"][0]["id"] == "no-prod" and "[no-prod]" in denied["body"], denied)
        check(named("the secret does not leave"), SECRET.encode() not in collector.raw() and "toolu_7" in str(logs))

        last = checkpoints[-1]["body"] if checkpoints else ""
        path = place.tools / "checkpoint"
        path.write_text(last)
        verified = harness.finish([*identity.before, str(place.tools / "authz"), "ledger", "verify", "--against", str(path),
                                   "--state", str(ledger)], 60, None, "/")
        check(named("the last signed checkpoint is there and holds"), last.split("\n")[1:2] == [str(len(entries))]
              and verified.returncode == 0, (last, verified))

        by_name = {span["name"]: span for span in spans}
        check(named("sessions and tool calls are spans"), sorted(by_name) == [
            "authz session python3.11" if "python3.11" in PYTHON else f"authz session {pathlib.Path(PYTHON).name}",
            "execute_tool Bash", "tools/call destroy", "tools/call write_file"] and len(spans) == 4, spans)
        first, second, third = (by_name.get(name, {}) for name in ("tools/call write_file", "tools/call destroy", "execute_tool Bash"))
        [root] = [span for span in spans if span["name"].startswith("authz session")]
        check(named("a call is in its caller's trace, linked to the session"),
              (first["traceId"], first["spanId"], first["parentSpanId"]) == (TRACE, told[0]["span_id"], SPAN)
              and first["links"][0]["spanId"] == root["spanId"] and first["kind"] == "SPAN_KIND_SERVER", first)
        check(named("or under the session"), third["parentSpanId"] == root["spanId"] and third["traceId"] == root["traceId"]
              and not root["parentSpanId"], (third, root))
        names = {name: first["attributes"].get(name) for name in ("mcp.method.name", "gen_ai.tool.name", "gen_ai.tool.call.id",
                                                                   "gen_ai.operation.name", "authz.tool.server", "authz.outcome")}
        check(named("with the conventions' names"), list(names.values()) == [
            "tools/call", "write_file", "toolu_7", "execute_tool", "filesystem", "ok"], names)
        check(named("a denied call is an error, with its rule"), second["status"]["code"] == "STATUS_CODE_ERROR"
              and "[no-tool]" in second["status"]["message"] and second["attributes"]["authz.effect"] == "deny", second)
        check(named("so is one whose tool failed"), third["status"]["code"] == "STATUS_CODE_ERROR"
              and third["attributes"]["authz.outcome"] == "error", third)
        check(named("spans last"), all(int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"]) for span in spans)
              and int(first["startTimeUnixNano"]) < int(first["endTimeUnixNano"]), spans)
        check(named("all say who sends"), all(thing["resource"]["service.name"] == "authz" and thing["scope"] == "authz"
                                              for thing in logs + spans))


def unreachable(place, identity):
    """Nobody there, an answer of 503, or nothing at all: the session is as without."""
    top = folder(place)
    silent = socket.create_server(("127.0.0.1", 0))
    with Collector(503) as busy, Collector(400) as refuses:
        for name, url in (("no collector", "http://127.0.0.1:1"), ("a busy one", busy.url), ("one that refuses", refuses.url),
                          ("a silent one", f"http://127.0.0.1:{silent.getsockname()[1]}")):
            done, told, entries, _, took = session(place, identity, top, [f"--otlp={url}"])
            kinds = [entry["kind"] for entry in entries]
            check(f"otlp, {name}: decisions go on, and the ledger has no gap", told and len(told) == 3 and done.returncode == 0
                  and "gap" not in kinds and kinds[-1] == "session_end" and "otlp" in entries[-1]["detail"], (done, kinds))
            check(f"otlp, {name}: it is said how many records are lost", f"records did not reach the collector {url}" in done.stderr
                  and took < 30, (done.stderr, took))
    silent.close()


def off(place, identity):
    top = folder(place)
    with Collector() as collector:
        variable = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        done, told, entries, _, _ = session(place, identity, top, [], variable)
        check("otlp: the variable alone exports nothing", told and not collector.taken and "otlp" not in entries[-1]["detail"], done)
        done, told, *_ = session(place, identity, top, ["--otlp"], variable)
        check("otlp: the flag without an address takes the variable's, whatever the agent makes of it", told and collector.taken, done)
    done, *_ = session(place, identity, top, ["--otlp"], {"OTEL_EXPORTER_OTLP_ENDPOINT": ""})
    check("otlp: no address is an error", done.returncode == 125 and "authz: " in done.stderr, done)
    done, *_ = session(place, identity, top, ["--otlp=localhost:4317"])
    check("otlp: so is what is none", done.returncode == 125 and "not the address" in done.stderr, done)


def run():
    if BARE or not DECODER.exists():
        skip("otlp", "it needs authz, and target/venv, which cargo xtask setup makes")
        return
    with Place() as place:
        for identity in identities()[:2]:
            exported(place, identity)
        unreachable(place, identities()[0])
        off(place, identities()[0])
