"""`authz policy learn`: a session that was observed becomes a policy, under which the same works in enforce, and what was
not done before is denied still.
"""

import json
import os
import shutil
import socket

import harness
from harness import check, skip
from native import BARE, Place, identities

BASE = """
allow contains {{"id": "read", "reason": "the system"}} if {{
	reads
	not under(input.resource.id, "{top}")
}}

allow contains {{"id": "run", "reason": "programs of the system"}} if {{
	executes
	not under(input.resource.id, "{top}")
}}

deny contains {{"id": "prod", "reason": "no change of production"}} if {{
	writes
	under(input.resource.id, "{top}/prod")
}}
"""

# What it does, one word each, and how that went.
WORK = """
import errno, json, os, socket, subprocess, sys

top, port, done = sys.argv[1], int(sys.argv[2]), {}

def attempt(name, act):
    try:
        act()
        done[name] = "fine"
    except OSError as error:
        done[name] = errno.errorcode[error.errno]

def write(name):
    with open(f"{top}/{name}", "w") as file:
        file.write("text")

def connect(port):
    with socket.socket() as sock:
        sock.settimeout(10)
        sock.connect(("127.0.0.1", port))

for word in sys.argv[3:]:
    if word == "out":
        for name in "abcd":
            attempt(f"out/{name}", lambda: write(f"out/{name}"))
        attempt("rename", lambda: os.rename(f"{top}/out/a", f"{top}/out/e"))
        attempt("delete", lambda: os.unlink(f"{top}/out/e"))
    elif word == "data":
        for name in "abc":
            attempt(f"data/{name}", lambda: open(f"{top}/data/{name}").close())
    elif word == "one":
        attempt("one/a", lambda: open(f"{top}/one/a").close())
    elif word == "random":
        for name in ("tmpa1b2c3d4", "tmpz9y8x7w6"):
            attempt(f"random/{name}", lambda: os.mkdir(f"{top}/random/{name}"))
            attempt(f"random/{name}/f", lambda: write(f"random/{name}/f"))
    elif word == "program":
        attempt("program", lambda: subprocess.run([f"{top}/tool"], check=True))
    elif word == "connect":
        attempt("connect", lambda: connect(port))
    elif word == "prod":
        attempt("prod", lambda: write("prod/x"))
    elif word == "other":
        attempt("other write", lambda: write("new/x"))
        attempt("other read", lambda: open(f"{top}/one/b").close())
        attempt("other program", lambda: subprocess.run([f"{top}/other"], check=True))
        attempt("other port", lambda: connect(port + 1 if port < 65535 else port - 1))
        attempt("other random", lambda: write("random/named"))
print(json.dumps(done))
"""
WORDS = ["out", "data", "one", "random", "program", "connect"]


def tree(place, owner):
    top = place.fresh("learn")
    for name in ("out", "data", "one", "random", "prod", "new"):
        (top / name).mkdir()
    for name in "abc":
        (top / "data" / name).write_text("text")
        (top / "one" / name).write_text("text")
    for name in ("tool", "other"):
        (top / name).write_text("#!/bin/sh\nexit 0\n")
        (top / name).chmod(0o755)
    for path in [top, *top.rglob("*")]:
        os.chown(path, owner, owner)
    return top


class Case:
    """One identity's sessions, on one record."""

    def __init__(self, place, identity, port):
        self.place, self.identity, self.port = place, identity, port
        self.authz, self.state = str(place.tools / "authz"), place.top / "state"
        self.fresh()
        shutil.rmtree(self.state, ignore_errors=True)
        self.state.mkdir()
        os.chown(self.state, *2 * [0 if "--user" in identity.options else identity.owner])

    def fresh(self):
        self.top = tree(self.place, self.identity.owner)

    def work(self, policies, words, *options):
        """What went well, and what not."""
        argv = ["/usr/bin/python3", "-c", WORK, str(self.top), str(self.port), *words]
        line = self.identity.bound(argv, [str(policy) for policy in policies], "--state", str(self.state), *options,
                                   authz=self.authz)
        done = harness.finish(line, 60, {"HOME": self.place.home}, "/")
        try:
            return json.loads(done.stdout)
        except ValueError:
            return {"error": done.stderr}

    def ask(self, *arguments):
        return harness.finish([*self.identity.before, self.authz, "policy", *arguments], 60, None, "/")


def round_trip(place, identity, port):
    case = Case(place, identity, port)
    named = lambda what: f"learn, {identity.name}, {what}"
    base = place.tools / "base.rego"
    base.write_text("package authz\n" + BASE.format(top=case.top))
    done = case.work([base], [*WORDS, "prod"], "--mode", "observe")
    if not check(named("everything works while it is observed"), set(done.values()) == {"fine"}, done):
        return
    case.fresh()
    done = case.work([base], WORDS)
    check(named("nothing of it in enforce"), done and "fine" not in done.values(), done)

    done = case.ask("learn", "--state", str(case.state), "--json")
    if not check(named("a policy is learned"), done.returncode == 0, done):
        return
    learned = json.loads(done.stdout)
    learned_file = place.tools / "learned.rego"
    learned_file.write_text(learned["policy"])
    print(learned["policy"] if os.environ.get("NATIVE_KEEP") else "", end="")
    rules = "\n".join(line for line in learned["policy"].splitlines() if not line.strip().startswith("#"))
    top = str(case.top)
    check(named("folders, files and patterns"),
          all(line in rules for line in (f'"{top}/out",', f'"{top}/data",', f'"{top}/one/a",', f'"{top}/random/tmp*",',
                                         f'"{top}/random/tmp*/f",', f'"{top}/tool",', f'"tcp://127.0.0.1:{port}",')), rules)
    check(named("what a rule denies is named only"),
          f"{top}/prod" not in rules and [denied["rules"] for denied in learned["denied"]] == [["prod"]], learned["denied"])
    checked = case.ask("check", str(base), str(learned_file))
    check(named("what was learned is sound"), checked.returncode == 0, checked)
    check(named("with it all that was learned from is allowed"),
          learned["allowed"] + learned["covered"] + sum(denied["operations"] for denied in learned["denied"])
          == learned["operations"] and learned["allowed"] > 20, {**learned, "policy": ""})

    case.fresh()
    done = case.work([base, learned_file], WORDS)
    check(named("the same works in enforce"), done and set(done.values()) == {"fine"}, done)
    done = case.work([base, learned_file], ["prod", "other"])
    check(named("what was not done before does not"), len(done) == 6 and set(done.values()) == {"EACCES"}, done)

    out = place.tools / "written.rego"
    out.unlink(missing_ok=True)
    place.tools.chmod(0o777)
    done = case.ask("learn", "--state", str(case.state), "-o", str(out))
    # The sessions in enforce are on record too by now.
    check(named("into a file"), done.returncode == 0 and not done.stdout and out.exists() and "rules learned" in done.stderr, done)
    done = case.ask("learn", "--state", str(case.state), "-o", str(out))
    check(named("never over one that a person may have edited"), done.returncode == 1 and done.stderr.count("\n") == 1, done)


def run():
    if BARE:
        skip("learn", "there is nothing on record without authz")
        return
    with Place() as place, socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        for identity in identities()[:2]:
            round_trip(place, identity, server.getsockname()[1])
            place.tools.chmod(0o755)
