"""Claude Code, Codex and Gemini CLI themselves, with the hook that `authz install` wrote, against a model on loopback that
calls tools: what policy denies does not happen, and the model is told why. Fetches from npm, so by name only."""

import json
import os
import pathlib
import subprocess
import tempfile

import control
import harness
from harness import check, skip
from model import Model
from native import BARE

CACHE = pathlib.Path(__file__).resolve().parents[2] / "target/agents"
PACKAGES = ["@anthropic-ai/claude-code@2.1.330", "@openai/codex@0.169.0", "@google/gemini-cli@0.61.0"]
POLICY = """
compute contains {"id": "drafts", "rewrite": {"path": "%(top)s/work/moved"}} if {
	writes
	under(input.resource.id, "%(top)s/drafts")
}

deny contains {"id": "prod", "reason": "Agents do not write production files.", "advice": "Write to work."} if {
	writes
	under(input.resource.id, "%(top)s/prod")
}

allow contains {"id": "rest"} if true
"""


def installed():
    """The folder of the agents' programs."""
    CACHE.mkdir(parents=True, exist_ok=True)
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(CACHE), *PACKAGES], check=True)
    return CACHE / "node_modules/.bin"


class Agent:
    """One agent in folders of its own. `steps`: writes by its own tool to prod, work and drafts, and one to prod by a shell."""

    def __init__(self, name, programs, top):
        self.name, self.top, self.program = name, top, str(programs / name)
        for folder in ("prod", "work", "drafts", "home"):
            (top / folder).mkdir(parents=True)
        self.home, self.prod, self.work = top / "home", top / "prod", top / "work"
        self.env = {"PATH": os.environ["PATH"], "HOME": str(self.home), "TERM": "xterm-256color", "LANG": "C.UTF-8"}
        self.steps = [self.write(self.prod / "x"), self.write(self.work / "x"), self.write(self.top / "drafts/x"),
                      self.shell(f"echo x > {self.prod}/y")]

    def write(self, path):
        if self.name == "codex":
            return "apply_patch", f"*** Begin Patch\n*** Add File: {path}\n+x\n*** End Patch\n"
        tool = "Write" if self.name == "claude" else "write_file"
        return tool, {"file_path": str(path), "content": "x"}

    def shell(self, command):
        if self.name == "codex":
            return "exec_command", {"cmd": command}
        if self.name == "claude":
            return "Bash", {"command": command, "description": "a shell"}
        return "run_shell_command", {"command": command}

    def settings(self):
        """How Gemini logs in, which authz has to leave in place."""
        if self.name == "gemini":
            (self.home / ".gemini").mkdir(exist_ok=True)
            settings = {"security": {"auth": {"selectedType": "gemini-api-key"}}}
            (self.home / ".gemini/settings.json").write_text(json.dumps(settings))

    def install(self, *options):
        self.settings()
        return subprocess.run([harness.AUTHZ, "install", self.name, *options], env=self.env, capture_output=True, text=True,
                              check=False, timeout=60)

    def argv(self, model):
        if self.name == "claude":
            self.env |= {"ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": "none",
                         "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}
            return [self.program, "-p", "go", "--allowedTools", "Write,Bash", "--add-dir", str(self.top)]
        if self.name == "codex":
            self.env |= {"MODEL_KEY": "none"}
            provider = f'{{name="local",base_url="{model.url}/v1",wire_api="responses",env_key="MODEL_KEY"}}'
            return [self.program, "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox",
                    "--dangerously-bypass-hook-trust", "-m", "gpt-5.5", "-c", "model_provider=local",
                    "-c", f"model_providers.local={provider}", "go"]
        self.env |= {"GEMINI_API_KEY": "none", "GOOGLE_GEMINI_BASE_URL": model.url, "GEMINI_CLI_TRUST_WORKSPACE": "true"}
        return [self.program, "-p", "go", "--yolo", "-m", "gemini-2.5-flash", "--include-directories", str(self.top)]

    def run(self, model, before=()):
        return subprocess.run([*before, *self.argv(model)], cwd=self.work, env=self.env, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False, timeout=240)


def common(where, agent, model, done):
    """What holds with the hook alone, and in a session."""
    told = f"{where}: {agent.name}"
    said = (model.results(), model.strange, done.stdout[-1500:], done.stderr[-1500:])
    if not check(f"{told} gets to its end", done.returncode == 0 and len(model.results()) == len(agent.steps), said):
        return False
    check(f"{told}: its own tool does not write what is denied", not (agent.prod / "x").exists())
    check(f"{told}: the model is told why", "Agents do not write production files. Write to work. [rule prod]"
          in model.results()[0], model.results()[0])
    check(f"{told}: what is allowed happens", (agent.work / "x").exists()
          and (agent.work / "x").read_text().strip() == "x", model.results()[1])
    check(f"{told}: what would be drafted is not there", not (agent.top / "drafts/x").exists())
    # A patch cannot be rewritten.
    moved = (agent.work / "moved").exists() if agent.name != "codex" else "cannot be rewritten" in model.results()[2]
    check(f"{told}: but where policy has it, or denied", moved, model.results()[2])
    return True


def bare(agent, _state):
    """Without authz all of it happens, so that what does not happen below is authz's doing."""
    agent.settings()
    with Model(agent.steps) as model:
        done = agent.run(model)
    there = [(agent.top / name).exists() for name in ("prod/x", "work/x", "drafts/x", "prod/y")]
    check(f"bare: {agent.name} does all of it", there == [True] * 4, (there, done, model.results()))


def outside(agent, state):
    """The hook alone, with the policy in the settings."""
    policy = harness.policy_file(POLICY % {"top": agent.top})
    done = agent.install("--policy", policy)
    check(f"hook alone: authz install {agent.name}", done.returncode == 0, done)
    agent.env["XDG_STATE_HOME"] = str(state)
    agent.steps.pop()
    with Model(agent.steps) as model:
        common("hook alone", agent, model, agent.run(model))
    os.unlink(policy)
    again = agent.work / "again"
    with Model([agent.write(again)]) as model:
        done = agent.run(model)
    check(f"hook alone: {agent.name}: without its policy nothing is written, and the model hears of it",
          not again.exists() and len(model.results()) == 1 and "authz" in model.results()[0], (done, model.results()))


def inside(agent, state):
    """In a session of `authz exec`: the hook finds it, and what a shell hides is denied beneath."""
    done = agent.install()
    check(f"session: authz install {agent.name}", done.returncode == 0, done)
    policy = harness.policy_file(POLICY % {"top": agent.top})
    before = [harness.AUTHZ, "exec", "--backend", "seccomp", "--quiet", "--policy", policy, "--state", str(state), "--"]
    with Model(agent.steps) as model:
        if not common("session", agent, model, agent.run(model, before)):
            return
        last = json.dumps(model.requests[-1][0])
    name = agent.name
    check(f"session: {name}: a shell does not write it either", not (agent.prod / "y").exists())
    check(f"session: {name}: and the model is told of that, too",
          f"{agent.prod}/y: Agents do not write production files. Write to work. [rule prod" in last, last[-3000:])
    entries = control.ledger("--state", str(state))
    calls = [entry["resource"]["id"] for entry in entries if entry.get("action") == "tool.call"]
    wanted = [f"{name}/{ {'exec_command': 'Bash'}.get(tool, tool) }" for tool, _ in agent.steps]
    check(f"session: {name}: each call is in the ledger", calls == wanted, (calls, wanted))
    beneath = [entry for entry in entries if entry.get("resource", {}).get("id") == f"{agent.prod}/y"
               and entry["kind"] == "decision" and entry["result"]["effect"] == "deny"]
    check(f"session: {name}: the shell's write is attributed to its call, for certain",
          beneath and {entry["attribution"] for entry in beneath} == {"exact"}, beneath)
    shown = harness.authz("trace", "--state", str(state), entries[0]["session"])
    check(f"session: {name}: authz trace shows both", shown.returncode == 0 and f"{agent.prod}/y" in shown.stdout
          and all(tool in shown.stdout for tool in wanted), shown)


def run():
    if BARE:
        skip("agents_real", "it needs authz")
        return
    programs = installed()
    with tempfile.TemporaryDirectory(prefix="agents-real-", ignore_cleanup_errors=True) as folder:
        for part in (bare, outside, inside):
            for name in ("claude", "codex", "gemini"):
                top = pathlib.Path(folder) / f"{part.__name__}-{name}"
                part(Agent(name, programs, top), top / "state")
