"""What the modules tests/native/test_*.py share, beside tests/vm/harness.py: who runs the programs, and where.

NATIVE_BARE=1 runs everything without authz, to see that the tests themselves give the same result twice.
"""

import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile

import harness

HERE = pathlib.Path(__file__).resolve().parent
BARE = bool(os.environ.get("NATIVE_BARE"))
SEED = int(os.environ.get("FSDIFF_SEED", 20261121))
USER = "nobody"
UID = pwd.getpwnam(USER).pw_uid
GID = pwd.getpwnam(USER).pw_gid
# A group of the user's beside its own, which owns some of the files.
GROUP = 1234
# What enforces; a module that runs elsewhere sets another one.
BACKEND = "seccomp"
# One that every user can execute.
PYTHON = os.path.realpath("/usr/bin/python3")
ALLOW = 'allow contains {"id": "all", "reason": "everything"} if true'

# What the agents of some tests, programs in a text, do: ask at their session's socket, and write below `top`.
ACTS = """
import json, os, socket

def ask(**fields):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(60)
        sock.connect(os.environ["AUTHZ_SOCKET"])
        sock.sendall(json.dumps(fields).encode() + b"\\n")
        return json.loads(sock.makefile().readline())

def write(name):
    try:
        with open(f"{top}/{name}", "w") as file:
            file.write("text")
    except PermissionError:
        pass
"""


def compiled(name, program, *flags):
    """Compiles tests/native/NAME.c."""
    subprocess.run(["gcc", "-O2", "-o", str(program), str(HERE / f"{name}.c"), "-lpthread", *flags], check=True)
    return str(program)


class Identity:
    """Who runs a program: `before` makes a process that one, `options` has authz do it."""

    def __init__(self, name, uid, before, options=(), bare=None):
        self.name, self.owner, self.before, self.options = name, uid, before, list(options)
        self.bare_before = before if bare is None else bare

    def bare(self, argv):
        return [*self.bare_before, *argv]

    def bound(self, argv, policy, *more, authz="/tools/authz"):
        """Under authz; `policy` is a file or several."""
        if BARE:
            return self.bare(argv)
        policies = [policy] if isinstance(policy, str) else policy
        line = [authz, "exec", "--backend", BACKEND, "--quiet", *self.options, *more]
        for one in policies:
            line += ["--policy", one]
        return [*self.before, *line, "--", *argv]


def setpriv(*groups):
    return ["setpriv", f"--reuid={UID}", f"--regid={GID}", *groups, "--"]


def identities():
    """Root, a user, and a user whom root's authz runs; without root, only who runs this."""
    if os.getuid():
        return [Identity("who runs this", os.getuid(), [])]
    return [Identity("root", 0, []),
            Identity("user", UID, setpriv(f"--groups={GID},{GROUP}")),
            Identity("root for a user", UID, [], ["--user", USER], setpriv("--init-groups"))]


class Place:
    """A temporary folder that every user can reach, with `tools` (authz and what is compiled) in it."""

    def __enter__(self):
        self.top = pathlib.Path(tempfile.mkdtemp(prefix="native-"))
        self.top.chmod(0o711)
        self.tools = self.fresh("tools")
        self.home = self.fresh("home")
        self.home.chmod(0o777)
        if not BARE:
            shutil.copy(shutil.which("authz"), self.tools / "authz")
        return self

    def __exit__(self, *failure):
        if not os.environ.get("NATIVE_KEEP"):
            subprocess.run(["rm", "-rf", str(self.top)], check=False)

    def fresh(self, name):
        """An empty folder."""
        folder = self.top / name
        subprocess.run(["rm", "-rf", str(folder)], check=True)
        folder.mkdir()
        folder.chmod(0o755)
        return folder

    def policy(self, text):
        """The file of a policy of these rules, among the tools."""
        file = self.tools / "policy.rego"
        file.write_text(f"package authz\n\n{text}\n")
        return file

    def sandboxed(self, argv, work, timeout):
        """Runs `argv` in a root of its own, where `work` is /w and the tools are /tools."""
        return harness.finish([str(HERE / "sandbox.sh"), str(work), str(self.tools), *argv], timeout, None, None)
