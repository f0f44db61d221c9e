"""The hooks of agents inside a session, and outside of every one; the same for both back ends."""

import json
import pathlib
import shutil
import subprocess
import tempfile
import threading

import control
import harness
from harness import check

AGENT = pathlib.Path(__file__).with_name("hooks_agent.py")
AGENTS = ("claude", "codex", "gemini")
POLICY = """
allow contains {"id": "rest", "reason": "r"} if true

deny contains {"id": "no-prod", "reason": "Not there.", "advice": "Go elsewhere."} if {
	writes
	under(input.resource.id, "%(top)s/prod")
}

compute contains {"id": "to-staging", "rewrite": {"path": "%(top)s/staging/x"}} if {
	writes
	under(input.resource.id, "%(top)s/compute")
}

escalate contains {"id": "human", "reason": "Ask first."} if {
	input.action.name == "tool.call"
	startswith(input.resource.id, "ask/")
}
"""


class Human(threading.Thread):
    """Says yes to ask/yes, and no to ask/no."""

    def __init__(self):
        super().__init__(daemon=True)
        self.over = threading.Event()

    def run(self):
        answers = {"ask/yes": "approve", "ask/no": "deny"}
        while not self.over.wait(0.1):
            for view in json.loads(harness.authz("pending", "--json").stdout or "[]"):
                if answer := answers.get(view["resource"]):
                    harness.authz(answer, view["id"])


def run(**flags):
    top = control.folder("prod", "compute", "staging")
    (top / "hooks_agent.py").write_bytes(AGENT.read_bytes())
    python = shutil.which("python3", path="/usr/bin:/bin")
    human = Human()
    human.start()
    try:
        done = harness.authz_exec(POLICY % {"top": top}, [python, str(top / "hooks_agent.py"), harness.AUTHZ, str(top)],
                                  timeout=600, hold_timeout="60s", state=str(top / "state"), **flags)
    finally:
        human.over.set()
        human.join()
    told = {line["name"]: line["value"] for line in map(json.loads, done.stdout.splitlines())}
    if not check("hooks: the agent gets to its end", "end" in told, (done.stdout[-2000:], done.stderr[-2000:])):
        return
    for agent in AGENTS:
        answers(agent, told)
    others(told)
    recorded(told, control.entries(done, "--state", str(top / "state")), top)
    control.wait(lambda: subprocess.run(["rm", "-rf", str(top)], check=False).returncode == 0)


def reason(agent, out):
    """Decision and reason of an answer to the event before a call."""
    if agent == "gemini":
        return out.get("decision"), out.get("reason") or ""
    inner = out["hookSpecificOutput"]
    return inner["permissionDecision"], inner["permissionDecisionReason"]


def consent(agent):
    return [0, {} if agent == "gemini" else "", ""]


def answers(agent, told):
    for name in ("denied", "server"):
        status, out, err = told[f"{agent} {name}"]
        word, why = reason(agent, out) if isinstance(out, dict) else (None, "")
        check(f"hooks: {agent}: what would write is {name}", status == 0 and word == "deny" and not err
              and "Not there. Go elsewhere. [rule no-prod]" in why, told[f"{agent} {name}"])
    check(f"hooks: {agent}: the rest goes its way", told[f"{agent} allowed"] == consent(agent), told[f"{agent} allowed"])
    check(f"hooks: {agent}: the system call beneath is denied", told[f"{agent} hidden"] == 13, told[f"{agent} hidden"])
    status, out, err = told[f"{agent} told"]
    inner = out.get("hookSpecificOutput", {}) if isinstance(out, dict) else {}
    context = inner.get("additionalContext", "")
    check(f"hooks: {agent}: and told after the call", status == 0 and not err
          and inner.get("hookEventName") == ("AfterTool" if agent == "gemini" else "PostToolUse")
          and f"/prod/{agent}: Not there. Go elsewhere. [rule no-prod]" in context and len(context.splitlines()) == 2, out)
    check(f"hooks: {agent}: nothing is told of nothing", told[f"{agent} quiet"] == [consent(agent)] * 2, told[f"{agent} quiet"])
    check(f"hooks: {agent}: of a call that is not open nothing is told", told[f"{agent} again"] == consent(agent), told[f"{agent} again"])
    if agent != "codex":
        status, out, _ = told[f"{agent} computed"]
        inner = out["hookSpecificOutput"] if isinstance(out, dict) else {}
        new = inner.get("tool_input" if agent == "gemini" else "updatedInput", {})
        check(f"hooks: {agent}: compute rewrites the arguments", status == 0 and reason(agent, {"decision": "", **out})[0] == "allow"
              and new.get("file_path", "").endswith("/staging/x") and new.get("content") == "x", out)
        check(f"hooks: {agent}: and it ends", told[f"{agent} computed over"] == consent(agent), told[f"{agent} computed over"])
    check(f"hooks: {agent}: a human's yes lets it go on", told[f"{agent} yes"] == consent(agent), told[f"{agent} yes"])
    check(f"hooks: {agent}: and the call is open then", told[f"{agent} after yes"] == consent(agent), told[f"{agent} after yes"])
    word, why = reason(agent, told[f"{agent} no"][1])
    check(f"hooks: {agent}: a human's no does not", word == "deny" and "Ask first." in why, told[f"{agent} no"])


