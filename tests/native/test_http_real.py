"""The SDKs' clients and real servers with `authz mcp --listen` between them, of both generations of the protocol: the same as without
it, but for what the policy denies or has a human asked about. Not among all, since it fetches them."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

import harness
from harness import check
from test_http import Gate

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "mcp"))

import real  # noqa: E402
from real import CACHE, INTERPRETER, MODULES  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
MODERN = "2026-07-28"
SECRET, ASKED = 'echo {"message": "secret"}', 'echo {"message": "ask"}'
POLICY = """
allow contains {"id": "all", "reason": "everything"} if true

deny contains {"id": "no-secrets", "reason": "Secrets are not echoed.", "advice": "Leave it."} if {
    input.resource.id == "small/echo"
    input.resource.properties.arguments.message == "secret"
}

escalate contains {"id": "ask-first", "reason": "A human is asked."} if {
    input.resource.id == "small/echo"
    input.resource.properties.arguments.message == "ask"
}
"""


class Human(threading.Thread):
    """Approves what waits, and keeps what it was shown."""

    def __init__(self, effect="approve"):
        super().__init__(daemon=True)
        self.effect, self.shown, self.over = effect, [], threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *failure):
        self.over.set()
        self.join()

    def run(self):
        while not self.over.wait(0.2):
            for view in json.loads(harness.authz("pending", "--json").stdout or "[]"):
                if view["resource"] == "small/echo" and not harness.authz(self.effect, view["id"]).returncode:
                    self.shown.append(view)


class Server:
    """A server with its port in the environment or as its argument, until the end of the block."""

    def __init__(self, *argv):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self.child = subprocess.Popen([word.replace("PORT", str(self.port)) for word in argv], stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL, env={**os.environ, "PORT": str(self.port)})

    def __enter__(self):
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    break
            time.sleep(0.1)
        return self

    def __exit__(self, *failure):
        self.child.terminate()
        self.child.wait(10)


def seen(client, url, version):
    done = harness.finish([*client, url, version], 120, None, None)
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {"error": done.stderr[-2000:]}


def compared(name, client, server, version):
    """What a client sees with the gate and without, and what a human was asked meanwhile."""
    bare = seen(client, server.url, version)
    check(f"{name}: client and server get on without the gate", "echo" in bare.get("tools", []), bare)
    with Gate(server.url, harness.policy_file(POLICY)) as gate, Human() as human:
        bound = seen(client, gate.ready["listening"], version)
    denied, asked = bound.pop(SECRET, None), bound.pop("asked", None)
    bare.pop(SECRET, None)
    check(f"{name}: through the gate it is the same", bound == bare, (bound, bare))
    check(f"{name}: but for what is denied", denied and denied[0] is True and "Secrets are not echoed." in denied[1][0], denied)
    check(f"{name}: the client shows what a human outside is asked, and the call goes on once that one approves",
          len(human.shown) == 1 and "A human is asked." in (asked or "") and bound.get(ASKED) == [False, ["Echo: ask"]],
          (human.shown, asked, bound.get(ASKED)))
    return bound


def run():
    real.fetch()
    script = CACHE / "node/http_client.mjs"
    script.write_bytes((HERE / "http_client.mjs").read_bytes())
    clients = {"python": [str(INTERPRETER), str(HERE / "http_client.py")], "typescript": ["node", str(script)]}
    with Server("node", str(MODULES / "server-everything/dist/index.js"), "streamableHttp") as server:
        compared("server-everything", clients["python"], server, "legacy")
    with Server(str(INTERPRETER), str(HERE / "http_server.py"), "PORT") as server:
        for name, client in clients.items():
            bound = compared(f"{MODERN} by {name}", client, server, MODERN)
            check(f"{MODERN} by {name}: it is that version", bound.get("protocol") == MODERN, bound)
