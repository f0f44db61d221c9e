"""Operations on files. Each returns nothing, raises OSError, or returns the name of an errno."""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import socket
import stat
import struct
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_SYMLINK_FOLLOW = 0x400
RENAME_EXCHANGE = 2
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_NODUMP_FL = 0x80086601, 0x40086602, 0x40
FS_IOC32_SETFLAGS = 0x40046602
FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR, FS_XFLAG_NODUMP = 0x801C581F, 0x401C5820, 0x80
# user::rw- user:1:r-- group::r-- mask::r-- other::---, as the kernel takes it.
ACL = struct.pack("<I" + "HHI" * 5, 2, 1, 6, 2**32 - 1, 2, 4, 1, 4, 4, 2**32 - 1, 16, 4, 2**32 - 1, 32, 0, 2**32 - 1)
# A capability of a file: revision 2, effective, CAP_CHOWN.
FILE_CAPABILITY = struct.pack("<IIIII", 0x02000001, 1, 0, 0, 0)
X32 = 0x40000000


def syscall(number, *args):
    """A raw system call; ints are long, bytes are pointers."""
    wide = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    LIBC.syscall.restype = ctypes.c_long
    result = LIBC.syscall(ctypes.c_long(number), *wide)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


@contextlib.contextmanager
def opened(path, flags=os.O_RDONLY, **more):
    fd = os.open(path, flags, 0o644, **more)
    try:
        yield fd
    finally:
        os.close(fd)


def open_flags(path, *names):
    flags = sum(3 if name == "NOACCESS" else getattr(os, f"O_{name}") for name in names)
    with opened(path, flags):
        pass


def write(path, **more):
    with opened(path, os.O_WRONLY, **more) as fd:
        os.write(fd, b"changed")


def read(path):
    with opened(path) as fd:
        return "ok" if os.read(fd, 9) else "read nothing"


def listed(path):
    return "ok" if os.listdir(path) else "listed nothing"


def exchange(a, b):
    syscall(316, AT_FDCWD, a.encode(), AT_FDCWD, b.encode(), RENAME_EXCHANGE)


def rename_back(a, b):
    os.rename(a, b)
    os.rename(b, a)


def symlink_write(target, name):
    os.symlink(target, name)
    write(name)


@contextlib.contextmanager
def inside(folder):
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def relative(path):
    with inside(os.path.dirname(path)):
        write(os.path.basename(path))


def cwd(path):
    with inside(os.path.dirname(path)):
        write(f"/proc/self/cwd/{os.path.basename(path)}")


def at(path):
    with opened(os.path.dirname(path), os.O_PATH) as folder:
        write(os.path.basename(path), dir_fd=folder)


def reopen(path):
    with opened(path) as fd:
        write(f"/proc/self/fd/{fd}")


def handle(path):
    """name_to_handle_at, open_by_handle_at."""
    buffer = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136)
    mount = ctypes.c_int()
    syscall(303, AT_FDCWD, path.encode(), buffer, ctypes.byref(mount), 0)
    with opened(os.path.dirname(path)) as folder:
        os.close(syscall(304, folder, buffer, os.O_WRONLY))


def mapped(path):
    """A shared mapping changes what it maps."""
    with opened(path, os.O_RDWR) as fd, mmap.mmap(fd, 1) as memory:
        memory[0] ^= 1


def map_files(path):
    """The file of a mapping that can only be read, opened again for writing."""
    with opened(path) as fd, mmap.mmap(fd, 1, prot=mmap.PROT_READ):
        with open("/proc/self/maps", encoding="utf-8") as maps:
            line = next(line for line in maps if line.rstrip("\n").endswith(path) and " r--s " in line)
        write(f"/proc/self/map_files/{line.split()[0]}")


def fchmod(path):
    with opened(path) as fd:
        os.fchmod(fd, 0o600)


def setflags(path, how=None):
    """What chattr does; the file need not be open for writing."""
    with opened(path) as fd:
        flags = bytearray(8)
        fcntl.ioctl(fd, FS_IOC_GETFLAGS, flags)
        flags[0] ^= FS_NODUMP_FL
        if how == "32-bit":
            int80(54, fd, FS_IOC32_SETFLAGS, bytes(flags))
        elif how == "x32":
            syscall(X32 + 514, fd, FS_IOC_SETFLAGS, bytes(flags))
        else:
            fcntl.ioctl(fd, FS_IOC_SETFLAGS, bytes(flags))


def fssetxattr(path):
    with opened(path) as fd:
        flags = bytearray(28)
        fcntl.ioctl(fd, FS_IOC_FSGETXATTR, flags)
        flags[0] ^= FS_XFLAG_NODUMP
        fcntl.ioctl(fd, FS_IOC_FSSETXATTR, bytes(flags))


def file_setattr(path):
    """The system calls of 6.17."""
    attributes = ctypes.create_string_buffer(24)
    syscall(468, AT_FDCWD, path.encode(), attributes, 24, 0)
    changed = bytes([attributes.raw[0] ^ FS_XFLAG_NODUMP]) + attributes.raw[1:]
    syscall(469, AT_FDCWD, path.encode(), changed, 24, 0)