def blocked(name, answer):
    status, out, err = answer
    check(f"hooks: {name}", status == 2 and out == "" and err.startswith("authz: ") and len(err.splitlines()) == 1, answer)


def others(told):
    (before, denied, (status, out, _)) = told["failed"]
    check("hooks: a failed call is told what was denied", before == [0, "", ""] and denied == 13 and status == 0
          and out["hookSpecificOutput"]["hookEventName"] == "PostToolUseFailure"
          and "/prod/failed: Not there." in out["hookSpecificOutput"]["additionalContext"], told["failed"])
    word, why = reason("claude", told["asked"][1])
    check("hooks: attended Claude asks its user", word == "ask" and "Ask first." in why, told["asked"])
    check("hooks: and tells nothing if it runs", told["asked over"] == [0, "", ""], told["asked over"])
    check("hooks: a prompt ends a turn", told["left open"] == told["turn"] == [0, "", ""], told["turn"])
    status, out, err = told["prompt without a daemon"]
    check("hooks: a prompt is never blocked", (status, out) == (0, "") and err.startswith("authz: "), told["prompt without a daemon"])
    check("hooks: nobody is asked where Claude asks nobody", reason("claude", told["bypassed"][1])[0] == "deny", told["bypassed"])
    check("hooks: the session's daemon is found without the variable",
          told["without variable"] == [0, "", ""] == told["without variable over"], told["without variable"])
    check("hooks: in a session its policy decides, whatever the hook names",
          reason("claude", told["policy of its own"][1])[0] == "deny", told["policy of its own"])
    blocked("no daemon blocks", told["no daemon"])
    for name in (name for name in told if name.startswith("bad ")):
        blocked(f"{name} blocks", told[name])


def recorded(told, entries, top):
    calls = [entry for entry in entries if entry.get("action") == "tool.call"]
    ids = {entry["detail"]["call_id"]: entry for entry in calls if entry["kind"] == "decision"}
    check("hooks: each call is recorded, as the session's word", {"claude-1", "codex-2", "failed"} <= set(ids)
          and all(entry["layer"] == "hook" and entry["detail"]["source"] == "session" for entry in ids.values()), list(ids))
    closed = {entry["detail"]["call"]: entry["detail"]["outcome"] for entry in entries if entry["kind"] == "call_closed"}
    ended = {name: closed.get(entry["decision_id"]) for name, entry in ids.items()}
    check("hooks: what a turn left open is lost, what failed failed, what was asked is taken back",
          (ended["left"], ended["failed"], ended["asked"], ended["claude-2"]) == ("lost", "error", "cancelled", "ok"), ended)
    # What is denied, itself or by what it implies, is never open; a rewritten call of Gemini, which names none, is closed
    # under its new arguments.
    denied = {(entry.get("detail") or {}).get("implied_by") for entry in entries if entry.get("result", {}).get("effect") == "deny"}
    still = [entry for entry in calls if entry["kind"] == "decision" and entry["result"]["effect"] in ("allow", "compute")
             and entry["decision_id"] not in closed and entry["decision_id"] not in denied]
    check("hooks: nothing stays open", not still, [entry["detail"]["call_id"] for entry in still])
    for agent in ("claude", "codex"):
        hidden = [entry for entry in entries if entry.get("resource", {}).get("id") == f"{top}/prod/{agent}"]
        check(f"hooks: {agent}: the system call is in the call's span, exactly", hidden and hidden[0]["attribution"] == "exact"
              and hidden[0]["span_id"] == ids[f"{agent}-2"]["span_id"] and hidden[0]["trace_id"] == ids[f"{agent}-2"]["trace_id"], hidden)


