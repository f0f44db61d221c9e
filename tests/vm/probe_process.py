"""Operations that run another program, and those on the system itself."""

import ctypes
import fcntl
import os
import pty
import signal
import socket
import struct
import subprocess

from probe_file import LIBC, syscall

TIOCSCTTY, TIOCSTI, F_SETOWN_EX = 0x540E, 0x5412, 15


def judged(result):
    """What a program's end says: `ok`, or EACCES if it complained about permission."""
    if result.returncode == 0:
        return "ok"
    text = result.stderr + result.stdout
    if "ermission denied" in text or "EACCES" in text:
        return "EACCES"
    return f"status {result.returncode}: {text[-200:]}"


def run(*argv):
    """execve's own error is raised; the program's is judged."""
    return judged(subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True))


def prints(*argv):
    """The program, run by whatever means, prints `ran`; a refusal to run it is EACCES."""
    result = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if "ran" in result.stdout.split():
        return "ok"
    refused = ("ermission denied", "failed to map segment", "cannot open shared object")
    if result.returncode and any(text in result.stderr for text in refused):
        return "EACCES"
    return f"status {result.returncode}: {result.stderr[-200:]}"


def memfd(path):
    """The program's bytes from a file without a name."""
    fd = os.memfd_create("case", 0)
    with open(path, "rb") as file:
        os.write(fd, file.read())
    return prints(f"/proc/{os.getpid()}/fd/{fd}")


def dlopen(path):
    """Maps a library as code."""
    try:
        ctypes.CDLL(path)
    except OSError as error:
        return "EACCES" if "ermission denied" in str(error) or "failed to map" in str(error) else str(error)


def execveat(path):
    """By descriptor alone."""
    with open(path, "rb") as file:
        child = os.fork()
        if not child:
            try:
                os.set_inheritable(file.fileno(), True)
                os.execve(file.fileno(), [path], {})
            except OSError as error:
                os._exit(100 + error.errno)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status > 100:
        raise OSError(status - 100, "execveat")


def node(path):
    script = "try{require('fs').writeFileSync(process.argv[1],'x')}catch(e){console.log(e.code);process.exit(1)}"
    return run("node", "-e", script, path)


def static(path):
    return run("busybox", "sh", "-c", f"echo x > {path}")


def mount(target):
    if LIBC.mount(b"none", target.encode(), b"tmpfs", 0, None):
        raise OSError(ctypes.get_errno(), "mount")
    LIBC.umount2(target.encode(), 2)


def umount(target):
    if LIBC.umount2(target.encode(), 2):
        raise OSError(ctypes.get_errno(), "umount")


def forked(body):
    """In a child, so that the probe itself stays as it is."""
    child = os.fork()
    if not child:
        try:
            body()
            os._exit(0)
        except OSError as error:
            os._exit(error.errno)
        except BaseException:
            os._exit(255)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise OSError(status, "in the child")


def unshare(flags):
    forked(lambda: syscall(272, int(flags, 16)))


def setns(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        forked(lambda: syscall(308, fd, 0))
    finally:
        os.close(fd)


def made(number, *args):
    """A call that makes a descriptor."""
    os.close(syscall(number, *args))


def bpf():
    """BPF_MAP_CREATE of an array of one."""
    attr = ctypes.create_string_buffer(bytes.fromhex("02000000 04000000 04000000 01000000"), 120)
    made(321, 0, attr, 120)


def io_uring():
    made(425, 4, ctypes.create_string_buffer(120))


def perf():
    attr = ctypes.create_string_buffer(bytes.fromhex("01000000 80000000"), 128)  # a software clock
    made(298, attr, 0, -1, -1, 0)


def a_socket(family, kind, protocol):
    socket.socket(int(family), int(kind), int(protocol)).close()


def ptrace(pid):
    """PTRACE_SEIZE, then let go."""
    LIBC.ptrace.argtypes = [ctypes.c_long] * 4
    if LIBC.ptrace(0x4206, int(pid), 0, 0):
        raise OSError(ctypes.get_errno(), "ptrace")
    LIBC.ptrace(17, int(pid), 0, 0)


def memory(pid):
    os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR))


def pidfd_getfd(pid):
    fd = os.pidfd_open(int(pid))
    try:
        made(438, fd, 0, 0)
    finally:
        os.close(fd)


def kill(pid):
    os.kill(int(pid), signal.SIGCONT)


def daemons():
    """The daemon: the other child of the `authz exec` that started the probe, or the probe's parent itself."""
    with open(f"/proc/{os.getppid()}/cmdline", "rb") as file:
        if b"--supervisor" in file.read():
            yield os.getppid()
            return
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == os.getppid() and int(pid) != os.getpid():
            yield int(pid)


def kill_daemon(name):
    number = getattr(signal, name)
    found = list(daemons())
    for pid in found:
        os.kill(pid, number)
    return "ok" if found else "no daemon"


def control_socket():
    folders = ["/run/authz", f"/tmp/authz-{os.getuid()}"]
    found = [os.path.join(folder, name) for top in folders for folder, _, names in os.walk(top) for name in names
             if name.endswith("sock")]
    for path in found:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
    return "ok" if found else "no socket"


def typed():
    """TIOCSTI, on a terminal of its own."""
    _, other = pty.openpty()

    def types():
        os.setsid()
        fcntl.ioctl(other, TIOCSCTTY, 0)
        fcntl.ioctl(other, TIOCSTI, b"x")
    forked(types)


def owner(pid, how="F_SETOWN"):
    """Who is signalled when a socket can be read."""
    here, there = socket.socketpair()
    with here, there:
        if how == "F_SETOWN":
            fcntl.fcntl(here, fcntl.F_SETOWN, int(pid))
        elif how == "F_SETOWN_EX":
            fcntl.fcntl(here, F_SETOWN_EX, struct.pack("ii", 1, int(pid)))
        else:
            fcntl.ioctl(here, {"FIOSETOWN": 0x8901, "SIOCSPGRP": 0x8902}[how], struct.pack("i", int(pid)))


def owner_daemon():
    found = list(daemons())
    for pid in found:
        owner(pid)
    return "ok" if found else "no daemon"


def own_owner():
    owner(os.getpid())


def init_module():
    syscall(175, b"no module" * 100, 900, b"")


def finit_module(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        syscall(313, fd, b"", 0)
    finally:
        os.close(fd)


OPS = {
    "run": run, "prints": prints, "memfd": memfd, "dlopen": dlopen, "execveat": execveat, "node": node,
    "static": static, "sh": lambda text: run("/bin/sh", "-c", text), "mount": mount, "umount": umount,
    "unshare": unshare, "setns": setns, "bpf": bpf, "io_uring": io_uring, "perf": perf, "socket": a_socket,
    "open_tree": lambda: made(428, -100, b"/tmp", 1), "fsopen": lambda: made(430, b"tmpfs", 0),
    "chroot": lambda: forked(lambda: os.chroot("/tmp")), "ptrace": ptrace, "memory": memory,
    "pidfd_getfd": pidfd_getfd, "kill": kill, "kill_daemon": kill_daemon, "control_socket": control_socket,
    "typed": typed, "owner": owner, "owner_daemon": owner_daemon, "own_owner": own_owner, "init_module": init_module, "finit_module": finit_module,
}
