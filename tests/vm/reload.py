"""A session whose policy and mode change while it runs: the same for both back ends, and for whoever runs it."""

import json
import pathlib
import shutil

import control
import harness
from harness import check

AGENT = """
import subprocess, sys

def attempt(word, path):
    if word == "shell":
        return subprocess.run(["/bin/sh", "-c", ': > "$1"', "sh", path], stderr=subprocess.DEVNULL).returncode and 13
    if word == "run":
        return subprocess.run([path, "reload"], stderr=subprocess.DEVNULL).returncode
    try:
        open(path, word).close()
    except OSError as error:
        return error.errno
    return 0

for line in sys.stdin:
    print(attempt(*line.split()), flush=True)
"""
ALL = 'allow contains {"id": "rest", "reason": "r"} if not startswith(input.action.name, "system.")\n'


def rule(effect, name, folder, condition="writes"):
    return f'{effect} contains {{"id": "{name}", "reason": "r"}} if {{ {condition}; under(input.resource.id, "{folder}") }}\n'


class Running:
    """A session of an agent that does what it is told, and its policy's folder."""

    def __init__(self, name, rules, home=None, **flags):
        self.top, self.env, self.by = control.folder("a", "b", "c"), {"HOME": home} if home else {}, harness.before
        self.policy = self.top / "policy"
        self.policy.mkdir(mode=0o755)
        self.write(rules)
        agent = self.top / "agent.py"
        agent.write_text(AGENT)
        python = shutil.which("python3", path="/usr/bin:/bin")
        self.process = harness.authz_start(str(self.policy), [python, str(agent)], env=self.env, name=name,
                                           hold_timeout="90s", **flags)
        self.lines = control.Lines(self.process)
        self.id = None
        if check(f"{name}: the agent runs", self.do("r", self.top / "a" / "a") == "0"):
            views = json.loads(self.authz("sessions", "--json").stdout)
            self.id = next(view["session"] for view in views if view["name"] == name)

    def write(self, *rules):
        """Another policy on the disk."""
        (self.policy / "p.rego").write_text("package authz\n\n" + "\n".join(rules))
        (self.policy / "p.rego").chmod(0o644)

    def begin(self, word, path):
        self.process.stdin.write(f"{word} {path}\n")
        self.process.stdin.flush()

    def end(self):
        return self.lines.take(1, control.SLOW).strip()

    def do(self, word, path):
        self.begin(word, path)
        return self.end()

    def authz(self, *words):
        return harness.finish([*self.by, harness.AUTHZ, *words], control.SLOW, self.env, "/")

    def reload(self, *rules):
        """Another policy: what came of it."""
        if rules:
            self.write(*rules)
        done = self.authz("reload", "--session", self.id, "--json")
        return json.loads(done.stdout) if done.returncode == 0 else {"error": done.stderr}

    def pending(self):
        views = json.loads(self.authz("pending", "--json").stdout or "[]")
        return next((view["id"] for view in views if view["session"] == self.id), None)

    def held(self, path):
        """Has the agent begin what a human is asked about; the question's id."""
        self.begin("w", path)
        return control.wait(self.pending)

    def finish(self):
        self.process.stdin.close()
        self.process.wait(timeout=control.SLOW)
        listed = self.authz("ledger", "list", "--json", "--limit", "0", "--session", self.id)
        return [json.loads(line) for line in listed.stdout.splitlines()]


def run(backend="bpf-lsm", before=(), home=None):
    """As root, or as a user by the command `before`, whose home folder is `home`."""
    harness.before = list(before)
    who = f"reload, {'a user' if before else 'root'}"
    try:
        running = Running(f"reloaded-{'user' if before else 'root'}", ALL, home, backend=backend)
        if running.id:
            policies(running, who)
            remembered_by_program(running, who)
            holds(running, who)
            modes(running, who)
            record(running, who)
    finally:
        harness.before = []


def policies(running, who):
    top = running.top
    file = top / "a" / "a"
    check(f"{who}: allowed, the second time by what is remembered", [running.do("w", file) for _ in range(2)] == ["0", "0"])
    done = running.reload()
    check(f"{who}: the same policy changes nothing", done.get("from") == done.get("to") is not None, done)

    running.first = done.get("from")
    done = running.reload(ALL, rule("deny", "no-a", top / "a"))
    running.second = done.get("to")
    check(f"{who}: a reload says from which policy to which", done.get("from") == running.first != running.second, done)
    difference = done.get("difference") or {}
    check(f"{who}: and what changed", difference.get("rules") == {"added": ["deny no-a"]}
          and difference.get("files") == {"changed": ["policy/p.rego"]}, done)
    check(f"{who}: what was remembered as allowed is denied", [running.do("w", file) for _ in range(2)] == ["13", "13"])
    check(f"{who}: the rest is as before", running.do("r", file) == "0")

    for name, text in [("a broken policy", 'deny contains {"id": } if true'), ("one with a rule nobody reads", "denny := true")]:
        done = running.reload(ALL, text)
        error = done.get("error", "")
        check(f"{who}: {name} is refused in one line with the place", error.startswith("authz: the policy stays as it was (")
              and error.count("\n") == 1 and "p.rego:" in error, done)
        check(f"{who}: {name} leaves the last good one in force", running.do("w", file) == "13")
    gone = running.authz("reload", "--session", running.id, "--policy", str(top / "none"))
    check(f"{who}: a policy that is not there too", gone.returncode == 1 and "stays as it was" in gone.stderr
          and running.do("w", file) == "13", gone)
    other = running.authz("reload", "--session", "0193b1f2-6a54-7cc1-8d2e-1f6b0c0e4a11")
    check(f"{who}: a session that is not live is said so", other.returncode == 1 and "is live" in other.stderr, other)
    check(f"{who}: a process of the session cannot", running.do("run", shutil.which("authz") or harness.AUTHZ) != "0")

    running.write(ALL)
    shown = running.authz("reload", "--session", running.id)
    check(f"{who}: the report for eyes", shown.returncode == 0 and "rules - deny no-a\n" in shown.stdout, shown)
    check(f"{who}: what was remembered as denied is allowed", running.do("w", file) == "0")