def hook(agent, event, *options, env=None):
    done = subprocess.run([harness.AUTHZ, "hook", agent, *options], input=json.dumps(event), capture_output=True, text=True,
                          env=harness.environment({"CLAUDE_CODE_ENTRYPOINT": "sdk-cli", **(env or {})}), timeout=60, check=False)
    try:
        return [done.returncode, json.loads(done.stdout), done.stderr]
    except ValueError:
        return [done.returncode, done.stdout, done.stderr]


def event(name, tool, call, **arguments):
    return {"session_id": "outside", "cwd": "/", "permission_mode": "default", "hook_event_name": name, "tool_name": tool,
            "tool_use_id": call, "tool_input": arguments}


def outside():
    """No session, no daemon: the policy that the hook names, and a ledger of its own."""
    top = control.folder("prod", "compute", "staging")
    policy = harness.policy_file(POLICY % {"top": top})
    options = ["--policy", policy, "--state", str(top / "state")]
    write = event("PreToolUse", "Write", "o-1", file_path=f"{top}/prod/x")
    blocked("outside, without a policy, nothing goes", hook("claude", write))
    word, why = reason("claude", hook("claude", write, *options)[1])
    check("hooks: outside the named policy denies", word == "deny" and "[rule no-prod]" in why, why)
    bash = event("PreToolUse", "Bash", "o-2", command="ls")
    over = {**bash, "hook_event_name": "PostToolUse"}
    check("hooks: and allows", [hook("claude", bash, *options), hook("claude", over, *options)] == [[0, "", ""]] * 2)
    word, why = reason("claude", hook("claude", event("PreToolUse", "mcp__ask__user", "o-3"), *options)[1])
    check("hooks: nobody can be asked outside", word == "deny" and "no human" in why, why)
    counted = harness.policy_file('allow contains {"id": "few", "constraints": {"max_uses": 3}} if true')
    answer = hook("claude", bash, "--policy", counted, "--state", str(top / "state"))
    check("hooks: limits that must be counted deny outside", reason("claude", answer[1])[0] == "deny", answer)
    at_once = []
    threads = [threading.Thread(target=lambda number=number: at_once.append(
        hook("claude", {**bash, "tool_use_id": f"p-{number}"}, *options))) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check("hooks: eight at once are decided one by one", at_once == [[0, "", ""]] * 8, at_once)
    entries = control.ledger("--state", str(top / "state"))
    kinds = [entry["kind"] for entry in entries]
    check("hooks: the ledger says that nothing is enforced beneath", kinds[0] == "session_start" and kinds.count("session_start") == 1
          and entries[0]["detail"]["enforcement"].startswith("none") and len({entry["session"] for entry in entries}) == 1, entries[:1])
    check("hooks: and has each call and its end", sum(entry.get("action") == "tool.call" for entry in entries) == 12
          and "call_closed" in kinds, kinds)
    broken = harness.policy_file("allow contains {")
    blocked("a broken policy blocks", hook("claude", bash, "--policy", broken, "--state", str(top / "state")))
    blocked("a state folder that cannot be made blocks", hook("claude", bash, "--policy", policy, "--state", "/proc/nothing/x"))
    (top / "state" / "hook" / "ledger").rename(top / "state" / "hook" / "away")
    (top / "state" / "hook" / "ledger").write_text("no folder")
    blocked("a ledger that cannot be written blocks", hook("claude", bash, *options))
    subprocess.run(["rm", "-rf", str(top)], check=False)


def installed():
    """The command in the settings is what runs, and a program that is gone blocks."""
    home = pathlib.Path(tempfile.mkdtemp(prefix="home-"))
    env = harness.environment({"HOME": home, "CLAUDE_CONFIG_DIR": "", "CODEX_HOME": ""})
    program = home / "bin" / "authz"
    program.parent.mkdir()
    shutil.copy(harness.AUTHZ, program)
    settings = {"claude": ".claude/settings.json", "codex": ".codex/hooks.json", "gemini": ".gemini/settings.json"}

    def install(*args):
        return subprocess.run([str(program), "install", *args], capture_output=True, text=True, env=env, timeout=60, check=False)

    for agent, name in settings.items():
        path = home / name
        path.parent.mkdir(exist_ok=True)
        before = json.dumps({"theme": "dark", "hooks": {"Stop": [{"hooks": [{"type": "command", "command": "true"}]}]}}, indent=2)
        path.write_text(before)
        path.chmod(0o640)
        dry = install(agent, "--policy", "preset:observe-all", "--dry-run")
        check(f"hooks: install {agent} --dry-run prints a difference only", dry.returncode == 0 and "+" in dry.stdout
              and "hook " + agent in dry.stdout and path.read_text() == before, dry)
        done = install(agent, "--policy", "preset:observe-all")
        check(f"hooks: install {agent}", done.returncode == 0 and json.loads(path.read_text())["theme"] == "dark"
              and path.stat().st_mode & 0o777 == 0o640
              and path.with_name(path.name + ".authz-backup").read_text() == before, (done, path.read_text()))
        once = path.read_text()
        install(agent, "--policy", "preset:observe-all")
        check(f"hooks: install {agent} twice is once", path.read_text() == once)
        hooks = json.loads(once)["hooks"]["BeforeTool" if agent == "gemini" else "PreToolUse"][0]["hooks"][0]
        call = event("BeforeTool" if agent == "gemini" else "PreToolUse", "Bash", "i-1", command="ls")
        ran = subprocess.run(["sh", "-c", hooks["command"]], input=json.dumps(call), capture_output=True, text=True,
                             env={**env, "XDG_STATE_HOME": str(home / "state")}, timeout=60, check=False)
        check(f"hooks: {agent}: the installed command decides", ran.returncode == 0
              and ran.stdout.strip() == ("{}" if agent == "gemini" else ""), ran)
        program.rename(home / "gone")
        ran = subprocess.run(["sh", "-c", hooks["command"]], input="{}", capture_output=True, text=True, env=env, check=False)
        (home / "gone").rename(program)
        check(f"hooks: {agent}: and blocks if authz is gone", ran.returncode == 2 and ran.stderr.strip(), ran)
        install(agent, "--uninstall")
        check(f"hooks: install {agent} --uninstall gives the file back", path.read_text() == before, path.read_text())
        path.write_text("{ no settings")
        refused = install(agent)
        check(f"hooks: install {agent} leaves what it does not understand", refused.returncode == 1
              and "left as it is" in refused.stderr and path.read_text() == "{ no settings", refused)
    broken = install("claude", "--policy", "/nowhere")
    check("hooks: a policy that cannot be loaded is not installed", broken.returncode == 1, broken)
    subprocess.run(["rm", "-rf", str(home)], check=False)


def only_session():
    """An agent outside, and one live session of its name: that one decides."""
    top = control.folder("prod", "compute", "staging")
    process = harness.authz_start(POLICY % {"top": top}, ["sleep", "60"], name="claude", **RUNNING)
    try:
        check("hooks: a session of the agent's name", control.wait(lambda: control.session("claude")))
        word, why = reason("claude", hook("claude", event("PreToolUse", "Write", "s-1", file_path=f"{top}/prod/x"))[1])
        check("hooks: decides for a hook outside", word == "deny" and "[rule no-prod]" in why, why)
        blocked("but not for another agent's", hook("codex", event("PreToolUse", "Bash", "s-2", command="ls")))
    finally:
        process.terminate()
        process.wait()
        subprocess.run(["rm", "-rf", str(top)], check=False)


RUNNING = {}
