"""A recorded session of more than 10,000 decisions is decided again: the same comes out, a changed rule changes exactly
what it is about, and a changed entry is found.
"""

import json
import os
import shutil
import sys

import harness
from harness import check, skip
from native import BARE, Place, identities

FILES = 3500
SECRETS = 400

POLICY = """
deny contains {{"id": "prod", "reason": "forbidden"}} if under(input.resource.id, "{top}/prod")

escalate contains {{"id": "held", "reason": "a human decides"}} if under(input.resource.id, "{top}/held")

allow contains {{"id": "rest", "reason": "everything else"}} if not startswith(input.action.name, "system.")
"""
# The one rule more.
STRICTER = """
deny contains {{"id": "evens", "reason": "no longer"}} if glob(input.resource.id, "{top}/free/even-*")
"""
TIMED = """
allow contains {"id": "now", "reason": sprintf("at %d", [time.now_ns()])} if true
"""

# Creates, reads, renames, deletes, is refused, and asks nobody who answers.
WORK = """
import os, sys

top, files, secrets = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
name = lambda number: f"{top}/free/{('even', 'odd')[number % 2]}-{number}"
for number in range(files):
    with open(name(number), "w") as file:
        file.write("text")
refused = 0
for number in range(files):
    open(name(number)).close()
    if number % 3 == 0:
        os.rename(name(number), name(number) + ".old")
    elif number % 3 == 1:
        os.unlink(name(number))
for number in range(2 * secrets):
    try:
        open(f"{top}/prod/secret-{number % secrets}").close()
    except PermissionError:
        refused += 1
try:
    open(f"{top}/held/file").close()
except PermissionError:
    refused += 1
print(refused)
"""


class Recorded:
    """One session on record, of one identity."""

    def __init__(self, place, identity, rules, argv, *options):
        self.identity, self.authz, self.state = identity, str(place.tools / "authz"), place.top / "state"
        shutil.rmtree(self.state, ignore_errors=True)
        self.state.mkdir()
        os.chown(self.state, *2 * [0 if "--user" in identity.options else identity.owner])
        line = identity.bound(argv, str(rules), "--state", str(self.state), *options, authz=self.authz)
        self.done = harness.finish(line, 300, {"HOME": place.home}, str(place.top))

    def ask(self, *arguments):
        argv = [*self.identity.before, self.authz, *arguments, "--state", str(self.state), "--json"]
        return harness.finish(argv, 120, None, "/")

    def entries(self):
        done = self.ask("ledger", "list", "--limit", "0")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def replay(self, *arguments):
        """The status and the report."""
        done = self.ask("replay", *arguments)
        try:
            return done.returncode, json.loads(done.stdout)
        except ValueError:
            return done.returncode, {"error": done.stderr}


def tree(place, owner):
    top = place.fresh("replay")
    for name in ("free", "prod", "held"):
        (top / name).mkdir()
    for number in range(SECRETS):
        (top / "prod" / f"secret-{number}").write_text("text")
    (top / "held" / "file").write_text("text")
    for path in [top, *top.rglob("*")]:
        os.chown(path, owner, owner)
    return top


def rules(place, name, text):
    file = place.tools / f"{name}.rego"
    file.write_text(f"package authz\n\n{text}\n")
    return file


def whole(place, identity):
    """More than 10,000 decisions: replayed by their own policy, and by one with one rule more."""
    top = tree(place, identity.owner)
    named = lambda what: f"replay, {identity.name}, {what}"
    own, stricter = POLICY.format(top=top), STRICTER.format(top=top)
    argv = [sys.executable, "-c", WORK, str(top), str(FILES), str(SECRETS)]
    recorded = Recorded(place, identity, rules(place, "own", own), argv, "--audit-each", "--hold-timeout", "1s")
    if not check(named("the session runs"), recorded.done.stdout.strip() == str(2 * SECRETS + 1), recorded.done):
        return
    entries = recorded.entries()
    decisions = [entry for entry in entries if entry["kind"] == "decision"]
    check(named("10,000 decisions are on record"), len(decisions) >= 10_000, len(decisions))
    by_table = sum(entry["decided_by"] == "supervisor" for entry in decisions)
    check(named("some of them by the table"), by_table >= SECRETS, by_table)

    status, report = recorded.replay()
    check(named("all come out as recorded"), status == 0 and report["different"]["entries"] == 0, (status, report))
    check(named("none but the human's is left out"), set(report["not_compared"]) == {"human"}, report["not_compared"])
    # Some verdicts of the table are only counted, in entries of their own.
    same = len(decisions) + sum(entry["kind"] == "remembered" for entry in entries)
    check(named("every decision is among them"), report["same"]["entries"] == same, (report["same"], same))
    counted = same + sum(entry["kind"] in ("answer", "gap") for entry in entries)
    check(named("each entry is counted once"), report["entries"] == counted, (report["entries"], counted))

    even = [entry for entry in decisions if entry["resource"]["id"].startswith(f"{top}/free/even-")]
    status, report = recorded.replay("--policy", str(rules(place, "stricter", own + stricter)))
    other = report["other"]
    changes = [(change["before"]["effect"], change["after"]["effect"], change["after"]["rules"], change["entries"])
               for change in other["changes"]]
    check(named("one rule more changes exactly what it is about"),
          status == 0 and changes == [("allow", "deny", ["evens"], len(even))], (changes, len(even)))
    check(named("and nothing else"), other["unchanged"]["entries"] == same - len(even), other["unchanged"])
    status, report = recorded.replay("--policy", str(rules(place, "own", own)))
    check(named("the same policy changes nothing"), status == 0 and report["other"]["changes"] == [], report["other"])
    changed(recorded, named)


def changed(recorded, named):
    """Somebody edits the file of the ledger: not the hashes, which he would have to find in it all."""
    edited = 0
    for path in (path for path in recorded.state.rglob("*") if path.is_file() and "bundles" not in path.parts):
        before = path.read_bytes()
        after = before.replace(b"/prod/secret-7\"", b"/prod/public-7\"")
        if after != before:
            path.write_bytes(after)
            edited += 1
    if not edited:
        skip(named("a changed entry is found"), "the ledger holds no plain text to change")
        return
    status, report = recorded.replay()
    named_it = [difference for difference in report.get("differences", [])
                if difference["what"] == "input" and difference["resource"].endswith("/prod/public-7")]
    check(named("a changed entry is found"), status == 1 and (named_it or "error" in report), (status, report))


def small(place, identity):
    """A policy that reads the clock, and a policy that is gone."""
    named = lambda what: f"replay, {identity.name}, {what}"
    recorded = Recorded(place, identity, rules(place, "timed", TIMED), ["cat", "/etc/hostname", "/etc/hostname"])
    status, report = recorded.replay()
    check(named("what the clock showed is seen again"),
          status == 0 and report["same"]["entries"] > 5 and not report["not_compared"], (status, report))
    for file in recorded.state.glob("bundles/*"):
        file.write_text(file.read_text().replace('\\"now\\"', '\\"new\\"'))
    status, report = recorded.replay()
    check(named("a changed policy is no success"), status == 1 and "policy" in report["not_compared"], (status, report))


def run():
    if BARE:
        skip("replay", "there is nothing to replay without authz")
        return
    with Place() as place:
        every = identities()
        whole(place, every[0])
        for identity in every:
            small(place, identity)
