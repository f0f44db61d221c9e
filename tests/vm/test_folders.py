"""A folder's path is remembered in its inode: whatever moves the folder, its mount or its files, the next operation is
judged by the path as it is then. Outside moves what the agent has used; each check is one answer of the agent."""

import ctypes
import os
import pathlib
import shutil
import subprocess
import tempfile

import control
import harness
from harness import check

AGENT = pathlib.Path(__file__).resolve().with_name("folders_agent.py")
ALL = 'allow contains {"id": "rest", "reason": "r"} if true\n'
CLOSED = """
deny contains {"id": "closed", "reason": "r"} if {
	input.action.name in {"file.read", "file.write", "file.create"}
	under(input.resource.id, ["/vol/tmpfs/closed", "/vol/ext4/closed", "/vol/overlay/closed"])
}

deny contains {"id": "beside", "reason": "r"} if is(input.resource.id, "/vol/tmpfs/open/beside/one")

deny contains {"id": "begins", "reason": "r"} if startswith(input.resource.id, "/vol/tmpfs/open/beside/secret")

deny contains {"id": "keys", "reason": "r"} if {
	reads
	has_name(input.resource.id, ".keys")
}

deny contains {"id": "foreign", "reason": "r"} if startswith(input.resource.id, "foreign:")
"""
PLAIN = 'deny contains {"id": "plain", "reason": "r"} if { reads; has_name(input.resource.id, "plain") }\n'
OK, DENIED = "0", "13"
RENAME_EXCHANGE = 2


def sh(line):
    subprocess.run(["/bin/sh", "-ec", line], check=True, stdin=subprocess.DEVNULL)


def exchange(one, other):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), f"{one} and {other}")


