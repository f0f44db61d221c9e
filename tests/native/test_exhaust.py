"""What is used up, and what comes from elsewhere: processes, the disk of the ledger, descriptors, mappings."""

import array
import contextlib
import os
import shutil
import socket
import subprocess
import threading

from native import BARE, PYTHON, Place, compiled, identities
from trial import REST, Trial



def denied(folder, condition=""):
    """All is allowed, but for what is in the folder."""
    return f'deny contains {{"id": "prod", "reason": "r"}} if {{ {condition}under(input.resource.id, "{folder}") }}\n\n{REST}'


def bomb(trial, program):
    """Processes without end, as far as the limit goes."""
    free, prod = (trial.folder(name, file="text\n") for name in ("free", "prod"))
    rules = denied(prod)
    argv = [program, "bomb", "400", str(free / "file"), str(prod / "file")]
    bare = counts(trial.bare(argv))
    done, entries = trial.run(rules, argv, timeout=120)
    bound = counts(done)
    trial.check("a fork bomb: bare, all is opened", bare.get("opened", 0) >= 200 and bare["forbidden"] == bare["opened"], bare)
    trial.check("a fork bomb: it ends, what is allowed works, nothing forbidden does",
                done.returncode == 0 and bound.get("opened", 0) >= 200 and bound["forbidden"] == 0, done)
    denials = [entry for entry in entries if entry.get("result", {}).get("effect") == "deny"]
    trial.check("a fork bomb: each denial is recorded", len(denials) >= bound.get("opened", 0), (len(denials), bound))
    done, _ = trial.run(rules, ["cat", str(free / "file")])
    trial.check("after a fork bomb another session works", done.stdout == "text\n", done)


def counts(done):
    words = done.stdout.split()
    return {name: int(number) for name, number in zip(words[::2], words[1::2])}


@contextlib.contextmanager
def small(trial):
    """A folder for ledgers with room for some 10,000 entries."""
    state = trial.place.fresh("small")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16M,mode=700", "small", str(state)], check=True)
    try:
        os.chown(state, trial.state.stat().st_uid, -1)
        yield state
    finally:
        subprocess.run(["umount", str(state)], check=True)


def disk(trial, program):
    """A ledger that has no room: nothing new is allowed, since it could not be recorded."""
    if os.getuid():
        trial.skip("a full disk", "to mount takes root")
        return
    stops = ("the ledger stops", "No space left")
    free = trial.folder("many")
    with small(trial) as state:
        done, entries = trial.run(REST, [program, "many", "20000", str(free)], state=state, timeout=120)
        made = counts(done)
        trial.check("a full disk: then all is denied, and it is said", done.returncode == 0 and made.get("ok", 0) > 100
                    and made["denied"] > 1000 and not made["others"] and all(text in done.stderr for text in stops), done)
        # An allow does not wait for the disk, so the last ones before it was full may not be there: those of 50 ms, of a
        # second or so that it takes to fill it.
        recorded = {entry["resource"]["id"] for entry in entries if entry.get("action") == "file.create"}
        there = {str(path) for path in free.iterdir()}
        lost = sorted(int(os.path.basename(path)) for path in there - recorded)
        trial.check("a full disk: in the record is all that was made, but for the last moment before it was full",
                    len(there) == made.get("ok") and len(lost) < len(recorded)
                    and lost == list(range(made["ok"] - len(lost), made["ok"])), (len(there), len(recorded), lost[:5]))
        with contextlib.suppress(OSError), open(state / "rest", "wb", buffering=0) as rest:
            while rest.write(bytes(4096)) == 4096:
                pass
        done, _ = trial.run(REST + " # another", ["true"], state=state)
        trial.check("a full disk: a session that cannot record does not start, and says why",
                    done.returncode == 125 and stops[1] in done.stderr, done)
    shutil.rmtree(free)
    with small(trial) as state:
        argv = [program, "many", "20000", str(trial.folder("many"))]
        done, _ = trial.run(REST, argv, "--mode", "observe", state=state, timeout=120)
        trial.check("a full disk, observe: nothing is blocked, and it is said", counts(done).get("ok") == 20000
                    and all(text in done.stderr for text in stops), done)
    shutil.rmtree(free)


