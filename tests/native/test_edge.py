"""Programs that are unlike others work under the supervisor, or are refused with a clear word: static ones, threads,
many processes, own seccomp filters, large arguments, odd names, signals in the middle of a call, a dead supervisor.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import time

import harness
from harness import check, skip
from native import BARE, Place, compiled, identities

# Everything but what touches `prod`; `held` waits for a human; of the system's, only chroot.
POLICY = """
inside(folder) if under(trim_prefix(input.resource.id, "unix:"), folder)

deny contains {{"id": "prod", "reason": "forbidden"}} if inside("{top}/prod")

escalate contains {{"id": "held", "reason": "a human decides"}} if inside("{top}/held")

allow contains {{"id": "rest", "reason": "everything else"}} if not startswith(input.action.name, "system.")

allow contains {{"id": "chroot", "reason": "a test"}} if input.resource.id == "chroot"
"""
REFUSED = ("permitted", "ermission denied", "EPERM", "EACCES")
ODD = b"\xff\n\xfe"


class Edge:
    """One identity with its folders `free`, `prod` and `held`, alike, and how to run a program there."""

    def __init__(self, place, identity):
        self.place, self.identity = place, identity
        self.authz = str(place.tools / "authz")
        self.top = place.fresh("edge")
        for name in ("free", "prod", "held"):
            folder = self.top / name
            folder.mkdir()
            (folder / "file").write_text("text\n")
            pathlib.Path(os.fsdecode(os.fsencode(folder) + b"/" + ODD)).write_text("text\n")
            shutil.copy("/bin/true", folder / "tool")
            shutil.copy(place.tools / "edge-static", folder / "unreadable")
            os.mkfifo(folder / "fifo")
        for path in [self.top, *self.top.rglob("*")]:
            os.chown(path, identity.owner, identity.owner)
        (self.top / "free" / "unreadable").chmod(0o111)
        self.top.chmod(0o755)
        self.rules = str(place.policy(POLICY.format(top=self.top)))

    def name(self, what):
        return f"edge, {self.identity.name}, {what}"

    def argv(self, argv, *options):
        return self.identity.bound(argv, self.rules, *options, authz=self.authz)

    def run(self, argv, *options, timeout=30):
        return harness.finish(self.argv(argv, *options), timeout, {"HOME": self.place.home}, str(self.top))

    def bare(self, argv):
        return harness.finish(self.identity.bare(argv), 120, None, str(self.top))

    def same(self, what, argv, bare, bound=None, options=()):
        """The lines that are printed, bare and under authz."""
        done = self.bare(argv)
        if check(self.name(f"{what}: bare"), done.stdout.splitlines() == bare, done) and not BARE:
            done = self.run(argv, *options)
            check(self.name(what), done.stdout.splitlines() == (bound or bare), done)

    def refused(self, what, argv):
        """Works bare, fails with a word on permission under authz."""
        done = self.bare(argv)
        if done.returncode:
            skip(self.name(what), f"does not work bare: {done.stderr[-200:]}".replace("\n", " "))
        elif not BARE:
            done = self.run(argv)
            check(self.name(f"{what}: refused, and says so"),
                  done.returncode not in (0, 124) and any(word in done.stderr for word in REFUSED), done)


def shapes(edge, program, static):
    """Kinds of processes."""
    files = [f"{edge.top}/free/file", f"{edge.top}/prod/file"]
    both, denied = ["ok", "ok"], ["ok", "EACCES"]
    edge.same("a static program", [static, "open", *files], both, denied)
    edge.same("posix_spawn and vfork", [program, "spawn", f"{edge.top}/free/tool"], both)
    edge.same("posix_spawn and vfork of a denied program", [program, "spawn", f"{edge.top}/prod/tool"], both,
              ["EACCES", "EACCES"])
    edge.same("8 threads", [program, "threads", "8", files[0]], ["0 failed"])
    edge.same("a chain of 200 processes", [program, "chain", "200", *files], both, denied)
    edge.same("500 processes at once", [program, "storm", "500", files[0]], ["0 failed"])
    edge.same("own seccomp filter", [program, "filter", *files], ["ok", "EXDEV", *both], ["ok", "EXDEV", *denied])
    # The kernel has room for one listener only.
    edge.same("own seccomp listener", [program, "listener"], ["ok"], ["EBUSY"])
    edge.same("a program that others may not look at", [program, "undumpable", *files], both, denied)
    unreadable = [f"{edge.top}/free/unreadable", "open", *files]
    if edge.identity.name == "user":
        # Its memory cannot be read either, but by root.
        edge.refused("a program that may be run, not read", unreadable)
    else:
        edge.same("a program that may be run, not read", unreadable, both, denied)
    edge.same("2 MB of arguments", [program, "big", "15", "130000", "2", program], ["15 arguments, 2 variables, 1950004 bytes"])
    edge.same("100,000 variables", [program, "big", "1", "9", "100000", program],
              [f"1 arguments, 100000 variables, {9 + sum(len(f'{n:x}=') for n in range(100000))} bytes"])
    edge.same("a file closed is not busy, nor locked", [program, "again", "300", "/bin/true", f"{edge.top}/free/copy"],
              ["0 busy, 0 locked"])
    edge.same("3 MiB sent at once over a stream", [program, "stream"], ["3145728 came", "3145728 sent"])
    named = f"{edge.top}/free/socket"
    edge.same("the name of a Unix socket", [program, "named", named], [f"{len(named) + 3} {named}", f"{len(named) + 3} {named[:3]}"])
    names = [os.fsdecode(os.fsencode(f"{edge.top}/{folder}/") + ODD) for folder in ("free", "prod")]
    edge.same("a name that is no text", [program, "open", *names], both, denied)
    if edge.identity.owner == 0:
        edge.same("chroot, from outside of it too", [program, "chroot", f"{edge.top}/free", "/file", "prod/file", "/../prod/file"],
                  ["ok", "ok", "ok", "ENOENT"], ["ok", "ok", "EACCES", "ENOENT"])
        edge.same("chroot to a denied folder", [program, "chroot", f"{edge.top}/prod", "/file"], both, denied)


def privileges(edge, program):
    """What would give more rights, or another view of the machine."""
    if edge.identity.owner:
        shutil.copy("/usr/bin/id", edge.top / "set-uid")
        os.chown(edge.top / "set-uid", 0, 0)
        (edge.top / "set-uid").chmod(0o4755)
        edge.same("a set-uid program stays the user's", [f"{edge.top}/set-uid", "-u"], ["0"], [str(edge.identity.owner)])
    if not BARE:
        done = edge.run(["grep", "NoNewPrivs", "/proc/self/status"])
        check(edge.name("no new privileges"), done.stdout.split() == ["NoNewPrivs:", "1"], done)
    edge.refused("a PID namespace", ["unshare", "--pid", "--fork", "true"])
    edge.refused("a user namespace", ["unshare", "--user", "true"])
    if shutil.which("bwrap"):
        edge.refused("bubblewrap", ["bwrap", "--ro-bind", "/", "/", "true"])
    else:
        skip(edge.name("bubblewrap"), "there is no bwrap")


def waiting(edge, program):
    """Calls that wait: for the other end of a pipe, and for a human."""
    fifo, held = f"{edge.top}/free/fifo", f"{edge.top}/held/file"
    edge.same("an interrupted open of a pipe", [program, "alarm", fifo, "300"], ["EINTR 1"])
    edge.same("both ends of a pipe", ["sh", "-c", f"cat {fifo} & echo text > {fifo}; wait"], ["text"])
    if BARE:
        return
    start = time.monotonic()
    done = edge.run([program, "alarm", held, "300"], "--hold-timeout", "3s")
    check(edge.name("a signal does not end a held open"),
          done.stdout.split() == ["EACCES", "1"] and time.monotonic() - start > 2.5, done)
    done = edge.run(["sh", "-c", f"{program} open {held} & {program} open {edge.top}/free/file; wait"], "--hold-timeout", "2s")
    check(edge.name("another process goes on meanwhile"), done.stdout.split() == ["ok", "EACCES"], done)
    agent = subprocess.Popen(edge.argv([program, "open", held], "--hold-timeout", "60s"),
                             env=harness.environment({"HOME": edge.place.home}))
    time.sleep(2)
    start = time.monotonic()
    for pid in descendants(agent.pid):
        if os.path.basename(exe(pid)) == "edge":
            os.kill(pid, signal.SIGKILL)
    try:
        status = agent.wait(20)
    except subprocess.TimeoutExpired:
        agent.kill()
        status = None
    check(edge.name("a held program can be killed"), status == 128 + signal.SIGKILL, status)


def exe(pid):
    try:
        return os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
    except OSError:
        return ""


def descendants(pid):
    """The process and all below it."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            parents[int(name)] = int(pathlib.Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