def name_space():
    """Of extended attributes: where tmpfs takes none from a user, it takes them from root."""
    return "user" if os.getuid() else "trusted"


def fsetxattr(path):
    with opened(path) as fd:
        os.setxattr(fd, f"{name_space()}.case", b"1")


def futimens(path):
    with opened(path) as fd:
        os.utime(fd, (1, 1))


def write_capable(path):
    """The kernel takes a capability away from a file that is written; nobody asked it to."""
    os.setxattr(path, "security.capability", FILE_CAPABILITY)
    write(path)
    return "the capability is still there" if "security.capability" in os.listxattr(path) else "ok"


def mknod(path, kind):
    if kind == "fifo":
        os.mkfifo(path)
    else:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))


def bind(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)


def tmpfile_link(folder, name):
    with opened(folder, os.O_RDWR | os.O_TMPFILE) as fd:
        os.write(fd, b"new")
        target = f"/proc/self/fd/{fd}".encode()
        if LIBC.linkat(AT_FDCWD, target, AT_FDCWD, name.encode(), AT_SYMLINK_FOLLOW):
            raise OSError(ctypes.get_errno(), "linkat")


def detached(path):
    """In a grandchild that left the session of the terminal and lost its parent."""
    here, there = os.pipe()
    child = os.fork()
    if not child:
        os.setsid()
        if os.fork():
            os._exit(0)
        try:
            write(path)
            text = "ok"
        except OSError as error:
            text = errno.errorcode[error.errno]
        os.write(there, text.encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(there)
    text = os.read(here, 99).decode()
    os.close(here)
    return text or "no answer"


def thread(path):
    answer = []

    def body():
        try:
            write(path)
            answer.append("ok")
        except OSError as error:
            answer.append(errno.errorcode[error.errno])

    other = threading.Thread(target=body)
    other.start()
    other.join()
    return answer[0]


# int $0x80 with eax, ebx, ecx, edx from the arguments edi, esi, edx, ecx; rbx is kept.
INT80 = bytes.fromhex("53 89 f8 89 f3 87 d1 cd 80 5b c3")


def int80(number, *args):
    """A system call as a 32-bit program makes it; bytes are copied below 4 GB, a page each."""
    MAP_32BIT, page = 0x40, 4096
    LIBC.mmap.restype = ctypes.c_void_p
    LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
    low = LIBC.mmap(None, 4 * page, 7, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_32BIT, -1, 0)
    ctypes.memmove(low, INT80, len(INT80))
    words = [number]
    for place, arg in enumerate(args, 1):
        if isinstance(arg, bytes):
            ctypes.memmove(low + place * page, arg + b"\0", len(arg) + 1)
            arg = low + place * page
        words.append(arg)
    words += [0] * (4 - len(words))
    result = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_uint] * 4)(low)(*words)
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def raw_open(path, abi="32-bit"):
    """open as a 32-bit program calls it, or by the number of the x32 ABI."""
    if abi == "32-bit":
        os.close(int80(5, path.encode(), os.O_WRONLY, 0))
    else:
        os.close(syscall(X32 + 2, path.encode(), os.O_WRONLY, 0))


def raw_rename(path, other):
    int80(38, path.encode(), other.encode())


def raw_unlink(path):
    int80(10, path.encode())


def raw_chmod(path):
    int80(15, path.encode(), 0o600)


OPS = {
    "open": open_flags, "read": read, "list": listed, "truncate": lambda path: os.truncate(path, 0),
    "ftruncate": lambda fd: os.ftruncate(int(fd), 0), "rename": os.rename, "exchange": exchange,
    "rename_back": rename_back, "unlink": os.unlink, "link": os.link, "symlink": os.symlink,
    "symlink_write": symlink_write, "relative": relative, "cwd": cwd, "at": at, "reopen": reopen,
    "handle": handle, "mkdir": os.mkdir, "rmdir": os.rmdir, "chmod": lambda path: os.chmod(path, 0o600),
    "fchmod": fchmod, "chown": lambda path: os.chown(path, -1, os.getgid()),
    "lchown": lambda path: os.lchown(path, -1, os.getgid()), "utime": lambda path: os.utime(path, (1, 1)),
    "touch": os.utime, "lutimes": lambda path: os.utime(path, (1, 1), follow_symlinks=False), "futimens": futimens,
    "setxattr": lambda path: os.setxattr(path, f"{name_space()}.case", b"1"), "fsetxattr": fsetxattr,
    "removexattr": lambda path: os.removexattr(path, f"{name_space()}.old"),
    "setacl": lambda path: os.setxattr(path, "system.posix_acl_access", ACL),
    "removeacl": lambda path: os.removexattr(path, "system.posix_acl_default"),
    "setflags": setflags, "fssetxattr": fssetxattr, "file_setattr": file_setattr, "write_capable": write_capable,
    "raw_rename": raw_rename, "raw_unlink": raw_unlink, "raw_chmod": raw_chmod,
    "mknod": mknod, "bind": bind, "tmpfile_link": tmpfile_link,
    "map": mapped, "map_files": map_files, "detached": detached, "thread": thread, "raw_open": raw_open,
}
