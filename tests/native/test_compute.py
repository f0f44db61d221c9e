"""A rule's `compute` does something else instead: another file, another address; and never what was forbidden."""

import socket
import threading

from native import BARE, PYTHON, Place, identities
from trial import REST, Trial, decisions

REWRITE = """
compute contains {{"id": "elsewhere", "reason": "r", "rewrite": {rewrite}}} if {{
	{condition}
	is(trim_prefix(input.resource.id, "unix:"), "{resource}")
}}

"""


def rewrite(condition, resource, instead):
    return REWRITE.format(condition=condition, resource=resource, rewrite=instead) + REST


def files(trial):
    real = trial.folder("real", read="real\n", write="real\n")
    fake = trial.folder("fake", read="fake\n", write="", make="", other="other\n")
    cases_ = [("read", ["cat", f"{real}/read"], "reads", "file.read", "fake\n"),
              ("write", ["sh", "-c", f"echo new > {real}/write"], "writes", "file.write", ""),
              ("make", ["sh", "-c", f"echo new > {real}/make"], "writes", "file.create", "")]
    for name, argv, condition, action, printed in cases_:
        rules = rewrite(condition, f"{real}/{name}", f'{{"path": "{fake}/{name}"}}')
        done, entries = trial.run(rules, argv)
        trial.check(f"{name}: the other file", (done.returncode, done.stdout) == (0, printed), done)
        made = decisions(entries, action, f"{real}/{name}")
        seen = [(entry["result"]["effect"], entry["requested_id"], entry["enforced_id"]) for entry in made if "enforced_id" in entry]
        trial.check(f"{name}: requested and enforced are recorded",
                    seen == [("compute", f"{real}/{name}", f"{fake}/{name}")], made)
        trial.check(f"{name}: what was done instead is decided and recorded too", decisions(entries, None, f"{fake}/{name}"), entries)
    trial.check("the real files stay as they were", (real / "read").read_text() == "real\n" == (real / "write").read_text()
                and not (real / "make").exists())
    trial.check("the others were written", (fake / "write").read_text() == "new\n" == (fake / "make").read_text())
    denied = f'deny contains {{"id": "other", "reason": "r"}} if is(input.resource.id, "{fake}/other")\n\n'
    done, _ = trial.run(denied + rewrite("reads", f"{real}/read", f'{{"path": "{fake}/other"}}'), ["cat", f"{real}/read"])
    trial.check("what is forbidden is not reached by a rewrite", done.returncode and not done.stdout, done)
    twice = rewrite("reads", f"{real}/read", f'{{"path": "{fake}/read"}}').replace(REST, "") + \
        rewrite("reads", f"{fake}/read", f'{{"path": "{fake}/other"}}')
    done, _ = trial.run(twice, ["cat", f"{real}/read"])
    trial.check("a rewrite leads to no further one", done.returncode and not done.stdout, done)


def malformed(trial):
    """Each is a deny, with the reason in the record."""
    real = trial.folder("real", read="real\n")
    for rewritten, said in [('{"path": "relative"}', "is not absolute"), ('{"path": 7}', 'has no "path"'),
                            ('{"address": "tcp://127.0.0.1:1"}', 'has no "path"'), ('"/tmp"', 'has no "path"'),
                            ("null", "rewrite")]:
        done, entries = trial.run(rewrite("reads", f"{real}/read", rewritten), ["cat", f"{real}/read"])
        found = [entry for entry in decisions(entries, "file.read", f"{real}/read")]
        trial.check(f"the rewrite {rewritten} is a deny", done.returncode and not done.stdout, done)
        trial.check(f"the rewrite {rewritten}: the record says why",
                    found and found[0]["result"]["effect"] == "deny" and said in str(found[0]["causes"]), found)
    done, entries = trial.run(rewrite("executes", "/usr/bin/true", '{"path": "/usr/bin/false"}'), ["sh", "-c", "/usr/bin/true"])
    found = decisions(entries, "process.exec", "/usr/bin/true")
    trial.check("no other program is executed: a deny", done.returncode == 126 and found
                and "not available" in str(found[0]["causes"]), (done, found))
    for address in ("tcp://127.0.0.1", "unix:/tmp/x", "nonsense", "tcp://nonsense:1"):
        rules = REWRITE.format(condition="connects", resource="tcp://127.0.0.1:9", rewrite=f'{{"address": "{address}"}}') + REST
        done, _ = trial.run(rules, connecting("tcp", "127.0.0.1:9"))
        trial.check(f"the address {address} is a deny", done.stdout.strip() == "EACCES", done)


CONNECT = """
import errno, socket, sys
kind, address = sys.argv[1:]
client = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
client.settimeout(20)
host, _, port = address.rpartition(":")
try:
    client.connect(address if kind == "unix" else (host, int(port)))
    print(client.recv(99).decode())
except OSError as error:
    print(errno.errorcode.get(error.errno, error))
"""


def connecting(kind, address):
    return [PYTHON, "-c", CONNECT, kind, address]


class Greeter:
    """A server that says its name to whoever connects, and counts them."""

    def __init__(self, name, address=None):
        self.server = socket.socket(socket.AF_UNIX if address else socket.AF_INET)
        self.server.bind(address or ("127.0.0.1", 0))
        self.server.listen()
        self.address = address or "127.0.0.1:%d" % self.server.getsockname()[1]
        self.name, self.seen = name, 0
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            client, _ = self.server.accept()
            self.seen += 1
            client.sendall(self.name.encode())
            client.close()


def addresses(trial):
    top = trial.folder("sockets")
    for kind, prefix in [("tcp", "tcp://"), ("unix", "unix:")]:
        one, other = (Greeter(name, f"{top}/{name}" if kind == "unix" else None) for name in ("one", "other"))
        if kind == "unix":
            for greeter in (one, other):
                (top / greeter.name).chmod(0o777)
        rules = rewrite("connects", one.address if kind == "unix" else f"tcp://{one.address}", f'{{"address": "{prefix}{other.address}"}}')
        done, entries = trial.run(rules, connecting(kind, one.address))
        trial.check(f"connect, {kind}: the other server", done.stdout.strip() == "other" and not one.seen, (done, one.seen))
        found = [(entry["requested_id"], entry["enforced_id"]) for entry in decisions(entries, "net.connect") if "enforced_id" in entry]
        trial.check(f"connect, {kind}: requested and enforced are recorded",
                    found == [(f"{prefix}{one.address}", f"{prefix}{other.address}")], found)


def run():
    if BARE:
        return
    with Place() as place:
        for identity in identities():
            trial = Trial(place, identity, "compute")
            files(trial)
            malformed(trial)
            addresses(trial)