def remembered_by_program(running, who):
    """The policy before did not look at the program, so that all shared what was remembered."""
    shell = pathlib.Path("/bin/sh").resolve()
    running.reload(ALL, rule("deny", "no-shell", running.top / "c", f'input.subject.properties.exe == "{shell}"'))
    file = running.top / "c" / "a"
    found = [running.do(word, file) for word in ("w", "shell", "w", "shell", "w")]
    check(f"{who}: a policy that looks at the program remembers for each one", found == ["0", "13", "0", "13", "0"], found)


def holds(running, who):
    ask, file = rule("escalate", "ask", running.top / "b"), running.top / "b" / "a"
    for effect, errno in (("allow", "0"), ("deny", "13")):
        running.reload(ALL, ask)
        first = running.held(file)
        done = running.reload(ALL, rule(effect, "other", running.top / "b"))
        check(f"{who}: what waits is decided again: {effect}", first and done.get("settled") == {"again": 1, "denied": 0}
              and running.end() == errno and not running.pending(), done)
    running.reload(ALL, ask)
    first = running.held(file)
    running.reload(ALL, ask, rule("deny", "else", running.top / "a"))
    second = running.pending()
    check(f"{who}: or waits on, under another id", first and second and first != second, (first, second))
    answered = running.authz("approve", second or "none", "--for", "session")
    check(f"{who}: and can be answered", answered.returncode == 0 and running.end() == "0", answered)
    check(f"{who}: what was approved for the session is not asked again", running.do("w", file) == "0")
    running.reload(ALL, ask)
    view = running.held(file)
    check(f"{who}: of another policy it is", view)
    running.authz("deny", view or "none")
    check(f"{who}: and denied", running.end() == "13")


def modes(running, who):
    file, held = running.top / "a" / "b", running.top / "b" / "b"
    running.reload(ALL, rule("deny", "no-a", running.top / "a"), rule("escalate", "ask", running.top / "b"))

    def mode(name):
        return running.authz("mode", running.id, name).returncode

    check(f"{who}: enforce denies", running.do("w", file) == "13")
    view = running.held(held)
    check(f"{who}: observe lets go what waits", view and mode("observe") == 0 and running.end() == "0")
    check(f"{who}: and blocks nothing", [running.do("w", file) for _ in range(2)] == ["0", "0"])
    check(f"{who}: enforce again denies", mode("enforce") == 0 and running.do("w", file) == "13")


def record(running, who):
    entries = running.finish()
    uid = 0 if "root" in who else int(running.by[1].partition("=")[2])
    switches = [entry for entry in entries if entry["kind"] == "policy_changed"]
    details = [entry["detail"] for entry in switches]
    check(f"{who}: each switch is on record, with who did it", len(switches) >= 9
          and {detail["by"] for detail in details} == {f"uid {uid}"}, details)
    chained = all(old["to"] == new["from"] for old, new in zip(details, details[1:]))
    check(f"{who}: from one policy to the next", chained and (details[0]["from"], details[0]["to"]) ==
          (running.first, running.second), details)
    check(f"{who}: an entry has the policy that decided", all(
        entry["policy"] in {detail["from"] for detail in details} | {details[-1]["to"]} for entry in entries)
        and [entry["policy"] for entry in switches] == [detail["from"] for detail in details])
    modes = [(entry["detail"]["from"], entry["detail"]["to"], entry["detail"]["by"])
             for entry in entries if entry["kind"] == "mode_changed"]
    check(f"{who}: the switches of mode too", modes == [("enforce", "observe", f"uid {uid}"),
                                                       ("observe", "enforce", f"uid {uid}")], modes)
    again = [id for detail in details for id in detail["decided_again"]]
    check(f"{who}: and what was decided again", len(again) == 3, again)
    replayed = running.authz("replay", "--session", running.id, "--json")
    report = json.loads(replayed.stdout or "{}")
    check(f"{who}: replay agrees over all switches", replayed.returncode == 0 and report["different"]["entries"] == 0
          and report["same"]["entries"] > 20 and set(report["not_compared"]) <= {"human", "failsafe"}, (replayed.stderr, report))
