"""The order in which the kernel finds errors, case by case: scripts for fsops.c that start in an empty folder of the
caller's, and what the last operation gives. Each is one that a supervisor had in another order.
"""

from fsscript import AT_EMPTY_PATH, BENEATH, IN_ROOT, NO_MAGICLINKS, NO_SYMLINKS, NO_XDEV, O

LONG = "n" * 256
NOREPLACE, EXCHANGE = 1, 2
CREATE = O["CREAT"] | O["NONBLOCK"] | 1


def openat2(path, resolve, flags=CREATE):
    return f"openat2 s2 cwd {path} {flags} {0o644 if flags & O['CREAT'] else 0} {resolve} 24 0"


CASES = {
    "rename to .. of another mount": (["mkdir a 493", "rename a ./../.."], "EBUSY"),
    "rename of .. before what is not there": (["rename a/.. none"], "ENOENT"),
    "rename to another mount, name too long": ([f"renameat2 cwd {LONG} cwd /dev/x 0"], "EXDEV"),
    "rename to a special name, name too long": ([f"renameat2 cwd {LONG} cwd . 0"], "EBUSY"),
    "rename of a name too long": ([f"rename {LONG} a"], "ENAMETOOLONG"),
    "rename in descriptors, both there": (["renameat2 cwd /proc/self/fd/0 cwd /proc/self/fd/1 1"], "EEXIST"),
    "rename in descriptors, none there": (["renameat2 cwd /proc/self/fd/77 cwd /proc/self/fd/78 0"], "ENOENT"),
    "rename in descriptors to what is not there": (["rename /proc/self/fd/0 /proc/self/fd/78"], "ENOENT"),
    "rename in descriptors with a slash": (["rename /proc/self/fd/0 /proc/self/fd/1/"], "ENOTDIR"),
    "rename in descriptors to itself": (["rename /proc/self/fd/0 /proc/self/fd/0"], "0"),
    "rename in descriptors": (["rename /proc/self/fd/0 /proc/self/fd/1"], "EPERM"),
    "exchange of descriptors": ([f"renameat2 cwd /proc/self/fd/0 cwd /proc/self/fd/1 {EXCHANGE}"], "EPERM"),
    "unlink of a descriptor": (["unlink /proc/self/fd/0"], "EPERM"),
    "unlink of a descriptor with a slash": (["unlink /proc/self/fd/0/"], "ENOTDIR"),
    "unlink on a read-only mount, name too long": ([f"unlink /etc/{LONG}"], "EROFS"),
    "rmdir of ..": (["mkdir a 493", "rmdir a/.."], "ENOTEMPTY"),
    "openat2 of /, beneath": ([openat2("/", BENEATH)], "EXDEV"),
    "openat2 of /, in a root of its own": ([openat2("/", IN_ROOT)], "EISDIR"),
    "openat2 through a link that ends in a slash": (["symlink none/ a", openat2("a", IN_ROOT)], "EISDIR"),
    "openat2 through a link to a file with a slash": (["creat s2 b 420", "symlink b/ a", openat2("a", BENEATH)], "EISDIR"),
    "openat2 makes what a link leads to": (["symlink b a", openat2("a", BENEATH), "stat cwd b 0"], "0"),
    "openat2 makes what a link leads to, by a long path": (
        ["symlink b a", openat2("./" * 2047 + "a", IN_ROOT), "stat cwd b 0"], "0"),
    "openat2 makes what a link leads to, by a long path through folders": (
        ["mkdir d 493", "symlink b a", openat2("d/../" * 818 + "a", IN_ROOT), "stat cwd b 0"], "0"),
    "openat2 to make with a slash, name too long": ([openat2(LONG + "/", BENEATH)], "EISDIR"),
    "openat2 through a link to a descriptor that is closed": (
        ["symlink /proc/self/fd/4 a", openat2("a/f", NO_MAGICLINKS, 2)], "ENOENT"),
    "openat2 through a link to a descriptor": (["symlink /proc/self/fd/0 a", openat2("a", NO_MAGICLINKS, 2)], "ELOOP"),
    "openat2 of a descriptor on another mount": ([openat2("/proc/self/fd/0", NO_XDEV, 2)], "EXDEV"),
    "openat2 of what is the caller's own": ([openat2("/proc/self/comm", NO_MAGICLINKS, 0), "read s2"], "6"),
    "openat2 of what is the caller's own, from within": (
        [f"open s1 /proc {O['PATH']} 0", f"openat2 s2 s1 thread-self/comm 0 0 {BENEATH} 24 0", "read s2"], "6"),
    "openat2 of ..": (["mkdir a 493", "open s1 a 0 0", f"openat2 s2 s1 ../a 0 0 {BENEATH} 24 0"], "EXDEV"),
    "openat2 of .. in a root of its own": (
        ["mkdir a 493", "open s1 a 0 0", f"openat2 s2 s1 ../../.. 0 0 {IN_ROOT} 24 0", "list s2"], "2"),
    "openat2 of / in a root that is no folder": (
        ["creat s2 b 420", f"openat2 s3 s2 / 0 0 {IN_ROOT} 24 0"], "ENOTDIR"),
    "openat2 of .. to another mount": ([openat2("../../etc/hosts", NO_XDEV, 0)], "EXDEV"),
    "openat2 over a mount": ([openat2("/etc/hosts", NO_XDEV, 0)], "EXDEV"),
    "openat2 over an absolute link, the root not met before": (
        ["mkdir /tmp/x1 493", "chdir /tmp/x1", "symlink /tmp/x1 l", openat2("l/f", NO_XDEV)], "EXDEV"),
    "openat2 over an absolute link, the root met before": (
        ["mkdir /tmp/x2 493", "chdir /tmp/x2", "symlink /tmp/x2 l", openat2("../x2/l/f", NO_XDEV), "stat cwd f 0"], "0"),
    "openat2 without links, of one that leads nowhere": (["symlink none a", openat2("a", NO_SYMLINKS, 0)], "ELOOP"),
    "openat2 below a file": (["creat s2 b 420", openat2("b/c", BENEATH)], "ENOTDIR"),
    "open to make over another's socket in a shared folder": (
        ["bind s6 1 a 0", "chmod . 1023", "chown a 1234 1234", "chown . 1235 1235", f"open s2 a {CREATE} 420"], None),
    "openat2 to make over another's socket in a shared folder": (
        ["bind s6 1 a 0", "chmod . 1023", "chown a 1234 1234", "chown . 1235 1235", openat2("a", NO_MAGICLINKS)], None),
    "open to make over a running program": ([f"open s2 /proc/self/exe {CREATE} 420"], None),
    "fchownat with a wrong flag and a name too long": ([f"fchownat cwd {'./' * 2048} -1 -1 32768"], "EINVAL"),
    "fchmodat2 with a wrong flag and no path": (["fchmodat2 cwd @bad 420 32768"], "EINVAL"),
    "utimensat with a wrong flag and no path": (["utimensat cwd @bad 32768 1 1"], "EINVAL"),
    "fchownat of an empty path": ([f"fchownat cwd @empty -1 -1 {AT_EMPTY_PATH}"], "0"),
}
