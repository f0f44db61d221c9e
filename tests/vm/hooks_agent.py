"""An agent that runs its hooks as the real ones do, and prints what they answer. Arguments: authz, a folder."""

import json
import os
import subprocess
import sys

AUTHZ, TOP = sys.argv[1:3]
PLAIN = {"CLAUDE_CODE_ENTRYPOINT": "sdk-cli"}


def run(agent, event, env=None, argv=()):
    """Status, standard output (as JSON where it is), standard error."""
    environment = {**os.environ, **PLAIN, **(env or {})}
    environment = {name: value for name, value in environment.items() if value is not None}
    text = event if isinstance(event, str) else json.dumps(event)
    done = subprocess.run([AUTHZ, "hook", agent, *argv], input=text, capture_output=True, text=True, env=environment,
                          timeout=120, check=False)
    try:
        out = json.loads(done.stdout)
    except ValueError:
        out = done.stdout
    return [done.returncode, out, done.stderr]


def claude(event, tool, call, **members):
    return {"session_id": "s-claude", "transcript_path": "/t", "cwd": TOP, "permission_mode": "default",
            "hook_event_name": event, "tool_name": tool, "tool_use_id": call, "tool_input": {}, **members}


def codex(event, tool, call, **members):
    return {"session_id": "s-codex", "turn_id": "t", "transcript_path": None, "cwd": TOP, "hook_event_name": event,
            "model": "m", "permission_mode": "default", "tool_name": tool, "tool_use_id": call, "tool_input": {}, **members}


def gemini(event, tool, call, **members):
    return {"session_id": "s-gemini", "transcript_path": "/t", "cwd": TOP, "hook_event_name": event,
            "timestamp": "2026-11-20T09:00:00.000Z", "tool_name": tool, "tool_input": {"command": call}, **members}


AGENTS = {"claude": (claude, "PreToolUse", "PostToolUse", "Bash", "Write"),
          "codex": (codex, "PreToolUse", "PostToolUse", "Bash", "apply_patch"),
          "gemini": (gemini, "BeforeTool", "AfterTool", "run_shell_command", "write_file")}


def tell(name, value):
    print(json.dumps({"name": name, "value": value}), flush=True)


def write(name):
    try:
        with open(f"{TOP}/{name}", "w"):
            return 0
    except OSError as error:
        return error.errno


def written(agent, path):
    if agent == "codex":
        return {"command": f"*** Begin Patch\n*** Update File: {path}\n@@\n-a\n+b\n*** End Patch"}
    return {"file_path": path, "content": "x"}


def session():
    failed = claude("PostToolUseFailure", "Bash", "failed", error="exit 1", is_interrupt=False)
    # One whose user says no: it is never run, and its end is never told.
    left = claude("PreToolUse", "Bash", "left")
    prompt = {name: left[name] for name in ("session_id", "transcript_path", "cwd")}
    tell("left open", run("claude", left))
    tell("turn", run("claude", {**prompt, "hook_event_name": "UserPromptSubmit", "prompt": "x"}))
    tell("failed", [run("claude", claude("PreToolUse", "Bash", "failed")), write("prod/failed"), run("claude", failed)])
    for agent, (event, before, after, shell, writer) in AGENTS.items():
        denied = event(before, writer, f"{agent}-1", tool_input=written(agent, "prod/../prod/x"))
        tell(f"{agent} denied", run(agent, denied))
        tell(f"{agent} allowed", run(agent, event(before, shell, f"{agent}-2")))
        tell(f"{agent} hidden", write(f"prod/{agent}"))
        tell(f"{agent} told", run(agent, event(after, shell, f"{agent}-2", tool_response={"output": "x" * 100_000})))
        tell(f"{agent} quiet", [run(agent, event(before, shell, f"{agent}-3")), run(agent, event(after, shell, f"{agent}-3"))])
        tell(f"{agent} again", run(agent, event(after, shell, f"{agent}-3")))
        tell(f"{agent} server", run(agent, event(before, "mcp__filesystem__write_file", f"{agent}-4",
                                                 tool_input={"path": f"{TOP}/prod/x"})))
        if agent != "codex":
            computed = event(before, writer, f"{agent}-5", tool_input=written(agent, f"{TOP}/compute/x"))
            tell(f"{agent} computed", run(agent, computed))
            tell(f"{agent} computed over", run(agent, event(after, writer, f"{agent}-5",
                                                            tool_input=written(agent, f"{TOP}/staging/x"))))
        for word in ("yes", "no"):
            tell(f"{agent} {word}", run(agent, event(before, f"mcp__ask__{word}", f"{agent}-{word}")))
        tell(f"{agent} after yes", run(agent, event(after, "mcp__ask__yes", f"{agent}-yes")))
    asked = claude("PreToolUse", "mcp__ask__user", "asked")
    tell("asked", run("claude", asked, {"CLAUDE_CODE_ENTRYPOINT": "cli"}))
    tell("asked over", run("claude", {**asked, "hook_event_name": "PostToolUse"}))
    tell("bypassed", run("claude", {**asked, "permission_mode": "bypassPermissions", "tool_use_id": "bypassed",
                                    "tool_name": "mcp__ask__no"}, {"CLAUDE_CODE_ENTRYPOINT": "cli"}))
    bash = claude("PreToolUse", "Bash", "elsewhere")
    tell("without variable", run("claude", bash, {"AUTHZ_SOCKET": None}))
    tell("without variable over", run("claude", {**bash, "hook_event_name": "PostToolUse"}, {"AUTHZ_SOCKET": None}))
    tell("policy of its own", run("claude", claude("PreToolUse", "Write", "own", tool_input=written("claude", "prod/x")),
                                  argv=["--policy", "preset:observe-all"]))
    tell("no daemon", run("claude", bash, {"AUTHZ_SOCKET": "/nowhere/ask.sock"}))
    for number, bad in enumerate(["", "{", "[]", "null", "x" * 1000, json.dumps({**bash, "hook_event_name": "Stop"}),
                                  json.dumps({**bash, "tool_name": "mcp__x"}), "[" * 100_000, "\udcff".encode("utf-8", "ignore").decode()]):
        tell(f"bad {number}", run("claude", bad))
    prompt = {"session_id": "s", "cwd": TOP, "hook_event_name": "UserPromptSubmit", "prompt": "x"}
    tell("prompt without a daemon", run("claude", prompt, {"AUTHZ_SOCKET": "/nowhere/ask.sock"}))
    tell("end", True)


if __name__ == "__main__":
    session()
