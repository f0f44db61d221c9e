"""The decision API: the requests of the certification scenario of the AuthZEN Authorization API 1.0 (its levels Basic, Batch and
Discovery), and what it says of this project's own effects, who may ask, and what is refused."""

import http.client
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading

import harness
from harness import check
from native import PYTHON

POLICY = pathlib.Path(__file__).resolve().parents[1] / "authzen"
ALICE, BOB = {"type": "user", "id": "alice"}, {"type": "user", "id": "bob"}
ADMIN = {**BOB, "properties": {"role": "admin"}}
RECORD, SECOND = {"type": "record", "id": "record-1"}, {"type": "record", "id": "record-2"}
ARCHIVED = {**SECOND, "properties": {"status": "archived"}}
JSON = {"Content-Type": "application/json"}


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self.path)


class Daemon:
    """`authz daemon` with what it says when it is ready."""

    def __init__(self, *options, policy=POLICY):
        self.state = tempfile.mkdtemp(prefix="authzen-")
        self.child = subprocess.Popen(
            [harness.AUTHZ, "daemon", "--policy", str(policy), "--state", self.state, "--instance", pathlib.Path(self.state).name,
             *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.child.stdout.readline()
        self.ready = json.loads(line) if line else None

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.end()
        shutil.rmtree(self.state)

    def end(self):
        if self.child.poll() is None:
            self.child.terminate()
        self.error = self.child.communicate(timeout=30)[1]
        return self.child.returncode

    def http(self):
        if "http" in self.ready:
            return http.client.HTTPConnection(self.ready["http"], timeout=30)
        return Unix(self.ready["authzen"])

    def entries(self):
        listed = harness.finish([harness.AUTHZ, "ledger", "--state", self.state, "list", "--json", "--limit", "0"], 60, None, None)
        return [json.loads(line) for line in listed.stdout.splitlines()]


def send(connection, path, body, headers=JSON, method="POST"):
    """Status, body and headers."""
    text = body if isinstance(body, (str, bytes, type(None))) else json.dumps(body)
    connection.request(method, path, text, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    of_json = answer.getheader("Content-Type") == "application/json"
    return answer.status, json.loads(text) if of_json else text, answer.headers


def question(subject, action, resource, **more):
    action = {"name": action} if isinstance(action, str) else action
    return {"subject": subject, "action": action, "resource": resource, **more}


DECISIONS = [
    (ALICE, "read", RECORD, True),
    (ALICE, "write", RECORD, True),
    (BOB, "read", RECORD, True),
    (BOB, "write", RECORD, False),
    (ALICE, "write", ARCHIVED, False),
    (ADMIN, "write", ARCHIVED, True),
    (ALICE, {"name": "delete", "properties": {"soft": True}}, RECORD, True),
    (ALICE, {"name": "delete", "properties": {"soft": False}}, RECORD, False),
]


def basic(daemon):
    connection = daemon.http()

    def ask(body, headers=JSON):
        return send(connection, "/access/v1/evaluation", body, headers)

    for number, (subject, action, resource, expected) in enumerate(DECISIONS, 1):
        status, answer, _ = ask(question(subject, action, resource))
        check(f"decision {number} of the scenario is {expected}", (status, answer.get("decision")) == (200, expected), answer)
    whole = question(ALICE, "read", RECORD)
    for name, more in [("context", {"context": {"time": "2025-06-27T18:03-07:00", "ip": "192.168.1.1"}}),
                       ("unknown fields", {"foo": "bar", "futureField": {"nested": True}}),
                       ("more properties", {"subject": {**ALICE, "properties": {"department": "Sales", "role": "manager"}},
                                            "resource": {**RECORD, "properties": {"status": "active", "owner": "bob"}}})]:
        status, answer, _ = ask({**whole, **more})
        check(f"{name} does not change the decision", (status, answer.get("decision")) == (200, True), answer)
    broken = {
        "no subject": {**whole, "subject": None}, "no action": {**whole, "action": None}, "no resource": {**whole, "resource": None},
        "subject without type": {**whole, "subject": {"id": "alice"}}, "subject without id": {**whole, "subject": {"type": "user"}},
        "action without name": {**whole, "action": {}}, "resource without type": {**whole, "resource": {"id": "record-1"}},
        "resource without id": {**whole, "resource": {"type": "record"}}, "a subject that is a string": {**whole, "subject": "alice"},
        "an action's name that is a number": {**whole, "action": {"name": 123}}, "broken JSON": "{", "nothing": "",
        "deep JSON": "[" * 100_000, "a file's name that leads elsewhere": question(ALICE, "file.write", {"type": "file", "id": "/a/../b"}),
        "an action that authz might have": question(ALICE, "file.wirte", {"type": "file", "id": "/b"}),
        "a session that is none": {**whole, "context": {"session": "mine"}},
    }
    for name, body in broken.items():
        if isinstance(body, dict):
            body = {key: value for key, value in body.items() if value is not None}
        status, line, _ = ask(body)
        check(f"{name} is a bad request", status == 400 and line.count("\n") == 1, (status, line))
    check("another content type is a bad request", ask(whole, {"Content-Type": "text/plain"})[0] == 400)
    headers = ask(whole, {**JSON, "X-Request-ID": "bfe9eb29"})[2]
    check("the request's id is in the response", headers.get("X-Request-ID") == "bfe9eb29", headers)
    check("an answer is JSON", headers.get("Content-Type") == "application/json", headers)
    check("the same question has the same answer", {ask(whole)[1]["decision"] for _ in range(5)} == {True})
    check("another path is not found", send(connection, "/access/v1/search/subject", whole)[0] == 404)
    check("another method is refused", send(connection, "/access/v1/evaluation", None, {}, "GET")[0] == 405)


def batch(daemon):
    connection = daemon.http()

    def ask(body):
        status, answer, _ = send(connection, "/access/v1/evaluations", body)
        return status, answer if status != 200 or "evaluations" not in answer else [one["decision"] for one in answer["evaluations"]]

    read, write, both = {"name": "read"}, {"name": "write"}, [{"resource": RECORD}, {"resource": SECOND}]
    active = {**RECORD, "properties": {"status": "active"}}
    cases = {
        "a default subject and action": ({"subject": ALICE, "action": read, "evaluations": both}, [True, True]),
        "the order": ({"subject": BOB, "resource": RECORD, "evaluations": [{"action": read}, {"action": write}]}, [True, False]),
        "properties of resources": ({"subject": ALICE, "action": write, "evaluations": [{"resource": active}, {"resource": ARCHIVED}]},
                                    [True, False]),
        "properties of subjects": ({"action": write, "resource": ARCHIVED, "evaluations": [{"subject": ALICE}, {"subject": ADMIN}]},
                                   [False, True]),
        "no defaults": ({"evaluations": [question(ALICE, "read", RECORD), question(BOB, "write", RECORD)]}, [True, False]),
        "a context of one's own": ({"subject": ALICE, "action": read, "context": {"time": "day"},
                                    "evaluations": [{"resource": RECORD}, {"resource": RECORD, "context": {"time": "night"}}]},
                                   [True, False]),
        "a default type": ({"subject": ALICE, "action": write, "resource": {"type": "record"},
                            "evaluations": [{"resource": {"id": "record-1", "properties": {"status": "active"}}}, {"resource": ARCHIVED}]},
                           [True, False]),
        "one that is no question": ({"subject": ALICE, "action": read, "evaluations": [{"resource": RECORD}, {}]}, [True, False]),
        "execute_all": (series("execute_all"), [True, False, True]),
        "deny_on_first_deny": (series("deny_on_first_deny"), [True, False]),
        "permit_on_first_permit": (series("permit_on_first_permit"), [True]),
    }
    for name, (body, expected) in cases.items():
        answered = ask(body)
        check(f"evaluations: {name}", answered == (200, expected), answered)
    for name, more in [("without evaluations", {}), ("with none", {"evaluations": []})]:
        status, answer = ask({**question(ALICE, "read", RECORD), **more})
        check(f"evaluations {name} are one", (status, answer.get("decision")) == (200, True), answer)
    check("evaluations that are no array are a bad request", ask({"evaluations": {}})[0] == 400)
    check("other semantics are a bad request", ask(series("maybe"))[0] == 400)
    check("too many evaluations are a bad request", ask({"evaluations": [{}] * 1001})[0] == 400)


def series(semantic):
    return {"subject": BOB, "resource": RECORD, "options": {"evaluations_semantic": semantic},
            "evaluations": [{"action": {"name": name}} for name in ("read", "write", "read")]}


def effects(daemon):
    connection = daemon.http()

    def ask(action, **context):
        more = {"context": context} if context else {}
        return send(connection, "/access/v1/evaluation", question(ALICE, action, RECORD, **more))[1]

    denied = send(connection, "/access/v1/evaluation", question(ALICE, "write", ARCHIVED))[1]
    check("a denial gives its reasons", denied["context"]["reason_user"]["en"] == "Archived records do not change. Ask an administrator."
          and denied["context"]["rules"][0]["id"] == "records-archived", denied)
    check("a rewrite that is not understood is a denial", ask("copy")["decision"] is False)
    computed = ask("copy", understands=["rewrite"])
    check("a rewrite that is understood is an obligation", computed["decision"] is True
          and computed["context"]["obligations"] == [{"type": "rewrite", "value": {"id": "record-1-copy"}}], computed)
    check("an action that the policy does not list is denied", ask("shred")["decision"] is False)
    check("uses are counted", [ask("export")["decision"] for _ in range(3)] == [True, True, False])
    check("the name of an operation is decided as that operation",
          send(connection, "/access/v1/evaluation", question(ALICE, "file.read", {"type": "file", "id": "/x"}))[1]["decision"] is False)
    large = json.dumps({**question(ALICE, "read", RECORD), "x": "y" * (1 << 20)})
    try:
        status = send(daemon.http(), "/access/v1/evaluation", large)[0]
    except BrokenPipeError:
        status = 413  # It did not wait for the rest.
    check("a body of more than a megabyte is refused", status == 413, status)
    return denied["context"]["id"]


def asked(daemon):
    """A human answers, by the id that the gate was told; the answer is for that question only."""
    def ask(resource=RECORD, subject=ALICE):
        return send(daemon.http(), "/access/v1/evaluation", question(subject, "publish", resource))[1]

    first = ask()
    request = first["context"].get("access_request", {})
    check("what a human has to answer is not allowed", first["decision"] is False and request.get("status") == "pending", first)
    check("the same question waits once", ask()["context"]["access_request"]["id"] == request["id"])
    shown = json.loads(harness.authz("pending", "--json").stdout or "[]")
    shown = [one for one in shown if one["id"] == request["id"]] if isinstance(shown, list) else shown
    check("it is shown", json.dumps(shown).count(request["id"]) == 1 and "user/alice" in json.dumps(shown), shown)
    done = harness.authz("approve", request["id"])
    check("it is approved", done.returncode == 0, done)
    check("another question is not", ask(SECOND)["decision"] is False and ask(subject=BOB)["decision"] is False)
    check("other properties are another question", ask({**RECORD, "properties": {"to": "all"}})["decision"] is False)
    check("it is allowed, once", [ask()["decision"] for _ in range(2)] == [True, False])
    last = ask()["context"]["access_request"]["id"]
    done = harness.authz("deny", last)
    check("it is denied", done.returncode == 0 and ask()["context"]["access_request"]["id"] != last, done)


def together(daemon):
    """Several gates at once, each with its own answers."""
    wrong = []

    def gate():
        connection = daemon.http()
        for subject, action, resource, expected in DECISIONS * 5:
            if send(connection, "/access/v1/evaluation", question(subject, action, resource))[1]["decision"] != expected:
                wrong.append(action)

    gates = [threading.Thread(target=gate) for _ in range(8)]
    [one.start() for one in gates]
    [one.join() for one in gates]
    check("eight gates at once get their own answers", not wrong, wrong)


def over_loopback(folder):
    token = folder / "token"
    token.write_text("0123456789abcdef" * 4 + "\n")
    token.chmod(0o600)
    secret = {**JSON, "Authorization": "Bearer " + "0123456789abcdef" * 4}
    whole = question(ALICE, "read", RECORD)
    with Daemon("--http", "127.0.0.1:0", "--http-token", str(token)) as daemon:
        def ask(**headers):
            return send(daemon.http(), "/access/v1/evaluation", whole, {**secret, **headers})[0]

        check("the token opens", ask() == 200)
        check("no token does not", send(daemon.http(), "/access/v1/evaluation", whole, JSON)[0] == 401)
        check("another token does not", ask(Authorization="Bearer " + "0" * 64) == 401)
        check("another Host is refused", ask(Host="evil.example") == 403)
        check("a web page is refused", ask(Origin="http://localhost") == 403)
        at = f"http://{daemon.ready['http']}"
        status, found, _ = send(daemon.http(), "/.well-known/authzen-configuration", None, {}, "GET")
        check("the configuration says where to ask", status == 200 and found == {
            "policy_decision_point": at, "access_evaluation_endpoint": f"{at}/access/v1/evaluation",
            "access_evaluations_endpoint": f"{at}/access/v1/evaluations"}, found)
    for name, options, change in [("an address that is not loopback", ["--http", "0.0.0.0:0"], 0o600),
                                  ("a token that others can read", ["--http", "127.0.0.1:0"], 0o644)]:
        token.chmod(change)
        with Daemon(*options, "--http-token", str(token)) as daemon:
            status = daemon.end()
            check(f"{name} is refused", status == 1 and daemon.error.count("\n") == 1, daemon.error)


def as_another_user(daemon):
    """Whose the daemon is not."""
    if os.getuid():
        return harness.skip("another user may not ask", "takes root")
    code = ("import http.client, socket, sys\n"
            "c = http.client.HTTPConnection('localhost'); c.sock = socket.socket(socket.AF_UNIX); c.sock.connect(sys.argv[1])\n"
            "c.request('POST', '/access/v1/evaluation', sys.argv[2], {'Content-Type': 'application/json'})\n"
            "r = c.getresponse(); print(r.status, r.read().decode())\n")
    asked = harness.finish(["setpriv", "--reuid=65534", "--clear-groups", "python3", "-c", code, daemon.ready["authzen"],
                            json.dumps(question(ALICE, "read", RECORD))], 30, None, "/")
    check("another user may not ask", asked.stdout.startswith("403 "), asked)


LIVE = """
deny contains {{"id": "no-prod", "reason": "Not there."}} if {{
	writes
	under(input.resource.id, "{top}/prod")
}}

allow contains {{"id": "rest"}} if {{
	input.context.layer != "api"
	not startswith(input.action.name, "system.")
}}
"""
# Tries to ask from inside, and to write; says so, and stays until its input ends.
INSIDE = """
import http.client, json, os, socket, sys

said = {"socket": os.path.join(os.path.dirname(os.environ["AUTHZ_SOCKET"]), "authzen.sock")}
try:
    socket.socket(socket.AF_UNIX).connect(said["socket"])
    said["unix"] = "connected"
except OSError as error:
    said["unix"] = error.strerror
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=30)
connection.request("POST", "/access/v1/evaluation", sys.argv[3], {"Content-Type": "application/json"})
said["http"] = connection.getresponse().status
try:
    open(sys.argv[2] + "/prod/x", "w")
    said["write"] = "done"
except OSError as error:
    said["write"] = error.strerror
print(json.dumps(said), flush=True)
sys.stdin.read()
"""


class Live:
    """`authz exec --http` with a session that stays until the end of the block; its socket is where gates ask."""

    def __init__(self, top, backend):
        self.state, token = tempfile.mkdtemp(prefix="authzen-"), top / "token"
        token.write_text("0123456789abcdef" * 4 + "\n")
        token.chmod(0o600)
        self.secret = {**JSON, "Authorization": "Bearer " + "0123456789abcdef" * 4}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.child = harness.authz_start(
            [str(POLICY), LIVE.format(top=top)],
            [PYTHON, "-c", INSIDE, str(self.port), str(top), json.dumps(question(ALICE, "read", RECORD))],
            backend=backend, quiet=True, state=self.state, http=f"127.0.0.1:{self.port}", http_token=str(token))

    def __enter__(self):
        line = self.child.stdout.readline()
        self.said = json.loads(line) if line else {}
        return self

    def __exit__(self, *failure):
        self.error = self.child.communicate(timeout=60)[1]

    def http(self):
        return Unix(self.said["socket"])

    def loopback(self, headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        return send(connection, "/access/v1/evaluation", question(BOB, "write", RECORD), headers)

    entries = Daemon.entries


def live(backend):
    """Gates ask a live session's policy, on its socket and on loopback; a process of the session does not, whatever the policy
    allows."""
    with tempfile.TemporaryDirectory(prefix="authzen-live-") as folder:
        top = pathlib.Path(folder)
        (top / "prod").mkdir()
        with Live(top, backend) as session:
            if not check(f"{backend}: the session is live", session.said, session.child):
                return
            check(f"{backend}: a process of a session may not ask, nor on loopback without the token",
                  (session.said["unix"], session.said["http"]) == ("Permission denied", 401), session.said)
            basic(session)
            status, answer, _ = session.loopback(session.secret)
            check(f"{backend}: with the token loopback answers the same", (status, answer["decision"]) == (200, False), answer)
            check(f"{backend}: without it does not", session.loopback(JSON)[0] == 401)
            resource = {"type": "file", "id": f"{top}/prod/x"}
            status, asked, _ = send(session.http(), "/access/v1/evaluation", question(ALICE, "file.write", resource))
            check(f"{backend}: the gate's question and the session's own write are decided by one rule", not asked["decision"]
                  and asked["context"]["rules"][0]["id"] == "no-prod" and session.said["write"] == "Permission denied",
                  (asked, session.said))
        check(f"{backend}: the session ends in order", session.child.returncode == 0, session.error)
        mine = [entry for entry in session.entries() if (entry.get("resource") or {}).get("id") == resource["id"]
                and entry["kind"] == "decision"]
        layers = {entry["layer"] for entry in mine}
        check(f"{backend}: both are in one ledger, of one session", "api" in layers and layers & {"kernel", "seccomp"}
              and len({entry["session"] for entry in mine}) == 1, mine)
        shutil.rmtree(session.state)


def run():
    live("seccomp")
    with Daemon() as daemon:
        if not check("the daemon is ready", daemon.ready, daemon.child):
            return
        basic(daemon)
        batch(daemon)
        denied = effects(daemon)
        asked(daemon)
        together(daemon)
        as_another_user(daemon)
        check("SIGTERM ends it in order", daemon.end() == 0, daemon.error)
        check("its sockets are gone", not pathlib.Path(daemon.ready["authzen"]).parent.exists())
        entries = daemon.entries()
        entry = next((one for one in entries if one["decision_id"] == denied), {})
        check("a decision is in the ledger under its id", (entry.get("layer"), entry.get("action"), entry["result"]["effect"])
              == ("api", "write", "deny") and entry["input"]["resource"]["properties"] == {"status": "archived"}, entry)
        kinds = [one["kind"] for one in entries]
        check("the ledger has the session's start and end", (kinds[0], kinds[-1]) == ("session_start", "session_end"), kinds[:3])
    over_loopback(pathlib.Path(tempfile.mkdtemp(prefix="authzen-token-")))
