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

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "mcp"))

import real  # noqa: E402
from real import CACHE, INTERPRETER, POLICY, git  # noqa: E402

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
    """The clients, with what they take."""
    real.fetch()
    (CACHE / "node/client.mjs").write_text(NODE_CLIENT, encoding="utf-8")
    return {"python": [str(INTERPRETER), "-c", PYTHON_CLIENT], "typescript": ["node", str(CACHE / "node/client.mjs")]}


def drive(client, command, calls, cwd, mode="auto"):
    """What a client sees of a server."""
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"}
    order = json.dumps({"command": command, "calls": calls, "cwd": str(cwd), "env": env, "mode": mode})
    done = subprocess.run(client, input=order, capture_output=True, text=True, timeout=240, check=False, env=env)
    lines = [line for line in done.stdout.split("\n") if line.startswith("{")]
    return json.loads(lines[-1]) if lines else {"tools": [], "results": [], "failed": done.stderr[-2000:]}


def servers(top):
    """Name, command, and calls that give the same each time."""
    git("init", "-q", ".", cwd=top / "repo")
    git("commit", "-q", "--allow-empty", "-m", "first", cwd=top / "repo")
    repo, note = str(top / "repo"), str(top / "work/note")
    zones = {"source_timezone": "Europe/Berlin", "target_timezone": "Asia/Tokyo", "time": "12:00"}
    calls = {
        "filesystem": [["write_file", {"path": note, "content": "x"}], ["read_text_file", {"path": note}],
                       ["list_directory", {"path": str(top / "work")}]],
        "everything": [["echo", {"message": "\u00e4 \u2028"}], ["get-sum", {"a": 1, "b": 2.5}]],
        "git": [["git_status", {"repo_path": repo}], ["git_log", {"repo_path": repo, "max_count": 1}]],
        "time": [["get_current_time", {"timezone": "Nowhere"}], ["convert_time", zones]],
    }
    return {name: (command, calls[name]) for name, command in real.commands(top).items()}


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
    real.together("--backend", "seccomp")
