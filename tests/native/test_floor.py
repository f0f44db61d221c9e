"""The supervisor is killed: mediated calls fail, what is open stays usable, and the policy's floor stands by itself."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import time

from native import BARE, PYTHON, Place, identities
from test_edge import descendants, exe
from trial import REST, Trial

PTRACE_SEIZE, PTRACE_DETACH, PTRACE_INTERRUPT, SUSPEND_SECCOMP = 0x4206, 17, 0x4207, 1 << 21

AGENT = r"""
import errno, fcntl, mmap, os, signal, socket, sys
top, victim, port, other = sys.argv[1], *map(int, sys.argv[2:5])
kept = os.open(f"{top}/free/kept", os.O_RDWR)
mapped = mmap.mmap(os.open(f"{top}/free/mapped", os.O_RDWR), 4096)
server, client = socket.socketpair()
if victim:
    # A signal to a process outside, sent by the kernel when something can be read.
    fcntl.fcntl(server, fcntl.F_SETOWN, victim)
    fcntl.fcntl(server, fcntl.F_SETFL, fcntl.fcntl(server, fcntl.F_GETFL) | os.O_ASYNC)

def opened(name, flags=os.O_RDONLY):
    os.close(os.open(f"{top}/{name}", flags, 0o644))

def connected(number, name=None):
    with socket.socket(socket.AF_UNIX if name else socket.AF_INET) as one:
        one.connect(name or ("127.0.0.1", number))

def bound(number):
    with socket.socket() as one:
        one.bind(("127.0.0.1", number))

def wrote():
    os.pwrite(kept, b"after", 0)
    assert os.pread(kept, 5, 0) == b"after"

def shared():
    mapped[:5] = b"after"

def executed(program):
    os.execv(program, [program])

def forked():
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)

table = {
    "read in": lambda: opened("free/file"), "write in": lambda: opened("free/file", os.O_WRONLY), "make in": lambda: opened("free/new", os.O_WRONLY | os.O_CREAT),
    "read out": lambda: opened("out/file"), "write out": lambda: opened("out/file", os.O_WRONLY), "make out": lambda: opened("out/new", os.O_WRONLY | os.O_CREAT),
    "remove out": lambda: os.unlink(f"{top}/out/file"), "folder out": lambda: os.mkdir(f"{top}/out/folder"), "truncate out": lambda: os.truncate(f"{top}/out/file", 0),
    "move out": lambda: os.rename(f"{top}/out/file", f"{top}/out/moved"), "connect in": lambda: connected(port), "connect out": lambda: connected(other),
    "bind out": lambda: bound(other + 1), "abstract out": lambda: connected(0, "\0" + f"{top}/abstract"), "signal out": lambda: os.kill(victim or os.getppid(), 0 if not victim else signal.SIGCONT),
    "kept": wrote, "mapped": shared, "cut short": lambda: os.ftruncate(kept, 0), "connected": lambda: client.send(b"text"), "fork": forked,
    "execute out": lambda: executed(f"{top}/out/tool"),
}
print("ready", flush=True)
for line in sys.stdin:
    for name in line.rstrip("\n").split(","):
        try:
            table[name]()
            print(name, "ok", sep=":", flush=True)
        except OSError as error:
            print(name, errno.errorcode.get(error.errno, error.errno), sep=":", flush=True)
    print("end", flush=True)