class Agent:
    """A session whose agent does what it is told."""

    def __init__(self, name, policy):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="policy-"))
        self.write(policy)
        python = shutil.which("python3", path="/usr/bin:/bin")
        self.process = harness.authz_start(str(self.folder), [python, str(AGENT)], name=name)
        self.lines = control.Lines(self.process)
        self.verb = "w"
        self.do("r", "/")
        self.id = control.session(name)[1]["session"]

    def write(self, policy):
        (self.folder / "p.rego").write_text("package authz\n\n" + policy)

    def do(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return self.lines.take(1, control.SLOW).strip()

    def often(self, *words):
        """Three times: decided, remembered, found again. One answer if it is always the same."""
        return "/".join(sorted({self.do(*words) for _ in range(3)}))

    def uses(self, path):
        return self.often(self.verb, path)

    def uses_at(self, folder, path):
        return self.often("at", folder, path, self.verb)

    def reload(self, policy):
        self.write(policy)
        return harness.authz("reload", "--session", self.id).returncode

    def finish(self):
        self.process.stdin.close()
        self.process.wait(timeout=control.SLOW)


def make(top):
    for folder in ["open", "closed"]:
        for inner in ["a/b", "c/b", "plain/b", "m", "root/d"]:
            (top / folder / inner).mkdir(parents=True)
            (top / folder / inner / "f").write_text("before\n")


def moved(agent, top, where):
    """By others: the folder itself, one above it; seen by a path and from a folder that was opened before."""
    opened, closed = top / "open", top / "closed"
    agent.do("hold", "b", opened / "a/b")
    before = [agent.uses(opened / "a/b/f"), agent.uses_at("b", "f")]
    os.rename(opened / "a/b", closed / "moved")
    after = [agent.uses(closed / "moved/f"), agent.uses_at("b", "f")]
    os.rename(closed / "moved", opened / "a/b")
    back = [agent.uses(opened / "a/b/f"), agent.uses_at("b", "f")]
    check(f"{where}: a folder that is moved", (before, after, back) == ([OK] * 2, [DENIED] * 2, [OK] * 2),
          (before, after, back))
    os.rename(opened / "a", closed / "moved")
    after = [agent.uses(closed / "moved/b/f"), agent.uses_at("b", "f"), agent.uses_at("b", "../b/f"),
             agent.do("c", closed / f"moved/b/new-{agent.verb}")]
    os.rename(closed / "moved", opened / "a")
    back = [agent.uses(opened / "a/b/f"), agent.uses_at("b", "f"), agent.do("c", opened / f"a/b/new-{agent.verb}")]
    check(f"{where}: a folder above it that is moved", (after, back) == ([DENIED] * 4, [OK] * 3), (after, back))
    exchange(opened / "a", closed / "a")
    after = [agent.uses(opened / "a/b/f"), agent.uses(closed / "a/b/f"), agent.uses_at("b", "f")]
    exchange(opened / "a", closed / "a")
    back = [agent.uses(opened / "a/b/f"), agent.uses(closed / "a/b/f"), agent.uses_at("b", "f")]
    check(f"{where}: two folders that are exchanged", (after, back) == ([OK, DENIED, DENIED], [OK, DENIED, OK]), (after, back))
    agent.do("drop", "b")


def moved_by_the_agent(agent, top, where):
    """It may rename, and gains nothing by it."""
    agent.do("hold", "c", top / "open/c")
    before = [agent.uses(top / "open/c/b/f"), agent.uses_at("c", "b/f")]
    renamed = agent.do("mv", top / "open/c", top / "closed/own")
    after = [agent.uses(top / "closed/own/b/f"), agent.uses_at("c", "b/f")]
    again = agent.do("mv", top / "closed/own", top / "open/c")
    back = [agent.uses(top / "open/c/b/f"), agent.uses_at("c", "b/f")]
    check(f"{where}: a folder that the agent moves", (before, renamed, after, again, back) ==
          ([OK] * 2, OK, [DENIED] * 2, OK, [OK] * 2), (before, renamed, after, again, back))
    agent.do("drop", "c")


def linked(agent, top, where):
    """The same inode under another name, with one link before and after."""
    here, there = top / "open/a/f1", top / "closed/a/f1"
    here.write_text("before\n")
    outcomes = []
    for old, new, expected in [(here, there, DENIED), (there, here, OK)] * 3:
        used = agent.uses(old)
        os.link(old, new)
        os.unlink(old)
        outcomes.append((used, agent.uses(new), os.stat(new).st_nlink) == (OK if expected == DENIED else DENIED, expected, 1))
    check(f"{where}: a file that is linked elsewhere and unlinked", all(outcomes), outcomes)
    folder, other = top / "open/made", top / "closed/made"
    outcomes = []
    for _ in range(5):  # others may get the memory of what is removed
        for place, expected in [(folder, OK), (other, DENIED)]:
            place.mkdir()
            (place / "f").write_text("before\n")
            outcomes.append(agent.uses(place / "f") == expected)
            (place / "f").unlink()
            place.rmdir()
        sh("echo 2 > /proc/sys/vm/drop_caches")
    check(f"{where}: folders that are made and removed, without what the kernel kept", all(outcomes), outcomes)


def named(agent, top, where):
    before = agent.often("r", top / "open/plain/b/f")
    os.rename(top / "open/plain", top / "open/.keys")
    after = [agent.often("r", top / "open/.keys/b/f"), agent.do("c", top / "open/.keys/b/new")]
    os.rename(top / "open/.keys", top / "open/plain")
    back = agent.often("r", top / "open/plain/b/f")
    last = top / "open/plain/b/.keys"
    last.write_text("before\n")
    check(f"{where}: a name that the policy looks for", (before, after, back, agent.often("r", last)) ==
          (OK, [DENIED, OK], OK, DENIED), (before, after, back))


def mounted(agent, top, where):
    opened, closed = top / "open", top / "closed"
    sh(f"mkdir -p {closed}/bind && mount --bind {opened}/a/b {closed}/bind")
    outcomes = [[agent.uses(opened / "a/b/f"), agent.uses(closed / "bind/f")] for _ in range(3)]
    sh(f"umount {closed}/bind && mount --bind {closed}/a {opened}/m")
    outcomes += [[agent.uses(opened / "m/b/f"), agent.uses(closed / "a/b/f")] for _ in range(3)]
    sh(f"umount {opened}/m")
    check(f"{where}: the same folder by two mounts", outcomes == [[OK, DENIED]] * 6, outcomes)
    sh(f"mount -t tmpfs none {opened}/m && mkdir {opened}/m/d && echo before > {opened}/m/d/f")
    agent.do("hold", "d", f"{opened}/m/d")
    before = [agent.uses(opened / "m/d/f"), agent.uses_at("d", "f")]
    sh(f"mount --make-private {opened}/m && mkdir -p {closed}/n && (mount --make-private {top} || true) && "
       f"mount --move {opened}/m {closed}/n")
    after = [agent.uses(closed / "n/d/f"), agent.uses_at("d", "f")]
    sh(f"mount --move {closed}/n {opened}/m")
    back = [agent.uses(opened / "m/d/f"), agent.uses_at("d", "f")]
    sh(f"umount -l {opened}/m")
    gone = agent.uses_at("d", "f")
    check(f"{where}: a mount that is moved, and taken away", (before, after, back, gone) ==
          ([OK] * 2, [DENIED] * 2, [OK] * 2, DENIED), (before, after, back, gone))
    agent.do("drop", "d")


def chrooted(agent, top, where):
    root = top / "open/root"
    before = [agent.uses(root / "d/f"), agent.often("chroot", root, "/d/f", agent.verb)]
    os.rename(root, top / "closed/moved")
    after = [agent.often("chroot", top / "closed/moved", "/d/f", agent.verb), agent.uses(top / "closed/moved/d/f")]
    os.rename(top / "closed/moved", root)
    back = agent.often("chroot", root, "/d/f", agent.verb)
    check(f"{where}: under another root", (before, after, back) == ([OK] * 2, [DENIED] * 2, OK), (before, after, back))


def reloaded(agent, top):
    """Which names are looked for changes under what is remembered."""
    file = top / "open/plain/b/f"
    outcomes = [agent.often("r", file)]
    for policy in [ALL + CLOSED + PLAIN, ALL + CLOSED, ALL + PLAIN, ALL]:
        outcomes += [agent.reload(policy), agent.often("r", file)]
    check("a policy that looks for other names", outcomes == [OK, 0, DENIED, 0, OK, 0, DENIED, 0, OK], outcomes)


def beside(agent, top):
    """What holds for most in a folder does not hold for all."""
    folder = top / "open/beside"
    folder.mkdir()
    for name in ["one", "other", "secret", "secrets", "t"]:
        (folder / name).touch()
    names = ["other", "t", "secret", "secrets", "one", "other", "secret", "t"]
    outcomes = [agent.often("r", folder / name) for name in names]
    check("denied files among others", outcomes == [OK, OK, DENIED, DENIED, DENIED, OK, DENIED, OK], outcomes)


def two_sessions(top):
    """Each with names of its own, in the same folders by turns; an index that is used again."""
    file, outcomes = top / "open/plain/b/f", []
    one, other = Agent("one", ALL + PLAIN), Agent("other", ALL + CLOSED)
    outcomes += [(one.do("r", file), other.do("r", file)) for _ in range(4)]
    one.finish()
    other.finish()
    third = Agent("third", ALL)
    outcomes.append((DENIED, third.often("r", file)))
    third.finish()
    check("sessions that look for different names", outcomes == [(DENIED, OK)] * 5, outcomes)


def saved(agent, top):
    """Else all of this would say nothing: most opens take no walk."""
    (top / "open/many").mkdir()
    for number in range(200):
        (top / f"open/many/{number}").touch()
    agent.do("all", top / "open/many")
    walks, within = 20, 21
    before = [sum(counter(walks)), sum(counter(within))]
    agent.do("all", top / "open/many")
    after = [sum(counter(walks)), sum(counter(within))]
    took = [now - then for now, then in zip(after, before)]
    check("200 opens in one folder take few walks, and need no path", 0 <= took[0] <= 20 and took[1] >= 180, took)


def counter(which):
    """The programs' own, of each processor, from the map `counters` of the one daemon that runs."""
    libc, buffer = ctypes.CDLL(None, use_errno=True), (ctypes.c_uint64 * 1024)()

    def bpf(command, *words):
        attr = (ctypes.c_uint32 * 32)(*words)
        return libc.syscall(321, command, attr, 128), attr

    def low_high(address):
        return address & 0xffffffff, address >> 32
    map_id = 0
    while True:
        done, attr = bpf(12, map_id)  # BPF_MAP_GET_NEXT_ID
        if done:
            raise LookupError("no map is called counters")
        map_id = attr[1]
        fd, _ = bpf(14, map_id)  # BPF_MAP_GET_FD_BY_ID
        if fd < 0:
            continue
        try:
            info = (ctypes.c_uint8 * 80)()
            bpf(15, fd, 80, *low_high(ctypes.addressof(info)))  # BPF_OBJ_GET_INFO_BY_FD
            if bytes(info[24:40]).rstrip(b"\0") != b"counters":
                continue
            key = ctypes.c_uint32(which)
            done, _ = bpf(1, fd, 0, *low_high(ctypes.addressof(key)), *low_high(ctypes.addressof(buffer)))
            if done == 0:
                return list(buffer)[:os.cpu_count()]
        finally:
            os.close(fd)


def volumes():
    """tmpfs, ext4 and overlayfs, each with the two folders."""
    os.makedirs("/vol", exist_ok=True)
    made = []
    for name, line in {
        "tmpfs": "mount -t tmpfs none /vol/tmpfs",
        "ext4": "truncate -s 32M /vol/image && mkfs.ext4 -q /vol/image && mount -o loop /vol/image /vol/ext4",
        "overlay": "mkdir /vol/layers && mount -t tmpfs none /vol/layers && cd /vol/layers && mkdir -p lower upper work && "
                   "mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work none /vol/overlay",
    }.items():
        top = pathlib.Path("/vol") / name
        top.mkdir(exist_ok=True)
        done = subprocess.run(["/bin/sh", "-ec", line], capture_output=True, text=True)
        if check(f"{name} can be mounted", done.returncode == 0, done.stderr):
            make(top)
            made.append(top)
    return made


def run():
    tops = volumes()
    agent = Agent("folders", ALL + CLOSED)
    for top in tops:
        for part in [moved, moved_by_the_agent, linked, named, mounted, chrooted]:
            part(agent, top, top.name)
    agent.verb = "r"
    for part in [moved, moved_by_the_agent, linked, mounted, chrooted]:
        part(agent, tops[0], f"{tops[0].name}, reading")
    beside(agent, tops[0])
    saved(agent, tops[0])
    reloaded(agent, tops[0])
    agent.finish()
    two_sessions(tops[0])
    for top in reversed(tops):
        subprocess.run(["umount", "-l", str(top)], check=False)
