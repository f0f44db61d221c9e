"""One identity with a folder of its own, how to run something there under a policy, and the record that it leaves."""

import json
import os
import subprocess

import harness
from harness import check

REST = 'allow contains {"id": "rest", "reason": "everything else"} if true'


class Trial:
    """`top` is the identity's folder; `state` holds the ledgers."""

    def __init__(self, place, identity, suite):
        self.place, self.identity, self.suite = place, identity, suite
        self.authz = str(place.tools / "authz")
        self.top = place.fresh("trial")
        self.state = place.fresh("state")
        self.runs = 0
        for path in (self.top, self.state):
            os.chown(path, identity.owner, identity.owner)
        if identity.options:
            os.chown(self.state, 0, 0)

    def folder(self, name, **files):
        """A folder of the identity's with files of these texts."""
        folder = self.top / name
        folder.mkdir(exist_ok=True)
        for file, text in files.items():
            (folder / file).write_text(text)
        for path in [folder, *folder.iterdir()]:
            os.chown(path, self.identity.owner, self.identity.owner)
        return folder

    def argv(self, rules, argv, *options, state=None):
        """The command line; `rules` is Rego, or several of Rego, presets and files."""
        policies = []
        for number, one in enumerate([rules] if isinstance(rules, str) else rules):
            if "\n" in one or " " in one:
                file = self.place.tools / f"rules-{self.runs}-{number}.rego"
                file.write_text(f"package authz\n\n{one}\n")
                one = str(file)
            policies.append(one)
        self.runs += 1
        return self.identity.bound(argv, policies, "--state", str(state or self.state), *options, authz=self.authz)

    def run(self, rules, argv, *options, timeout=60, state=None):
        """To its end: (the finished process, the decisions of its ledger)."""
        before = self.entries(state)
        argv = self.argv(rules, argv, *options, state=state)
        done = harness.finish(argv, timeout, {"HOME": self.place.home}, str(self.top))
        return done, self.entries(state)[len(before):]

    def start(self, rules, argv, *options, state=None, **more):
        """The same, while it runs."""
        env = harness.environment({"HOME": self.place.home})
        return subprocess.Popen(self.argv(rules, argv, *options, state=state), env=env, cwd=str(self.top), text=True,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)

    def bare(self, argv, timeout=60):
        return harness.finish(self.identity.bare(argv), timeout, None, str(self.top))

    def entries(self, state=None):
        """Everything in the ledger, the oldest first."""
        done = harness.finish([self.authz, "ledger", "list", "--json", "--limit", "0", "--state", str(state or self.state)], 60, None, None)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def check(self, what, condition, detail=""):
        return check(f"{self.suite}, {self.identity.name}, {what}", condition, detail)

    def skip(self, what, why):
        harness.skip(f"{self.suite}, {self.identity.name}, {what}", why)


def decisions(entries, action=None, resource=None):
    """Those about an action and a resource."""
    return [entry for entry in entries if entry["kind"] in ("decision", "answer")
            and action in (None, entry.get("action")) and resource in (None, entry["resource"]["id"])]


def failures(entries):
    """(action, syscall, causes, enforced) of what was decided by the fail direction."""
    return [(entry["action"], entry.get("syscall"), entry["causes"], entry["enforced"])
            for entry in entries if entry.get("decided_by") == "failsafe"]
