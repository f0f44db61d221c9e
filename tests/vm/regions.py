"""Random policies, as agent/tests/regions writes them, and real operations under each: what happened, much of it
decided from memory, is what a fresh evaluation of the policy says."""

import collections
import errno
import json
import os
import pathlib
import random
import shutil
import socket
import subprocess
import tempfile
import time

import control
import harness
from harness import check

# Written by `cargo test -p authz --test regions`, which `cargo xtask test` runs first.
WRITTEN = control.HERE.parent.parent / "target/tmp/regions.json"
COUNT = 1_600
SEED = 20240301
NAME = "one"
ACTIONS = {"r": "file.read", "w": "file.write", "c": "file.create", "d": "file.delete", "s": "file.setattr",
           "m": "file.rename", "u": "net.connect", "t": "net.connect", "e": "net.connect"}


class Tree:
    """Files, folders and sockets below a folder, by the names to try."""

    def __init__(self, top, names, choose):
        names = sorted({name.rstrip("/") for name in names})
        above = {str(parent) for name in names for parent in pathlib.PurePosixPath(name).parents}
        self.folders = [name for name in names if name in above]
        leaves = [name for name in names if name not in above]
        self.sockets = {name for name in leaves if len(name.encode()) < 100 and choose.random() < 0.1}
        self.files = [name for name in leaves if name not in self.sockets]
        for name in names:
            pathlib.Path(name if name in above else os.path.dirname(name)).mkdir(parents=True, exist_ok=True)
        self.bound = []
        for name in self.sockets:
            bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            bound.bind(name)
            self.bound.append(bound)
        self.there = {name: choose.random() < 0.7 for name in self.files}
        for name in (name for name, there in self.there.items() if there):
            pathlib.Path(name).touch()

    def close(self):
        for bound in self.bound:
            bound.close()


def operations(tree, addresses, choose):
    """Random ones: (what, name, other name or None)."""
    found = []
    places = tree.files * 6 + tree.folders * 2 + sorted(tree.sockets) * 3 + list(map(tuple, addresses)) * 2
    while len(found) < COUNT:
        place = choose.choice(places)
        if isinstance(place, tuple):
            found.append(("t" if place[0] == "tcp" else "e", place[1], str(place[2])))
        elif place in tree.sockets:
            found.append(("u", place, None))
        elif place in tree.there:
            what = choose.choice("rrrwwwcdsm")
            found.append((what, place, choose.choice(tree.files) if what == "m" else None))
        else:
            found.append((choose.choice("rs"), place, None))
    return found


def inputs(operation, there):
    """What the policy decides about for it, one or two."""
    what, name, other = operation
    if what in "te":
        protocol, host = ("tcp" if what == "t" else "udp"), (f"[{name}]" if ":" in name else name)
        known = {"ip": name, "port": int(other), "protocol": protocol, "family": "ipv6" if ":" in name else "ipv4"}
        yield "address", f"{protocol}://{host}:{other}", known
    elif what == "u":
        yield "address", f"unix:{name}", {}
    else:
        known = {"exists": True, "nlink": 1} if there.get(name, True) else {"exists": False}
        if what == "m":
            yield "file", name, {**known, "role": "source", "target": other}
            yield "file", other, {"exists": False, "role": "target", "source": name}
        else:
            yield "file", name, known


class Fresh:
    """Effects by evaluations outside of any session, each action and resource once."""

    def __init__(self, policy, tried):
        keys = collections.OrderedDict()
        for operation in tried:
            # Only what is there is asked about, but for what is to be made.
            for kind, id, known in inputs(operation, {operation[1]: operation[0] != "c"}):
                keys[operation[0], id, known.get("role")] = (kind, known)
        lines = [json.dumps({"subject": {"type": "agent", "id": NAME, "properties": {"uid": 0}},
                             "action": {"name": ACTIONS[what], "properties": {"syscall": "x"}},
                             "resource": {"type": kind, "id": id, "properties": known},
                             "context": {"layer": "kernel", "mode": "enforce"}})
                 for (what, id, _), (kind, known) in keys.items()]
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write("\n".join(lines))
            file.flush()
            out = harness.authz("policy", "eval", policy, "--input", file.name, "--json", timeout=120).stdout
        effects = [json.loads(line)["decision"]["effect"] for line in out.splitlines()]
        self.effects = dict(zip(keys, effects, strict=True))

    def allows(self, operation):
        return all(self.effects[operation[0], id, known.get("role")] == "allow"
                   for _, id, known in inputs(operation, {operation[1]: operation[0] != "c"}))


