"""Real MCP servers and the SDKs that drive them, from PyPI and npm in target/mcp; and what holds of them in one session."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import harness
from harness import check

CACHE = pathlib.Path(__file__).resolve().parents[2] / "target/mcp"
PYTHON = ["mcp==2.3.0", "mcp-server-git==2026.10.19", "mcp-server-time==2026.10.19"]
NODE = ["@modelcontextprotocol/server-filesystem@2026.8.31", "@modelcontextprotocol/server-everything@2026.8.31",
        "@modelcontextprotocol/sdk@1.32.2", "@modelcontextprotocol/client@2.4.0"]
MODULES = CACHE / "node/node_modules/@modelcontextprotocol"
INTERPRETER = CACHE / "py/bin/python3"

POLICY = """
deny contains {{"id": "prod", "reason": "Agents do not write production files."}} if {{
	writes
	under(input.resource.id, "{top}/prod")
}}

allow contains {{"id": "rest"}} if not startswith(input.action.name, "system.")
"""

# Reads {"servers": {name: command}, "calls": [[server, tool, arguments]...], "cwd"}; prints error flag and text of each.
CLIENT = """
import asyncio, contextlib, json, os, sys
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

async def main():
    order = json.loads(sys.argv[1])
    async with contextlib.AsyncExitStack() as stack:
        clients = {}
        for name, (command, *args) in order["servers"].items():
            server = stdio_client(StdioServerParameters(command=command, args=args, cwd=order["cwd"], env=dict(os.environ)))
            clients[name] = await stack.enter_async_context(Client(server, mode="legacy"))
        results = []
        for server, tool, arguments in order["calls"]:
            result = await clients[server].call_tool(tool, arguments)
            results.append([bool(result.is_error), "\\n".join(getattr(item, "text", "") for item in result.content)])
        print(json.dumps(results), flush=True)

asyncio.run(main())
"""


def fetch():
    """What is missing in target/mcp."""
    if not INTERPRETER.exists():
        subprocess.run([sys.executable, "-m", "venv", str(CACHE / "py")], check=True)
    subprocess.run([str(INTERPRETER), "-m", "pip", "install", "-q", *PYTHON], check=True)
    node = CACHE / "node"
    node.mkdir(parents=True, exist_ok=True)
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(node), *NODE], check=True)


def git(*words, cwd):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, *words], cwd=cwd, check=True, capture_output=True)


def commands(top):
    """The servers."""
    return {
        "filesystem": ["node", str(MODULES / "server-filesystem/dist/index.js"), str(top)],
        "everything": ["node", str(MODULES / "server-everything/dist/index.js")],
        "git": [str(CACHE / "py/bin/mcp-server-git")],
        "time": [str(CACHE / "py/bin/mcp-server-time")],
    }


def together(*options):
    """Four servers behind four gates in one session, driven by the Python SDK: a file is written by the tool that says so, and
    by a git hook under a tool that says nothing of it. One rule, one trace, one ledger."""
    with tempfile.TemporaryDirectory(prefix="mcp-together-") as folder:
        top = pathlib.Path(folder)
        for name in ("prod", "work", "repo"):
            (top / name).mkdir()
        policy, state, repo = harness.policy_file(POLICY.format(top=top)), str(top / "state"), top / "repo"
        git("init", "-q", ".", cwd=repo)
        (repo / "file").write_text("text")
        git("add", "file", cwd=repo)
        hook = repo / ".git/hooks/post-commit"
        hook.write_text(f"#!/bin/sh\necho x > {top}/prod/hidden\necho x > {top}/work/hook\n")
        hook.chmod(0o755)
        env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org",
               "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.org"}

        def ask(calls):
            gate = [harness.AUTHZ, "mcp", "--quiet", "--state", state, "--policy", policy]
            servers = {name: [*gate, "--server", name, "--", *command] for name, command in commands(top).items()}
            order = json.dumps({"servers": servers, "calls": calls, "cwd": str(top)})
            session = [harness.AUTHZ, "exec", *options, "--quiet", "--state", state, "--policy", policy, "--"]
            done = harness.finish([*session, str(INTERPRETER), "-c", CLIENT, order], 900, env, str(top))
            lines = [line for line in done.stdout.split("\n") if line.startswith("[")]
            return json.loads(lines[-1]) if lines else done

        zones = {"source_timezone": "Europe/Berlin", "target_timezone": "Asia/Tokyo", "time": "12:00"}
        seen = ask([
            ["filesystem", "write_file", {"path": f"{top}/prod/declared", "content": "x"}],
            ["filesystem", "write_file", {"path": f"{top}/work/fine", "content": "x"}],
            ["git", "git_commit", {"repo_path": str(repo), "message": "m"}],
            ["time", "convert_time", zones],
            ["everything", "echo", {"message": "hello"}]])
        denials = [json.loads(line) for line in harness.authz("ledger", "--state", state, "list", "--json", "--limit", "0",
                                                              "--effect", "deny").stdout.splitlines()]
        if not check("together: four servers, each behind a gate of one session", isinstance(seen, list) and len(seen) == 5,
                     (denials[:3], seen)):
            return
        check("together: a declared write is denied at the gate", seen[0][0]
              and "Agents do not write production files. [rule prod" in seen[0][1], seen[0])
        check("together: another is done", not seen[1][0] and (top / "work/fine").exists(), seen[1])
        check("together: the commit is done and ran its hook", not seen[2][0] and (top / "work/hook").exists(), seen[2])
        check("together: what the hook hides is denied beneath, and told in the tool's answer",
              f"{top}/prod/hidden: Agents do not write production files. [rule prod" in seen[2][1], seen[2])
        check("together: nothing is in the protected folder", not list((top / "prod").iterdir()))
        check("together: the others answer", not seen[3][0] and not seen[4][0] and "hello" in seen[4][1], seen[3:])
        mine = [entry for entry in denials if entry["resource"]["id"].startswith(f"{top}/prod/")]
        layers = {entry["layer"] for entry in mine}
        check("together: both are in one ledger, by one rule, under one trace of one session",
              {rule["id"] for entry in mine for rule in entry["result"]["rules"]} == {"prod"} and "mcp" in layers
              and layers & {"kernel", "seccomp"} and len({(entry["trace_id"], entry["session"]) for entry in mine}) == 1, mine)
        beneath = {entry["attribution"] for entry in mine if entry["layer"] != "mcp"}
        check("together: the hidden one belongs to its call for certain", beneath == {"exact"}, mine)
        # The same commit again without authz: it is the hook that writes there.
        git("commit", "-q", "--allow-empty", "-m", "bare", cwd=repo)
        check("together: without authz the hook writes there", (top / "prod/hidden").exists())