TRIES = ["{program} open {top}/free/file", ": > {top}/free/new", ": > {top}/prod/new", "cat {top}/free/file",
         "mkdir {top}/free/folder", "rm {top}/prod/file"]


def killed(edge, program):
    """All of authz is killed: what waits fails, and nothing more can be opened or run."""
    script = "echo ready; read line; " + "; ".join(f"({one}) 2> /dev/null && echo worked || echo failed" for one in TRIES)
    script = script.format(top=edge.top, program=program)
    marks = f"{program} open {edge.top}/held/file > {edge.top}/free/late & " if not BARE else ""
    agent = subprocess.Popen(edge.argv(["sh", "-c", marks + script], "--hold-timeout", "60s"), stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=harness.environment({"HOME": edge.place.home}))
    check(edge.name("killed: it starts"), agent.stdout.readline() == "ready\n")
    time.sleep(1)
    everyone = descendants(agent.pid)
    for pid in everyone:
        if os.path.basename(exe(pid)) == "authz":
            os.kill(pid, signal.SIGKILL)
    try:
        out, _ = agent.communicate("go\n", timeout=20)
    except (subprocess.TimeoutExpired, BrokenPipeError):
        out = "timed out"
    for pid in everyone:
        if exe(pid).startswith(("/usr/bin/dash", str(edge.place.top))):
            os.kill(pid, signal.SIGKILL)
    agent.wait(10)
    late = (edge.top / "free" / "late").read_text() if (edge.top / "free" / "late").exists() else ""
    if not BARE:
        check(edge.name("killed: later calls fail"), "worked" not in out and "timed out" not in out, out)
        check(edge.name("killed: the held call does not go on"), "ok" not in late, late)
        check(edge.name("killed: nothing was made or removed"),
              not (edge.top / "free/new").exists() and not (edge.top / "prod/new").exists()
              and (edge.top / "prod/file").exists(), sorted(edge.top.rglob("*")))


def run():
    with Place() as place:
        program = compiled("edge", place.tools / "edge")
        static = compiled("edge", place.tools / "edge-static", "-static")
        for identity in identities():
            edge = Edge(place, identity)
            shapes(edge, program, static)
            privileges(edge, program)
            waiting(edge, program)
            killed(edge, program)
