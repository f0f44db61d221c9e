#!/usr/bin/env python3
"""A small MCP server of both generations, on standard input and output. It keeps every line it gets in the file that
MCP_SEEN names, as it got it, so that a test can tell what reached it.

Tools: write_file, shell (the same by a program of its own), later (the same as a task, which runs when it is first asked about),
sleep, ask (asks its client), die, odd (answers as told).
"""

import json
import os
import subprocess
import sys
import time

TOOLS = {
    "write_file": {"path": {"type": "string"}, "content": {"type": "string"}},
    "shell": {"command": {"type": "string"}},
    "later": {"command": {"type": "string"}},
    "sleep": {"seconds": {"type": "number"}},
    "ask": {},
    "die": {},
    "odd": {"line": {"type": "string"}},
    "held": {"content": {"type": "string"}},
}
DISCOVERED = {"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}, "resources": {}},
              "serverInfo": {"name": "small", "version": "1"}, "ttlMs": 0, "cacheScope": "private"}


# By id: the command of each task, or its result.
TASKS = {}


def task(identity, modern, **more):
    """A task as both generations tell of it, but for the names of two times."""
    times = {"ttlMs": 60000, "pollIntervalMs": 10} if modern else {"ttl": 60000, "pollInterval": 10}
    now = "2026-07-28T00:00:00Z"
    return {"taskId": identity, "status": "working", "createdAt": now, "lastUpdatedAt": now, **times, **more}


def later(command, modern):
    identity = f"task-{len(TASKS)}"
    TASKS[identity] = command
    return {"resultType": "task", **task(identity, modern)} if modern else {"task": task(identity, modern)}


def poll(identity, modern):
    known = TASKS.get(identity)
    if isinstance(known, str):
        TASKS[identity] = call("shell", {"command": known})
        return {**task(identity, modern), "resultType": "complete"}
    done = {"result": known} if modern else {}
    return {**task(identity, modern, status="completed", **done), "resultType": "complete"}


def send(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def text(words, error=False):
    return {"content": [{"type": "text", "text": words}], "isError": error, "resultType": "complete"}


def call(name, arguments):
    if name == "write_file":
        try:
            with open(arguments["path"], "w", encoding="utf-8") as file:
                file.write(arguments.get("content", ""))
        except OSError as error:
            return text(f"failed: {error.strerror}", error=True)
        return text("written")
    if name == "shell":
        done = subprocess.run(arguments["command"], shell=True, capture_output=True, text=True, check=False)
        return text(f"status {done.returncode}: {done.stdout}{done.stderr}", error=done.returncode != 0)
    if name == "sleep":
        time.sleep(arguments["seconds"])
        return text("slept")
    if name == "ask":
        send({"jsonrpc": "2.0", "id": 1, "method": "roots/list"})
        return text(sys.stdin.readline())
    if name == "die":
        os._exit(3)
    if name == "odd":
        print(arguments["line"], flush=True)
        return text("said it")
    return text(f"{name} {json.dumps(arguments, sort_keys=True)}")


def answer(message):
    method, params = message.get("method"), message.get("params") or {}
    if method == "initialize":
        return {"protocolVersion": params.get("protocolVersion", "2025-06-18"), "capabilities": {"tools": {}, "resources": {}},
                "serverInfo": {"name": "small", "version": "1"}}
    if method == "server/discover":
        return DISCOVERED
    if method == "tools/list":
        tools = [{"name": name, "inputSchema": {"type": "object", "properties": properties}} for name, properties in TOOLS.items()]
        return {"tools": tools, "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
    modern = "io.modelcontextprotocol/protocolVersion" in params.get("_meta", {})
    if method == "tasks/get":
        return poll(params["taskId"], modern)
    if method == "tasks/result":
        return TASKS[params["taskId"]]
    if method == "tools/call" and params["name"] == "later":
        return later(params["arguments"]["command"], modern)
    if method == "tools/call":
        return call(params["name"], params.get("arguments", {}))
    if method == "resources/read":
        return {"contents": [{"uri": params["uri"], "text": "x"}], "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
    return {}


def main():
    seen = os.environ.get("MCP_SEEN")
    for line in sys.stdin:
        if seen:
            with open(seen, "a", encoding="utf-8") as file:
                file.write(line)
        message = json.loads(line)
        if "id" in message and "method" in message:
            send({"jsonrpc": "2.0", "id": message["id"], "result": answer(message)})


main()