def expected(tree, tried, fresh):
    """Of each operation in turn whether it is denied, or the errno that it has before it is decided."""
    there = dict(tree.there)
    for operation in tried:
        what, name, other = operation
        if name in there and what in "rwdsm" and not there[name]:
            yield errno.ENOENT
        elif what == "c" and there[name]:
            yield errno.EEXIST
        elif what == "m" and there[other]:
            yield None
        elif not fresh.allows(operation):
            yield errno.EACCES
        else:
            if what in "cd":
                there[name] = what == "c"
            if what == "m":
                there[name], there[other] = False, True
            yield 0


def agrees(what, number, want):
    if what in "te" and want == 0:
        return number not in (errno.EACCES, 255)  # no such network: it was tried
    return number == want


class Session:
    """One session for all policies, each of them its policy for a while."""

    def __init__(self, program, flags):
        self.policy, self.program, self.flags, self.process = control.folder(), program, flags, None

    def take(self, rego, team, data):
        """Puts a policy in force. An error is one of the test."""
        for name, text in {"p.rego": rego, "team.rego": team or "package authz\n", "data.json": data}.items():
            (self.policy / name).write_text(text)
        if self.process is None:
            self.process = harness.authz_start(str(self.policy), [self.program], json=True, name=NAME, **self.flags)
            self.lines = control.Lines(self.process)
            control.wait(lambda: control.session(NAME), 60)
            self.id = control.session(NAME)[1]["session"]
            return None
        done = harness.authz("reload", "--session", self.id)
        return done.stderr if done.returncode else None

    def do(self, lines, out):
        self.process.stdin.write(f"{lines} {out}\n")
        self.process.stdin.flush()
        return self.lines.take(1, 120).strip()

    def finish(self):
        """Its summary."""
        self.process.stdin.close()
        errors = self.process.stderr.read().splitlines()
        self.process.wait(60)
        return next((json.loads(line)["summary"] for line in errors if '"summary"' in line), {})


def one(number, case, session, choose):
    """Tries a policy; counts of operations, of those that are denied, and what came out otherwise."""
    top = control.folder()
    real = lambda text: text.replace("/@TOP@", str(top))
    refused = session.take(real(case["rego"]), case["team"], real(json.dumps(case["data"])))
    if refused:
        return 0, 0, [f"policy {number}: {refused}"]
    tree = Tree(top, map(real, case["names"]), choose)
    tried = operations(tree, case["addresses"], choose)
    fresh = Fresh(str(session.policy), tried)
    # A rename onto what is there removes it too: left out.
    wanted = [(operation, want) for operation, want in zip(tried, expected(tree, tried, fresh)) if want is not None]
    # What begins like the folder would be judged by the policy.
    lines, out = (top.parent / f"{kind}-{top.name}" for kind in ("lines", "done"))
    lines.write_text("".join("\t".join(filter(None, operation)) + "\n" for operation, _ in wanted))
    said = session.do(lines, out)
    done = out.read_bytes() if out.exists() else b""
    tree.close()
    wrong = [f"policy {number}: {operation} gave {got}, expected {want}"
             for (operation, want), got in zip(wanted, done) if not agrees(operation[0], got, want)]
    if said != str(len(wanted)) or len(done) != len(wanted):
        wrong.append(f"policy {number}: {said!r} of {len(wanted)} were done, {len(done)} are told of")
    denied = sum(want == errno.EACCES for _, want in wanted)
    shutil.rmtree(top)
    return len(done), denied, wrong


def run(**flags):
    """`flags`: more options of `authz exec`."""
    if not check("regions: there are policies", WRITTEN.exists(), "run: cargo test -p authz --test regions"):
        return
    choose = random.Random(SEED)
    program = str(control.folder() / "operations")
    subprocess.run(["gcc", "-O2", "-static", "-o", program, str(control.HERE / "regions.c")], check=True)
    session, total, wrong = Session(program, flags), collections.Counter(), []
    start = time.monotonic()
    cases = json.loads(WRITTEN.read_text())
    for number, case in enumerate(cases):
        done, denied, differ = one(number, case, session, choose)
        total.update(done=done, denied=denied)
        wrong += differ
    summary = session.finish()
    total.update(remembered=summary.get("remembered", 0), failed=summary.get("failed", 1))
    print(f"# regions: {dict(total)} under {len(cases)} policies in {time.monotonic() - start:.0f} s")
    check("regions: 20,000 operations were done", total["done"] >= 20_000, total)
    check("regions: each came out as a fresh evaluation says", not wrong, f"{len(wrong)}: {wrong[:5]}")
    check("regions: some were denied, some were not", total["done"] // 10 < total["denied"] < total["done"] * 9 // 10, total)
    check("regions: many were decided from memory", total["remembered"] > total["done"] * 2 // 5, total)
    check("regions: none by the fail direction", total["failed"] == 0, total)