"""
IN, OUT = ["read in", "write in", "make in", "connect in"], ["read out", "write out", "make out", "truncate out", "move out",
                                                           "folder out", "remove out", "connect out", "bind out", "abstract out", "signal out", "execute out"]
OPEN = ["kept", "mapped", "connected", "fork"]


class Agent:
    """The agent under its floor, with a process outside that it would signal, and two servers."""

    def __init__(self, trial, floor):
        self.trial = trial
        for name in ("free", "out"):
            trial.folder(name, file="text\n", kept="before", mapped="\0" * 4096)
            (trial.top / name / "new").unlink(missing_ok=True)
        tool = trial.top / "out" / "tool"
        tool.write_bytes(open("/bin/true", "rb").read())
        tool.chmod(0o755)
        self.servers = [socket.socket(), socket.socket(), socket.socket(socket.AF_UNIX)]
        for server, address in zip(self.servers, [("127.0.0.1", 0)] * 2 + [f"\0{trial.top}/abstract"]):
            server.bind(address)
            server.listen()
        ports = [server.getsockname()[1] for server in self.servers[:2]]
        self.victim = subprocess.Popen(trial.identity.bare(["sleep", "1000"]))
        time.sleep(0.3)
        data = trial.place.tools / "floor.json"
        system = ["/usr", "/lib", "/lib64", "/bin", "/etc", "/proc", "/dev"]
        data.write_text(json.dumps({"authz": {"floor": {
            "read": [*system, str(trial.top / "free")], "write": [str(trial.top / "free"), "/dev"], "execute": system,
            "connect_ports": ports[:1], "bind_ports": [], "scope": ["signals", "abstract_sockets"]} if floor else {}}}))
        argv = [PYTHON, "-c", AGENT, str(trial.top), str(self.victim.pid), *map(str, ports)]
        self.process = trial.start([REST, str(data)], argv)
        self.started = self.process.stdout.readline()

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        for pid in getattr(self, "everyone", []):
            if exe(pid) == PYTHON:
                os.kill(pid, signal.SIGKILL)
        self.process.stdin.close()
        self.process.wait(20)
        self.victim.kill()
        self.victim.wait()
        for server in self.servers:
            server.close()

    def does(self, *names):
        self.process.stdin.write(",".join(names) + "\n")
        self.process.stdin.flush()
        found = {}
        for line in self.process.stdout:
            if line == "end\n":
                break
            name, _, result = line.rstrip("\n").partition(":")
            found[name] = result
        return found

    def kill_supervisor(self):
        self.everyone = descendants(self.process.pid)
        killed = [pid for pid in self.everyone if os.path.basename(exe(pid)) == "authz" and pid != self.process.pid]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        self.process.wait(20)
        return killed

    def pid(self):
        return next(pid for pid in self.everyone if exe(pid) == PYTHON)


def without_filter(agent, names):
    """What the agent does while a tracer takes the filter away, so that only the floor is left; None: not on this kernel."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long] * 4
    if libc.ptrace(PTRACE_SEIZE, agent.pid(), 0, SUSPEND_SECCOMP):
        return None
    try:
        return agent.does(*names)
    finally:
        if libc.ptrace(PTRACE_INTERRUPT, agent.pid(), 0, 0) == 0:
            os.waitpid(agent.pid(), 0x40000000)
            libc.ptrace(PTRACE_DETACH, agent.pid(), 0, 0)


def floor(trial):
    with Agent(trial, True) as agent:
        before = agent.does(*IN, "write out", "remove out", "connect out", *OPEN[:2])
        trial.check("alive: the rules decide, not the floor", set(before.values()) == {"ok"}, before)
        trial.folder("out", file="text\n")
        trial.check("the supervisor is found and killed", len(agent.kill_supervisor()) == 1)
        dead = agent.does(*IN, *OUT, "cut short")
        trial.check("dead: every mediated call fails with ENOSYS", set(dead.values()) == {"ENOSYS"}, dead)
        kept = agent.does(*OPEN)
        trial.check("dead: what is open can be read, written and sent on, and processes be made", set(kept.values()) == {"ok"}, kept)
        trial.check("dead: what was written is there", (trial.top / "free" / "kept").read_text() == "aftere"
                    and (trial.top / "free" / "mapped").read_text().startswith("after"))
        time.sleep(0.5)
        trial.check("dead: the floor keeps a signal inside that no call sends", agent.victim.poll() is None, agent.victim.poll())
        if os.getuid():
            trial.skip("the floor by itself", "to take the filter away takes root")
            return
        alone = without_filter(agent, [*IN, *OUT])
        if alone is None:
            trial.skip("the floor by itself", "this kernel cannot suspend filters")
            return
        trial.check("the floor by itself: inside, all is possible", {name: alone.get(name) for name in IN} == dict.fromkeys(IN, "ok"), alone)
        went = {name: alone.get(name) for name in OUT if alone.get(name) not in ("EACCES", "EPERM")}
        trial.check("the floor by itself: nothing outside", not went, went)
        trial.check("the floor by itself: nothing outside was changed", (trial.top / "out" / "file").read_text() == "text\n"
                    and not (trial.top / "out" / "new").exists())


def no_floor(trial):
    """That it is the floor: without one the same signal arrives."""
    with Agent(trial, False) as agent:
        agent.kill_supervisor()
        agent.does("connected")
        try:
            status = agent.victim.wait(10)
        except subprocess.TimeoutExpired:
            status = None
        trial.check("without a floor the signal arrives", status == -signal.SIGIO, status)


def run():
    if BARE:
        return
    with Place() as place:
        for identity in identities():
            trial = Trial(place, identity, "floor")
            floor(trial)
            no_floor(trial)
