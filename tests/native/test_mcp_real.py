"""Real MCP servers behind `authz mcp`, driven by the SDKs of Python and TypeScript: what they do bare they do behind the
gate, and one rule about a folder holds for their tools. Fetches from PyPI and npm into target/mcp, so by name only.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import harness
from harness import check, skip
from native import BARE

HERE = pathlib.Path(__file__).resolve().parent
CACHE = HERE.parent.parent / "target/mcp"
PYTHON = ["mcp==2.3.0", "mcp-server-git==2026.10.19", "mcp-server-time==2026.10.19"]
NODE = ["@modelcontextprotocol/server-filesystem@2026.8.31", "@modelcontextprotocol/server-everything@2026.8.31",
        "@modelcontextprotocol/sdk@1.32.2"]
MODULES = CACHE / "node/node_modules/@modelcontextprotocol"

POLICY = """
deny contains {{"id": "prod", "reason": "Agents do not write production files."}} if {{
	writes
	under(input.resource.id, "{top}/prod")
}}

allow contains {{"id": "rest"}} if not startswith(input.action.name, "system.")
"""

# Reads {"command", "calls": [[tool, arguments]...], "mode"}; prints each result's error flag and text, and the tools.
PYTHON_CLIENT = """
import asyncio, json, sys
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

async def main():
    order = json.load(sys.stdin)
    command, *args = order["command"]
    server = stdio_client(StdioServerParameters(command=command, args=args, cwd=order["cwd"], env=order["env"]))
    async with Client(server, mode=order["mode"]) as client:
        tools = sorted(tool.name for tool in (await client.list_tools()).tools)
        results = []
        for name, arguments in order["calls"]:
            result = await client.call_tool(name, arguments)
            results.append([bool(result.is_error), "\\n".join(getattr(item, "text", "") for item in result.content)])
        print(json.dumps({"tools": tools, "results": results}))

asyncio.run(main())
"""
NODE_CLIENT = """
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { readFileSync } from "node:fs";

const order = JSON.parse(readFileSync(0, "utf8"));
const [command, ...args] = order.command;
const client = new Client({ name: "test", version: "1" }, { capabilities: {} });
await client.connect(new StdioClientTransport({ command, args, cwd: order.cwd, env: order.env, stderr: "inherit" }));
const tools = (await client.listTools()).tools.map((tool) => tool.name).sort();
const results = [];
for (const [name, args] of order.calls) {
  const result = await client.callTool({ name, arguments: args });
  results.push([Boolean(result.isError), result.content.map((item) => item.text ?? "").join("\\n")]);
}
console.log(JSON.stringify({ tools, results }));
await client.close();
"""


def installed():
    """Fetches what is missing."""
    python = CACHE / "py/bin/python3"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(CACHE / "py")], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "-q", *PYTHON], check=True)
    node = CACHE / "node"
    node.mkdir(parents=True, exist_ok=True)
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(node), *NODE], check=True)
    (node / "client.mjs").write_text(NODE_CLIENT, encoding="utf-8")
    return {"python": [str(python), "-c", PYTHON_CLIENT], "typescript": ["node", str(node / "client.mjs")]}


def drive(client, command, calls, cwd, mode="auto"):
    """What a client sees of a server."""
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"}
    order = json.dumps({"command": command, "calls": calls, "cwd": str(cwd), "env": env, "mode": mode})
    done = subprocess.run(client, input=order, capture_output=True, text=True, timeout=240, check=False, env=env)
    lines = [line for line in done.stdout.split("\n") if line.startswith("{")]
    return json.loads(lines[-1]) if lines else {"tools": [], "results": [], "failed": done.stderr[-2000:]}


def git(*words, cwd):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, *words], cwd=cwd, check=True, capture_output=True)


def servers(top):
    """Name, command, and calls that give the same each time."""
    git("init", "-q", ".", cwd=top / "repo")
    git("commit", "-q", "--allow-empty", "-m", "first", cwd=top / "repo")
    repo, note = str(top / "repo"), str(top / "work/note")
    zones = {"source_timezone": "Europe/Berlin", "target_timezone": "Asia/Tokyo", "time": "12:00"}
    return {
        "filesystem": (["node", str(MODULES / "server-filesystem/dist/index.js"), str(top)],
                       [["write_file", {"path": note, "content": "x"}], ["read_text_file", {"path": note}],
                        ["list_directory", {"path": str(top / "work")}]]),
        "everything": (["node", str(MODULES / "server-everything/dist/index.js")],
                       [["echo", {"message": "\u00e4 \u2028"}], ["get-sum", {"a": 1, "b": 2.5}]]),
        "git": ([str(CACHE / "py/bin/mcp-server-git")],
                [["git_status", {"repo_path": repo}], ["git_log", {"repo_path": repo, "max_count": 1}]]),
        "time": ([str(CACHE / "py/bin/mcp-server-time")], [["get_current_time", {"timezone": "Nowhere"}],
                                                            ["convert_time", zones]]),
    }


def run():
    if BARE:
        skip("mcp_real", "it needs authz")
        return
    clients = installed()
    with tempfile.TemporaryDirectory(prefix="mcp-real-") as folder:
        top = pathlib.Path(folder)
        for name in ("prod", "work", "repo"):
            (top / name).mkdir()
        policy, state = harness.policy_file(POLICY.format(top=top)), str(top / "state")

        def gated(name, command):
            return [harness.AUTHZ, "mcp", "--server", name, "--backend", "seccomp", "--quiet", "--policy", policy,
                    "--state", state, "--", *command]

        for name, (command, calls) in servers(top).items():
            for client, argv in clients.items():
                modes = ["auto", "legacy"] if client == "python" else ["auto"]
                for mode in modes:
                    bare = drive(argv, command, calls, top, mode)
                    ours = drive(argv, gated(name, command), calls, top, mode)
                    check(f"{name} by {client}, {mode}: the same tools and results as bare",
                          bare == ours and bare["tools"], (bare, ours))
        command, _ = servers(top)["filesystem"]
        target = str(top / "prod/config")
        for client, argv in clients.items():
            seen = drive(argv, gated("filesystem", command), [["write_file", {"path": target, "content": "x"}],
                         ["move_file", {"source": str(top / "work/note"), "destination": target}]], top)
            denied = [error and "Agents do not write production files. [rule prod, decision" in text
                      for error, text in seen["results"]]
            check(f"{client}: writing and moving into a protected folder is denied, with the reason",
                  denied == [True, True] and not os.path.exists(target), seen)
        entries = harness.authz("ledger", "--state", state, "list", "--json", "--limit", "0", "--effect", "deny").stdout
        rules = [json.loads(line)["result"]["rules"][0]["id"] for line in entries.splitlines()]
        check("each denial is in the ledger", rules.count("prod") >= 4, rules)
