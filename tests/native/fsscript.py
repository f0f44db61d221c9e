"""Random scripts for fsops.c and the trees that they work on. The same seed gives the same tree and script."""

import contextlib
import os
import random
import socket
import stat

O = {name: getattr(os, "O_" + name) for name in
     "CREAT EXCL TRUNC APPEND NOFOLLOW DIRECTORY PATH TMPFILE CLOEXEC NONBLOCK NOATIME SYNC NOCTTY".split()}
AT_EMPTY_PATH, AT_NOFOLLOW, AT_FOLLOW, AT_REMOVEDIR = 0x1000, 0x100, 0x400, 0x200
NO_XDEV, NO_MAGICLINKS, NO_SYMLINKS, BENEATH, IN_ROOT = 1, 2, 4, 8, 16
OTHER = 1234

NAMES = [b"a", b"b", b"c", b"d", b"e", b"f", b".hidden", b"new\nline", b"\xff\xfe", b"sp ace", b"%41"]
# Never of the tree at the start.
NEW_NAMES = [b"g", b"h", b"i", b"j", b"k", b"l", b"m m", b"n\xe9"]
MODES = [0o644, 0o600, 0o755, 0o777, 0o000, 0o400, 0o222, 0o7777, 0o1777, 0o2755, 0o4711, 0o111]
LONG_NAMES = [b"n" * 255, b"n" * 256]
LONG_PATHS = [b"./" * 2047 + b"a", b"./" * 2047 + b"aa", b"./" * 2048, b"a/" * 2600, b"d/../" * 818 + b"a", b"." * 255]
OUTSIDE = [b"/dev/null", b"/dev/zero", b"/dev/full", b"/dev/null/x", b"/proc/self/status", b"/proc/self/comm",
           b"/proc/thread-self/comm", b"/proc/self/exe", b"/proc/self/fd/999", b"/proc/self/fd/0", b"/dev/fd/0",
           b"/dev/stdin", b"/etc/passwd", b"/etc/shadow", b"/etc/none", b"/etc/hosts", b"/none/x",
           b"/proc/self/root", b"/proc/self/cwd", b"/proc/self/ns/mnt", b"/sys/none", b"/proc/self/oom_score_adj"]


def written(path, content):
    with open(path, "wb") as file:
        file.write(content)


KINDS = {
    "dir": lambda path, _: os.mkdir(path), "file": written, "link": lambda path, target: os.symlink(target, path),
    "hard": lambda path, old: os.link(old, path), "fifo": lambda path, _: os.mkfifo(path),
    "socket": lambda path, _: os.mknod(path, stat.S_IFSOCK | 0o600),
    "device": lambda path, _: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3)),
}


def encoded(path):
    if path == b"":
        return "@empty"
    return "".join(chr(byte) if 0x2a < byte < 0x7f and byte != 0x40 else f"%{byte:02x}" for byte in path)


