"""The scenarios of @modelcontextprotocol/conformance, with `authz mcp --listen` in between and without: each check comes out
the same. And the Inspector's CLI through the gate on standard input and output. Fetches from npm, so by name only."""

import collections
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import harness
from harness import check, skip
from native import BARE
from test_http import Gate

HERE = pathlib.Path(__file__).resolve().parent
MCP = HERE.parent / "mcp"
CACHE = HERE.parents[1] / "target/conformance"
# It needs Node 22.
PACKAGES = ["@modelcontextprotocol/conformance@0.1.16", "@modelcontextprotocol/sdk@1.32.2", "node@22.23.3",
            "@modelcontextprotocol/inspector@2.12.0"]
NODE = CACHE / "node_modules/.bin/node"
SUITE = CACHE / "node_modules/@modelcontextprotocol/conformance/dist/index.js"
# Those for clients that are not about how a client logs in, which is between it and the server's own address.
OF_CLIENTS = ["initialize", "tools_call", "elicitation-sep1034-client-defaults", "sse-retry"]
ALLOW = 'allow contains {"id": "all"} if true'
DENY = """
deny contains {"id": "no-shell", "reason": "No shells here.", "advice": "Use write_file."} if input.resource.id == "small/shell"

allow contains {"id": "rest"} if not startswith(input.action.name, "system.")
"""


def installed():
    CACHE.mkdir(parents=True, exist_ok=True)
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(CACHE), *PACKAGES], check=True)
    for name in ("conformance_server.mjs", "conformance_client.mjs"):
        shutil.copy(MCP / name, CACHE / name)


def suite(results, *words, env=None):
    """Runs scenarios; each one's checks and how they came out, but for what only informs."""
    argv = [str(NODE), str(SUITE), *words, "--output-dir", str(results)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False, env=harness.environment(env))
    found = collections.defaultdict(list)
    for file in results.rglob("checks.json"):
        # server-NAME-2026-11-21T21-49-17-526Z
        name = re.sub(r"-\d{4}-\d\d-\d\dT.*", "", file.parent.name)
        found[name] += sorted((one["id"], one["status"]) for one in json.loads(file.read_text()) if one["status"] != "INFO")
    return dict(found), done


def same(what, bare, gated, least):
    """`least`: how many checks have to succeed, so that nothing passes by being skipped."""
    (before, ran), (after, through) = bare, gated
    statuses = [status for checks in before.values() for _, status in checks]
    check(f"{what}: without the gate nothing fails", "FAILURE" not in statuses and statuses.count("SUCCESS") >= least,
          (before, ran.stdout[-2000:], ran.stderr[-2000:]))
    print(f"# {what}: {len(before)} scenarios, {statuses.count('SUCCESS')} of {len(statuses)} checks succeed", flush=True)
    for name in sorted(set(before) | set(after)):
        check(f"{what}: {name} is the same through the gate", before.get(name) == after.get(name),
              (before.get(name), after.get(name), through.stderr[-2000:]))


def servers(top):
    child = subprocess.Popen([str(NODE), str(CACHE / "conformance_server.mjs")], stdout=subprocess.PIPE, text=True)
    try:
        url = f"http://127.0.0.1:{int(child.stdout.readline())}/mcp"
        bare = suite(top / "bare", "server", "--suite", "all", "--url", url)
        with Gate(url, harness.policy_file(ALLOW)) as gate:
            gated = suite(top / "gated", "server", "--suite", "all", "--url", gate.ready["listening"])
        same("server", bare, gated, 45)
    finally:
        child.terminate()
        child.wait(10)


def clients(top):
    command = f"{NODE} {CACHE / 'conformance_client.mjs'}"
    gate = [harness.AUTHZ, "mcp", "--server", "small", "--listen", "127.0.0.1:0", "--upstream", "{URL}", "--state",
            str(top / "state"), "--policy", harness.policy_file(ALLOW)]
    for scenario in OF_CLIENTS:
        words = ["client", "--scenario", scenario, "--command", command]
        bare = suite(top / f"bare-{scenario}", *words)
        gated = suite(top / f"gated-{scenario}", *words, env={"GATE": json.dumps(gate)})
        same("client", bare, gated, 1)


def inspector(top):
    """The Inspector's CLI starts the gate as its server."""
    program = str(CACHE / "node_modules/.bin/mcp-inspector")
    bare = [sys.executable, "-S", str(MCP / "server.py")]
    gated = [harness.AUTHZ, "mcp", "--server", "small", "--backend", "seccomp", "--quiet", "--policy", harness.policy_file(DENY),
             "--state", str(top / "state"), "--", *bare]

    def ask(server, *words):
        # The server stands in a file: what the gate takes as options the Inspector would take as its own.
        config = top / "servers.json"
        config.write_text(json.dumps({"mcpServers": {"small": {"command": server[0], "args": server[1:]}}}))
        env = {**os.environ, "PATH": f"{NODE.parent}:{os.environ['PATH']}"}
        done = subprocess.run([program, "--cli", "--config", str(config), "--server", "small", *words], capture_output=True,
                              text=True, timeout=120, check=False, env=env)
        try:
            return json.loads(done.stdout)
        except ValueError:
            return {"failed": done}

    for words in (["--method", "tools/list"],
                  ["--method", "tools/call", "--tool-name", "write_file", "--tool-arg", f"path={top}/x", "content=y"]):
        one, other = ask(bare, *words), ask(gated, *words)
        check(f"inspector: {words[1]} is the same through the gate", one == other and "failed" not in one, (one, other))
    check("inspector: what is allowed happens", (top / "x").exists())
    told = ask(gated, "--method", "tools/call", "--tool-name", "shell", "--tool-arg", f"command=touch {top}/z")
    check("inspector: what is denied does not, and it is told why", told.get("isError") and not (top / "z").exists()
          and "No shells here. Use write_file. [rule no-shell" in told["content"][0]["text"], told)


def run():
    if BARE:
        skip("conformance", "it needs authz")
        return
    installed()
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        for part in (servers, clients, inspector):
            part(pathlib.Path(folder))
