"""One operation of each action, and the fields that the ledger has about it: tests/cases/fields.json, the same for both
back ends. FIELDS_WRITE=1 writes that file anew from what is seen."""

import json
import os
import pathlib
import socket
import subprocess

from harness import check

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "cases" / "fields.json"

SCRIPT = r"""
import os, signal, socket, sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import probe_file, probe_process
from probe_process import OPS
top, victim, port = sys.argv[2], sys.argv[3], int(sys.argv[4])

def connect(address):
    with socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX) as one:
        one.connect(address)

def bind():
    with socket.socket() as one:
        one.bind(("127.0.0.2", port))

acts = [lambda: probe_file.read(f"{top}/read"), lambda: probe_file.write(f"{top}/write"),
        lambda: os.close(os.open(f"{top}/created", os.O_WRONLY | os.O_CREAT | os.O_EXCL)), lambda: os.unlink(f"{top}/deleted"),
        lambda: os.rename(f"{top}/old", f"{top}/new"), lambda: os.link(f"{top}/source", f"{top}/linked"),
        lambda: os.chmod(f"{top}/attributes", 0o640), lambda: OPS["run"](f"{top}/script"), lambda: OPS["ptrace"](victim),
        lambda: os.kill(int(victim), signal.SIGCONT), lambda: connect(("127.0.0.1", port)), lambda: connect(f"{top}/socket"), bind,
        lambda: OPS["mount"](f"{top}/mount"), lambda: OPS["unshare"]("0x10000000"), lambda: OPS["unshare"]("0x4000000"),
        OPS["bpf"], OPS["perf"], OPS["init_module"], OPS["io_uring"], lambda: OPS["socket"]("2", "3", "1"),
        lambda: OPS["socket"]("16", "3", "15")]
for act in acts:
    try:
        act()
    except OSError as error:
        print(error)
"""


class Stage:
    """Fresh files, a process outside and a server; `about` says what (action, resource) the script acts on."""

    def __init__(self, top, owner=0):
        self.top = pathlib.Path(top)
        for name in ("read", "write", "deleted", "old", "source", "attributes"):
            (self.top / name).write_text("text\n")
        (self.top / "script").write_text("#!/bin/sh\n")
        (self.top / "script").chmod(0o755)
        (self.top / "mount").mkdir(exist_ok=True)
        self.servers = [socket.socket(), socket.socket(socket.AF_UNIX)]
        for server, address in zip(self.servers, [("127.0.0.1", 0), f"{top}/socket"]):
            server.bind(address)
            server.listen()
        self.port = self.servers[0].getsockname()[1]
        for path in [self.top, *self.top.iterdir()]:
            os.chown(path, owner, owner)
        self.victim = subprocess.Popen(["setpriv", f"--reuid={owner}", f"--regid={owner}", "--clear-groups", "sleep", "1000"])
        files = {"file.read": ["read"], "file.write": ["write"], "file.create": ["created"], "file.delete": ["deleted"],
                 "file.rename": ["old", "new"], "file.link": ["source", "linked"], "file.setattr": ["attributes"], "process.exec": ["script"]}
        self.about = [(action, f"{top}/{name}") for action, names in files.items() for name in names]
        self.about += [("process.exec", os.path.realpath("/bin/sh"))]
        self.about += [(action, str(self.victim.pid)) for action in ("process.ptrace", "process.signal")]
        self.about += [("net.connect", f"tcp://127.0.0.1:{self.port}"), ("net.connect", f"unix:{top}/socket"),
                       ("net.bind", f"tcp://127.0.0.2:{self.port}")]
        self.about += [("system.mount", "mount"), ("system.userns", "userns"), ("system.namespace", "namespace"), ("system.bpf", "bpf"),
                       ("system.perf", "perf_event_open"), ("system.module", "kernel_load_data"), ("system.io_uring", "io_uring"),
                       ("system.raw_socket", "raw"), ("system.socket", "netlink:15")]

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.victim.kill()
        self.victim.wait()
        for server in self.servers:
            server.close()

    def argv(self, python):
        return [python, "-c", SCRIPT, str(pathlib.Path(__file__).parent), str(self.top), str(self.victim.pid), str(self.port)]

    def rules(self, effect):
        """All is allowed, but for the script's operations if `effect` is deny."""
        # Told apart by name, so that no verdict about another resource serves: each has a decision of its own.
        names = json.dumps(sorted({pair[1] for pair in self.about}), indent=1)
        allow = 'allow contains {"id": "rest", "reason": "r"} if '
        rest = f"{allow}is(input.resource.id, {names})\n\n{allow}not is(input.resource.id, {names})\n"
        if effect == "allow":
            return rest
        # Else the interpreter would not be come to.
        pairs = [pair for pair in self.about if pair[0] != "process.exec" or pair[1].endswith("sh")]
        listed = json.dumps([list(pair) for pair in pairs], indent=1)  # a line of a policy has an end
        return f'deny contains {{"id": "listed", "reason": "r"}} if [input.action.name, input.resource.id] in {listed}\n\n{rest}'

    def seen(self, entries, effect):
        """The fields of the first decision about each, by `EFFECT ACTION PART`."""
        found = {}
        for entry in entries:
            if entry["kind"] != "decision" or entry["result"]["effect"] != effect:
                continue
            if (entry["action"], entry["resource"]["id"]) in self.about and entry["decided_by"] == "policy":
                found.setdefault(f"{effect} {entry['action']} {part(entry)}".rstrip(), sorted(paths(entry)))
                if entry["input"]["resource"].get("properties", {}) != entry["resource"].get("properties", {}):
                    check(f"fields: {entry['action']}: the policy saw what is recorded of the object", False, entry)
        return found


def part(entry):
    """Which of several of one action it is."""
    resource = entry["resource"]["id"]
    if entry["action"] == "process.exec":
        return "script" if resource.endswith("/script") else "interpreter"
    if entry["action"] == "net.connect":
        return resource.partition(":")[0]
    return entry["resource"].get("properties", {}).get("role", "")


def paths(value, prefix=""):
    """The names of all fields, with those of objects within, by dots."""
    for name, inner in value.items():
        if prefix + name == "input.resource":  # the same once more
            continue
        yield prefix + name
        if isinstance(inner, dict):
            yield from paths(inner, f"{prefix}{name}.")


def compare(suite, found):
    """Against the golden file, which has what every entry has once."""
    every = sorted(set.intersection(*map(set, found.values()))) if found else []
    plain = {"every entry": every} | {key: [name for name in names if name not in every] for key, names in sorted(found.items())}
    if os.environ.get("FIELDS_WRITE"):
        GOLDEN.write_text(json.dumps(plain, indent=1) + "\n")
    golden = json.loads(GOLDEN.read_text())
    for key in sorted(golden.keys() | plain.keys()):
        expected, got = set(golden.get(key, [])), set(plain.get(key, []))
        check(f"{suite}: {key}", key in plain and expected == got,
              {"missing": sorted(expected - got), "more": sorted(got - expected), "seen": key in plain})