class Script:
    """The tree and the operations of one batch, which will happen in `folder`."""

    def __init__(self, seed, number, folder, owner):
        self.random = random.Random(f"{seed} {number}")
        self.top = os.fsencode(folder)
        self.owner = owner
        self.plan = list(self.planned())
        self.known = [path for _, path, *_ in self.plan if not path.startswith(b"chain")]
        self.known += [b".", b"chain38", b"chain39", b"chain40", b"chain41"]
        self.folders = [b""] * 4 + [path + b"/" for kind, path, *_ in self.plan if kind == "dir"]

    # The tree.

    def planned(self):
        """Its objects: (kind, path, owner, mode, target or content)."""
        choose = self.random
        owners = [self.owner] * 10 + [0, OTHER]
        folders, files, there = [b""], [], set()
        for _ in range(choose.randint(30, 55)):
            path = os.path.join(choose.choice(folders), choose.choice(NAMES))
            kind = choose.choice(["dir"] * 4 + ["file"] * 4 + ["link"] * 3 + ["fifo", "socket", "hard", "device"])
            if path in there or path.count(b"/") > 3 or kind == "hard" and not files:
                continue
            there.add(path)
            about = {"link": self.link_target, "hard": lambda: choose.choice(files),
                     "file": lambda: b"content\nof it\n" * choose.randint(0, 3)}.get(kind, lambda: None)()
            folders += [path] if kind == "dir" else []
            files += [path] if kind == "file" else []
            usual = [0o755, 0o777] * 12 if kind == "dir" else MODES[:4] * 4
            yield kind, path, choose.choice(owners), choose.choice(usual + MODES), about
        # A loop, and chains that are just short enough to follow, and just too long.
        for number in range(42):
            yield "link", b"chain%d" % number, self.owner, 0, b"chain%d" % (number - 1) if number else b"a"
        yield "link", b"loop1", self.owner, 0, b"loop2"
        yield "link", b"loop2", self.owner, 0, b"loop1"

    def make(self, folder):
        """Makes the tree in `folder`; only root can give files away."""
        os.mkdir(folder)
        top = os.fsencode(folder) + b"/"
        for kind, path, _, _, about in self.plan:
            KINDS[kind](top + path, about and top + about if kind == "hard" else about)
        for kind, path, owner, mode, _ in reversed(self.plan):
            if kind != "hard":
                os.lchown(top + path, owner, owner)
            if kind not in ("hard", "link"):
                os.chmod(top + path, mode)
            if kind in ("file", "dir") and mode & 1:
                with contextlib.suppress(OSError):  # not every file system takes them
                    os.setxattr(top + path, "user.a", b"from before")
        os.chmod(folder, 0o777)
        os.chown(folder, self.owner, self.owner)

    def link_target(self):
        choose = self.random
        names = b"/".join(choose.choices(NAMES, k=choose.randint(1, 2)))
        return choose.choice([names, names, names, b"../" + names, self.top + b"/" + names, b"..", b".", b"/dev/null",
                              b"/proc/self/cwd/" + names, names + b"/", b"/proc/self/fd/4", b"none"])

    # Paths.

    def path(self, new=False):
        """A path as the script writes it; a `new` one mostly names nothing in a folder that is there."""
        choose = self.random
        kind = choose.random()
        if kind < 0.01:
            return choose.choice(["@null", "@bad", "@open", "@empty", "@empty", "@last:a", "@last:d/b", "@last:."])
        if kind < 0.02:
            return encoded(choose.choice(LONG_PATHS + LONG_NAMES))
        if kind < 0.05:
            return encoded(choose.choice(OUTSIDE))
        if new and kind < 0.75:
            path = choose.choice(self.folders) + choose.choice(NEW_NAMES)
        elif kind < 0.75:
            path = choose.choice(self.known)
            if choose.random() < 0.15:
                path += b"/" + choose.choice(NAMES + [b"..", b"."])
        elif kind < 0.85:
            path = choose.choice(self.folders) + choose.choice(NEW_NAMES)
        else:
            path = b"/".join(choose.choices(NAMES + [b"..", b".", b""], [4] * len(NAMES) + [4, 2, 2],
                                            k=choose.randint(1, 3)))
        kind = choose.random()
        if kind < 0.25:
            path = choose.choice([self.top + b"/", b"/.." + self.top + b"/", b"/proc/self/cwd/", b"//proc/self/root" +
                                  self.top + b"/", b"./", b"/proc/self/fd/%d/" % choose.randint(3, 5),
                                  b"/dev/fd/%d/" % choose.randint(3, 5), b"/proc/thread-self/cwd/", b"../"]) + path
        elif kind < 0.3:
            path = choose.choice([b"/proc/self/fd/%d", b"/dev/fd/%d"]) % choose.randint(3, 9)
        if choose.random() < 0.08:
            path += choose.choice([b"/", b"/.", b"//", b"/.."])
        return encoded(path)

    def dirfd(self):
        """Mostly a folder's: the slots 0 and 1 are kept for those."""
        return self.random.choice(["cwd"] * 8 + ["s0", "s1"] * 4 + ["s2", "s3", "none", "999", "0"])

    def slot(self):
        return f"s{self.random.randint(2, 5)}"

    # Arguments.

    def flags(self):
        choose = self.random
        value = choose.choice([0, 0, 1, 2, 2, 3])
        for name, chance in [("CREAT", .35), ("EXCL", .15), ("TRUNC", .15), ("APPEND", .15), ("NOFOLLOW", .12),
                             ("DIRECTORY", .12), ("PATH", .1), ("CLOEXEC", .3), ("NONBLOCK", .15), ("NOATIME", .03),
                             ("SYNC", .03), ("NOCTTY", .05)]:
            if choose.random() < chance:
                value |= O[name]
        if choose.random() < 0.05:
            value = value & ~O["CREAT"] | O["TMPFILE"]
        return value

    def flags2(self):
        """openat2 never waits here, and is strict on unknown flags. A supervisor cannot hand over what O_PATH opens."""
        value = self.flags() & ~O["NOCTTY"] & ~O["PATH"] | O["NONBLOCK"]
        return value | (self.random.random() < 0.03) << 40

    def resolve(self):
        return self.random.choice([0, BENEATH, BENEATH, IN_ROOT, IN_ROOT, NO_SYMLINKS, NO_MAGICLINKS, NO_XDEV,
                                   BENEATH | NO_SYMLINKS, NO_XDEV | NO_MAGICLINKS, 0, 0, BENEATH, IN_ROOT]
                                  + [BENEATH | IN_ROOT, 64] * (self.random.random() < 0.2))

    def mode(self):
        return self.random.choice(MODES + [0o666, 0o777])

    def id(self):
        return self.random.choice([-1, -1, self.owner, self.owner, 0, OTHER])

    def xattr(self):
        return self.random.choice(["user.a"] * 6 + ["user.b", "trusted.a", "security.a", "none.a", "user.", "@empty",
                                                     "user." + "x" * 250, "user." + "x" * 251, "@null"])

    def node_mode(self):
        return self.random.choice([stat.S_IFIFO, stat.S_IFREG, stat.S_IFSOCK, stat.S_IFCHR, 0, stat.S_IFDIR,
                                   stat.S_IFBLK]) | self.mode()

    def device(self, mode):
        """Only devices that do nothing: null and full."""
        return os.makedev(1, self.random.choice([3, 7])) if mode & 0o170000 == stat.S_IFCHR else 0

    def socket_path(self):
        """Short enough for an address, and of this folder."""
        choose = self.random
        path = choose.choice([choose.choice(NEW_NAMES), choose.choice(self.known)] + [b"sock%d" % choose.randrange(4)] * 3)
        if choose.random() < 0.3:
            path = choose.choice([self.top + b"/", b"./", b"/proc/self/cwd/"]) + path
        if choose.random() < 0.05:
            path = choose.choice([b"s" * 107, b"s" * 108, b"", b"d/" * 50 + b"s"])
        return encoded(path[:108]), choose.choice([0] * 10 + [-1, -1, 1, 50, 200, -2])

    def time(self):
        return self.random.choice(["now", "omit", "null", "1", "123456789", "-5"])

    # Operations.

    def operation(self):
        choose, path, dirfd, slot, mode = self.random, self.path, self.dirfd, self.slot, self.mode
        name = choose.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        at_flags = choose.choice([0] * 5 + [AT_NOFOLLOW] * 3 + [AT_EMPTY_PATH, AT_EMPTY_PATH | AT_NOFOLLOW, 0x8000])
        node = self.node_mode()
        device = self.device(node)
        if device == 0 and node & 0o170000 == stat.S_IFBLK:
            node = node & 0o7777 | stat.S_IFIFO
        kind = choose.choice([socket.SOCK_STREAM] * 3 + [socket.SOCK_DGRAM] * 2 + [socket.SOCK_SEQPACKET])
        size = choose.choice([0, 0, 5, 5, 100, 100000, -1])
        if name in ("bind", "connect", "send"):
            return [name, f"s{choose.randint(6, 9)}", socket.SOCK_DGRAM if name == "send" else kind, *self.socket_path()]
        arguments = {
            "open": [slot(), path(), self.flags(), mode()],
            "openat": [slot(), dirfd(), path(), self.flags(), mode()],
            "openat2": [slot(), dirfd(), path()],
            "creat": [slot(), path(), mode()],
            "close": [slot()], "dup": [slot(), slot()],
            "mkdir": [path(True), mode()], "mkdirat": [dirfd(), path(True), mode()], "rmdir": [path() if choose.random() < 0.3 else encoded(choose.choice(self.folders))], "unlink": [path()],
            "unlinkat": [dirfd(), path(), choose.choice([0, 0, 0, AT_REMOVEDIR, AT_REMOVEDIR, 1])],
            "rename": [path(), path(True)], "renameat": [dirfd(), path(), dirfd(), path(True)],
            "renameat2": [dirfd(), path(), dirfd(), path(choose.random() < 0.5), choose.choice([0, 1, 1, 2, 2, 2, 3, 4, 8])],
            "link": [path(), path(True)],
            "linkat": [dirfd(), path(), dirfd(), path(True), choose.choice([0, 0, AT_FOLLOW, AT_FOLLOW, AT_EMPTY_PATH, 1])],
            "symlink": [self.target(), path(True)], "symlinkat": [self.target(), dirfd(), path(True)],
            "mknod": [path(True), node, device], "mknodat": [dirfd(), path(True), node, device],
            "chmod": [path(), mode()], "fchmod": [slot(), mode()], "fchmodat": [dirfd(), path(), mode()],
            "fchmodat2": [dirfd(), path(), mode(), at_flags],
            "chown": [path(), self.id(), self.id()], "lchown": [path(), self.id(), self.id()],
            "fchown": [slot(), self.id(), self.id()],
            "fchownat": [dirfd(), path(), self.id(), self.id(), at_flags],
            "truncate": [path(), size], "ftruncate": [slot(), size],
            "utimensat": [dirfd(), path(), at_flags, self.time(), self.time()],
            "setxattr": [path(), self.xattr(), "value", choose.choice([0, 0, 1, 2, 4])],
            "lsetxattr": [path(), self.xattr(), "value", choose.choice([0, 0, 1, 2])],
            "fsetxattr": [slot(), self.xattr(), "value", 0],
            "removexattr": [path(), self.xattr()], "lremovexattr": [path(), self.xattr()],
            "fremovexattr": [slot(), self.xattr()], "getxattr": [path(), self.xattr()],
            "umask": [choose.choice([0o022, 0, 0o077, 0o027, 0o777, 0o1022])],
            "chdir": [path()], "fchdir": [choose.choice(["s0", slot()])], "chroot": [path()], "getcwd": [],
            "stat": [dirfd(), path(), at_flags], "access": [path(), choose.choice([0, 1, 2, 4, 7])],
            "readlink": [dirfd(), path()], "read": [slot()], "write": [slot(), choose.randint(0, 9)], "list": [choose.choice(["s0", "s1", slot()])],
        }[name]
        if name == "linkat" and arguments[4] == AT_EMPTY_PATH and arguments[0] == "0":
            arguments[0] = "s0"  # it counts who has opened the folder: here who runs the driver
        if name == "openat2":
            flags = self.flags2()
            with_mode = flags & O["CREAT"] or flags & O["TMPFILE"] == O["TMPFILE"]
            how = [flags, mode() if with_mode or choose.random() < 0.02 else 0, self.resolve()]
            arguments += [*how, choose.choice([24] * 40 + [32, 16, 0]), choose.choice([0, 0, 0, 1])]
        return [name, *arguments]

    def folder_slot(self, second):
        """A folder's descriptor, in one of the slots for these."""
        path = self.top + b"/" + self.random.choice(self.folders + [b""] * len(self.folders))
        return f"open s{int(second)} {encoded(path)} {O['DIRECTORY'] | O['PATH'] * self.random.randint(0, 1):#x} 0"

    def target(self):
        return self.path() if self.random.random() < 0.1 else encoded(self.link_target())

    def lines(self, count):
        """`count` operations; now and then one returns to the folder, lest all of them happen elsewhere."""
        for number in range(count):
            if number % 25 == 24:
                yield f"chdir {encoded(self.top)}"
            elif number % 100 == 57:
                yield "umask 18"
            elif number % 20 in (0, 7):
                yield self.folder_slot(number % 20 == 7)
            else:
                yield " ".join(str(word) for word in self.operation())


WEIGHTS = {
    "open": 14, "openat": 12, "openat2": 10, "creat": 3, "close": 1, "dup": 1, "mkdir": 4, "mkdirat": 2, "rmdir": 2,
    "unlink": 2, "unlinkat": 2, "rename": 3, "renameat": 2, "renameat2": 3, "link": 3, "linkat": 4, "symlink": 3,
    "symlinkat": 2, "mknod": 2, "mknodat": 2, "chmod": 2, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2, "chown": 1,
    "lchown": 1, "fchown": 1, "fchownat": 2, "truncate": 2, "ftruncate": 1, "utimensat": 2, "setxattr": 1,
    "lsetxattr": 1, "fsetxattr": 1, "removexattr": 1, "lremovexattr": 1, "fremovexattr": 1, "getxattr": 1, "bind": 2,
    "connect": 2, "send": 1, "umask": 1, "chdir": 1, "fchdir": 1, "chroot": 0.1, "getcwd": 1, "stat": 2, "access": 1,
    "readlink": 2, "read": 2, "write": 2, "list": 1,
}