RECEIVER = r"""
import array, errno, fcntl, os, socket, sys
def tried(name, act):
    try:
        act()
        print(name, "ok", sep=":")
    except OSError as error:
        print(name, errno.errorcode[error.errno], sep=":")
def received():
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(sys.argv[1])
        _, control, _, _ = one.recvmsg(9, 99)
        return array.array("i", control[0][2])[0]
try:
    fd = received()
except OSError as error:
    print("receive", errno.errorcode[error.errno], sep=":")
    sys.exit()
tried("write", lambda: os.write(fd, b"x"))
tried("cut", lambda: os.ftruncate(fd, 0))
tried("mode", lambda: os.fchmod(fd, 0o777))
tried("again", lambda: os.open(f"/proc/self/fd/{fd}", os.O_WRONLY))
tried("inherited", lambda: os.fstat(int(sys.argv[2])))
"""


def elsewhere(trial):
    """Descriptors: those from before are closed; one that an outside server sends is as good as that server."""
    prod, top = trial.folder("prod", file="text\n"), trial.folder("free")
    server = socket.socket(socket.AF_UNIX)
    server.bind(f"{top}/server")
    os.chmod(f"{top}/server", 0o777)
    server.listen()
    fd = os.open(prod / "file", os.O_RDWR)
    threading.Thread(target=hand_out, args=[server, fd], daemon=True).start()
    inherited = os.dup(fd)
    os.set_inheritable(inherited, True)
    try:
        argv = [PYTHON, "-c", RECEIVER, f"{top}/server", str(inherited)]
        rules = denied(prod)
        process = subprocess.run(trial.argv(rules, argv), capture_output=True, text=True, close_fds=False, timeout=60, check=False)
        found = dict(line.split(":") for line in process.stdout.split())
        trial.check("a descriptor from before is not there", found.get("inherited") == "EBADF", process)
        trial.check("a descriptor that a server sends is used as it is: partial", found.get("write") == "ok", process)
        trial.check("what else is done by it is decided", [found.get(name) for name in ("cut", "mode", "again")] == ["EACCES"] * 3, process)
        refuses = f'deny contains {{"id": "server", "reason": "r"}} if input.resource.id == "unix:{top}/server"\n\n{rules}'
        done, _ = trial.run(refuses, argv)
        trial.check("a rule that keeps the server away keeps the descriptor away", done.stdout.split() == ["receive:EACCES"], done)
        start = subprocess.run([word for word in trial.argv(rules, ["true"]) if word != "--quiet"], capture_output=True, text=True, check=False)
        trial.check("the start line says so", "file.write not descriptors sent by others" in start.stderr, start)
    finally:
        os.close(inherited)
        os.close(fd)
        server.close()


def hand_out(server, fd):
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        client.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
        client.close()


MAPS = r"""
import ctypes, errno, mmap, os, sys
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
fd = os.open(sys.argv[1], os.O_RDONLY)
print("mmap", "ok" if LIBC.mmap(None, 4096, 3, 1, fd, 0) != 2**64 - 1 else errno.errorcode[ctypes.get_errno()])
at = LIBC.mmap(None, 4096, 1, 1, fd, 0)
print("mprotect", "ok" if not LIBC.mprotect(at, 4096, 3) else errno.errorcode[ctypes.get_errno()])
private = LIBC.mmap(None, 4096, 3, 2, fd, 0)
ctypes.memset(private, 0x78, 4)
os.kill(os.getpid(), 0)
try:
    os.close(os.open(sys.argv[1], os.O_RDWR))
    print("open ok")
except OSError as error:
    print("open", errno.errorcode[error.errno])
"""


def mappings(trial):
    """What may only be read is not changed by a mapping."""
    prod = trial.folder("prod", file="text\n")
    done, _ = trial.run(denied(prod, "writes; "), [PYTHON, "-c", MAPS, str(prod / "file")])
    trial.check("a shared mapping cannot be written, nor become so", done.stdout.splitlines() == ["mmap EACCES", "mprotect EACCES", "open EACCES"], done)
    trial.check("the file stays as it was", (prod / "file").read_text() == "text\n")


def run():
    if BARE:
        return
    with Place() as place:
        program = compiled("edge", place.tools / "edge")
        for identity in identities():
            trial = Trial(place, identity, "exhaust")
            bomb(trial, program)
            elsewhere(trial)
            mappings(trial)
            disk(trial, program)
