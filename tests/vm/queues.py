"""POSIX message queues, files without a path, decided before they are made, opened or removed."""

import harness
from harness import check

POLICY = """
allow contains {"id": "rest", "reason": "the rest"} if not startswith(input.resource.id, "anon:mqueue:no-")
allow contains {"id": "reads", "reason": "reads"} if input.action.name == "file.read"
"""

SCRIPT = r"""
import ctypes, errno, os, sys
LIBC = ctypes.CDLL(None, use_errno=True)

def syscall(*args):
    result = LIBC.syscall(*(ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args))
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result

def opened(name, flags):
    number = syscall(240, name.encode(), flags, 0o600, 0)
    kept = os.get_inheritable(number)
    os.close(number)
    assert not kept

def removed(name):
    syscall(241, name.encode())

CREAT, EXCL = os.O_CREAT, os.O_EXCL
steps = [("new", opened, f"{sys.argv[1]}free", os.O_RDWR | CREAT | EXCL), ("not new", opened, f"{sys.argv[1]}free", CREAT | EXCL),
         ("write", opened, f"{sys.argv[1]}free", os.O_WRONLY), ("remove", removed, f"{sys.argv[1]}free"),
         ("gone", opened, f"{sys.argv[1]}free", os.O_RDONLY), ("no name", opened, "", os.O_RDONLY), ("a slash", opened, "a/b", CREAT),
         ("long", opened, "n" * 256, CREAT),
         ("no-: new", opened, f"no-{sys.argv[1]}", os.O_RDWR | CREAT | EXCL), ("no-: make or open", opened, f"no-{sys.argv[1]}", os.O_RDWR | CREAT),
         ("no-: missing", opened, f"no-{sys.argv[1]}", os.O_RDONLY),
         ("no-there: read", opened, f"no-there{sys.argv[1]}", os.O_RDONLY), ("no-there: read, make", opened, f"no-there{sys.argv[1]}", CREAT),
         ("no-there: write", opened, f"no-there{sys.argv[1]}", os.O_WRONLY),
         ("no-there: not new", opened, f"no-there{sys.argv[1]}", CREAT | EXCL), ("no-there: remove", removed, f"no-there{sys.argv[1]}")]
if sys.argv[2] == "make":
    os.umask(0)
    os.close(syscall(240, f"no-there{sys.argv[1]}".encode(), CREAT | os.O_RDWR, 0o666, 0))
elif sys.argv[2] == "clean":
    for name in (f"no-there{sys.argv[1]}", f"no-{sys.argv[1]}"):
        try:
            removed(name)
        except OSError:
            pass
else:
    for what, act, *args in steps:
        try:
            act(*args)
            print(what, "ok", sep="\t")
        except OSError as error:
            print(what, errno.errorcode[error.errno], sep="\t")
"""

WANTED = {"new": "ok", "not new": "EEXIST", "write": "ok", "remove": "ok", "gone": "ENOENT", "no name": "ENOENT", "a slash": "EACCES",
          "long": "ENAMETOOLONG", "no-: new": "EACCES", "no-: make or open": "EACCES", "no-: missing": "ENOENT",
          "no-there: read": "ok", "no-there: read, make": "ok", "no-there: write": "EACCES", "no-there: not new": "EEXIST",
          "no-there: remove": "EACCES"}
BARE = {**WANTED, "no-: new": "ok", "no-: make or open": "ok", "no-: missing": "ok", "no-there: write": "ok", "no-there: remove": "ok"}


def run(who="root", **options):
    """Bare first, then under authz: nothing of what is denied has happened."""
    def script(mode):
        return ["/usr/bin/python3", "-c", SCRIPT, who, mode]

    def outcomes(done):
        return dict(line.split("\t") for line in done.stdout.splitlines() if "\t" in line)

    name = f"queues, {who}"
    for bound in (False, True):
        harness.bare(script("clean"))
        if harness.bare(script("make")).returncode:
            harness.skip(name, "there are no message queues")
            return
        done = harness.authz_exec(POLICY, script("run"), **options) if bound else harness.bare([*harness.before, *script("run")])
        got, wanted = outcomes(done), dict(WANTED if bound else BARE)
        if bound and options.get("user") and options.get("backend") != "seccomp":
            # The kernel refuses a stranger before it asks the LSM programs.
            wanted["no-there: remove"] = "EPERM"
        if not bound and options.get("user"):
            # Only its owner, root, removes it.
            got["no-there: remove"] = "ok"
        for what in wanted:
            check(f"{name}, {what}: {wanted[what]}{'' if bound else ', bare'}", got.get(what) == wanted[what], (got.get(what), done.stderr[-300:]))
    left = harness.bare(["sh", "-c", "mkdir -p /tmp/queues && mount -t mqueue none /tmp/queues && ls /tmp/queues; umount /tmp/queues; rmdir /tmp/queues"])
    check(f"{name}: what was denied is not there, what could not be removed is",
          left.stdout.split() == [f"no-there{who}"], left)
    harness.bare(script("clean"))
