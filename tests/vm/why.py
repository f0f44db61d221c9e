"""`authz policy why`: what a live session would decide, by which rule and from which memory; asking changes nothing. The
same for both back ends.
"""

import json
import os

import control
import harness
import reload
from harness import check

RULES = """
deny contains {{"id": "secret", "reason": "not for agents", "advice": "ask"}} if {{
	reads
	under(input.resource.id, "{top}/c")
}}

escalate contains {{"id": "held", "reason": "a human decides"}} if {{
	writes
	under(input.resource.id, "{top}/b")
}}

allow contains {{"id": "once", "constraints": {{"max_uses": 1}}}} if {{
	input.action.name == "file.create"
	is(input.resource.id, "{top}/a/once")
}}

allow contains {{"id": "rest"}} if not startswith(input.action.name, "system.")
"""


class Asked(reload.Running):
    """A session that is asked about while it runs."""

    def __init__(self, name, **flags):
        super().__init__(name, reload.ALL, **flags)

    def why(self, action, resource, *more, before=None):
        argv = [*(self.by if before is None else before), harness.AUTHZ, "policy", "why", action, str(resource)]
        return harness.finish([*argv, *map(str, more)], control.SLOW, self.env, str(self.top))

    def answer(self, action, resource):
        done = self.why(action, resource, "--session", self.id[:18], "--json")
        try:
            return json.loads(done.stdout)
        except ValueError:
            return {"error": done.stderr}

    def seen(self):
        """What the session has counted, and its entries on record."""
        views = json.loads(self.authz("sessions", "--json").stdout)
        stats = next(view["stats"] for view in views if view["session"] == self.id)
        listed = self.authz("ledger", "list", "--session", self.id, "--limit", "0", "--json").stdout.splitlines()
        return stats, [json.loads(line) for line in listed]


def rules(answer):
    return [rule["id"] for rule in answer.get("rules", [])]


def run(backend=None, before=(), home=None):
    harness.before = list(before)
    try:
        ask(backend, home)
    finally:
        harness.before = []


def ask(backend, home):
    flags = {"backend": backend} if backend else {}
    asked = Asked("asked", home=home, **flags)
    if not asked.id:
        return
    top, named = asked.top, lambda what: f"why, {backend or 'lsm'}, {'a user' if asked.by else 'root'}: {what}"
    asked.reload(RULES.format(top=top))
    table = "supervisor" if backend == "seccomp" else "kernel"
    (top / "link").symlink_to(top / "c" / "a")

    check(named("an operation happens"), asked.do("r", top / "a" / "a") == "0")
    found = asked.answer("file.read", top / "a" / "b")
    known = found.get("known") or {}
    check(named("a neighbour is known from it"), known.get("allow") is True and known.get("table") == table, found)
    source = known.get("from") or {}
    reach = source.get("reach", {}).get("text", "")
    check(named("and how far that goes is said"), reach.startswith(("everything ", "every path")), found)
    stats, entries = asked.seen()
    origin = [entry for entry in entries if entry["decision_id"] == source.get("decision_id")]
    check(named("the evaluation is on record, about the resource that is named"),
          any(entry["kind"] == "decision" and entry["resource"]["id"] == source.get("resource") for entry in origin),
          (source, origin))

    found = asked.answer("file.read", "link")
    at = [place["file"] + ":" + str(place["line"]) for rule in found.get("rules", []) for place in rule["at"]]
    check(named("a link leads to the rule that denies, with its place"),
          (found.get("effect"), found.get("resource"), found.get("through"), rules(found))
          == ("deny", f"{top}/c/a", f"{top}/link", ["secret"]) and at == [f"{asked.policy}/p.rego:4"], (found, at))
    check(named("nothing of that was known"), found.get("known") is None, found)
    check(named("it is as it is said"), asked.do("r", top / "c" / "a") == "13")
    found = asked.answer("file.read", top / "c" / "a")
    check(named("and known then as a deny"), (found.get("known") or {}).get("allow") is False, found)

    stats, entries = asked.seen()
    found = asked.answer("file.write", "b/a")
    check(named("what would be held is not held"), found.get("effect") == "escalate" and rules(found) == ["held"], found)
    check(named("nobody is asked"), control.pending(f"{top}/b/a") == [], control.pending())
    for _ in range(3):
        found = asked.answer("file.create", "a/once")
        check(named("a limit is not used up by asking"), found.get("effect") == "allow" and found["memory"]["reach"] is None, found)
    now, later = asked.seen()
    check(named("asking is no operation, and not on record"),
          now["operations"] == stats["operations"] and len(later) == len(entries), (stats, now, len(entries), len(later)))
    check(named("the limit is used up by doing"), asked.do("x", top / "a" / "once") == "0")
    found = asked.answer("file.create", "a/once")
    check(named("which is said then"), found.get("effect") == "deny" and "used up" in found.get("cause", ""), found)

    for action, resource, effect in [("process.exec", "/bin/sh", "allow"), ("net.connect", "tcp://192.0.2.1:80", "allow"),
                                     ("system.mount", "/mnt", "deny"), ("net.connect", "unix:@x", "allow")]:
        found = asked.answer(action, resource)
        real = os.path.realpath(resource) if resource.startswith("/") else resource
        check(named(f"{action} of {resource}"), (found.get("effect"), found.get("resource")) == (effect, real), found)

    done = asked.why("file.read", "c/a", "--session", asked.id)
    check(named("in words"), done.returncode == 0 and done.stdout.startswith(f"deny  file.read {top}/c/a\n")
          and f"at {asked.policy}/p.rego:4:" in done.stdout, done)
    asked.authz("mode", asked.id, "observe")
    found = asked.answer("file.read", "c/a")
    check(named("in observe it says what would be denied"), (found.get("mode"), found.get("effect")) == ("observe", "deny"), found)
    asked.authz("mode", asked.id, "enforce")
    asked.reload(reload.ALL + "# not the one that it began with\n")
    found = asked.answer("file.read", "c/a")
    check(named("another policy knows nothing of before"), found.get("known") is None and found.get("effect") == "allow", found)

    done = asked.why("file.read", "c/a", "--session", "ffff0000")
    check(named("a session that is not there is an error"), done.returncode == 125 and "ffff0000" in done.stderr, done)
    if os.getuid() == 0 and not asked.by:
        other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
        done = asked.why("file.read", "/etc/hosts", "--session", asked.id, before=other)
        check(named("another user may not ask"), done.returncode == 125 and "no session" in done.stderr, done)
    done = asked.why("file.write", "/etc/hosts", "preset:prod-readonly", "--json")
    check(named("without a session the named policies say"), json.loads(done.stdout or "{}").get("effect") == "allow", done)
    done = asked.why("file.write", "/etc/hosts", "preset:none")
    check(named("a policy that is not there is an error"), done.returncode == 125 and done.stderr.count("\n") == 1, done)
    asked.finish()
