"""The Python SDK's client and npm's server-everything with `authz mcp --listen` between them: the same as without it, but for what
the policy denies. Not among all, since it fetches both."""

import json
import os
import pathlib
import socket
import subprocess
import time

import harness
from harness import check
from test_http import Gate

HERE = pathlib.Path(__file__).resolve().parent
TOOLS = HERE.parents[1] / "target" / "http-tools"
POLICY = """
allow contains {"id": "all", "reason": "everything"} if true

deny contains {"id": "no-secrets", "reason": "Secrets are not echoed.", "advice": "Leave it."} if {
    input.resource.id == "small/echo"
    input.resource.properties.arguments.message == "secret"
}
"""


def fetched():
    """The interpreter with the SDK, and the server's program."""
    python, server = TOOLS / "venv/bin/python", TOOLS / "node_modules/.bin/mcp-server-everything"
    if not server.exists():
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(TOOLS),
                        "@modelcontextprotocol/server-everything"], check=True, timeout=300)
    if not python.exists():
        subprocess.run(["python3", "-m", "venv", str(TOOLS / "venv")], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "mcp"], check=True, timeout=300)
    return str(python), str(server)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def seen(python, url):
    client = harness.finish([python, str(HERE / "http_client.py"), url], 60, None, None)
    try:
        return json.loads(client.stdout)
    except ValueError:
        return {"error": client.stderr[-2000:]}


def run():
    python, server = fetched()
    port = free_port()
    child = subprocess.Popen([server, "streamableHttp"], env={**os.environ, "PORT": str(port)},
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        url = f"http://127.0.0.1:{port}/mcp"
        bare = seen(python, url)
        check("the client and the server get on without the gate", "echo" in bare.get("tools", []), bare)
        with Gate(url, harness.policy_file(POLICY)) as gate:
            bound = seen(python, gate.ready["listening"])
        denied = bound.pop('echo {"message": "secret"}', None)
        bare.pop('echo {"message": "secret"}', None)
        check("through the gate it is the same", bound == bare, (bound, bare))
        check("but for what is denied", denied and denied[0] is True and "Secrets are not echoed." in denied[1][0], denied)
    finally:
        child.terminate()
        child.wait(10)
