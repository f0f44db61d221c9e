"""What no rule allows here: calls that go past every name, and everything that aims at the supervisor. The policy allows all."""

import subprocess

import control
from native import BARE, HERE, PYTHON, Place, identities
from trial import REST, Trial, failures

SCRIPT = r"""
import ctypes, errno, fcntl, os, resource, signal, struct, sys
sys.dont_write_bytecode = True
sys.path[:0] = [sys.argv[1] + "/../vm", sys.argv[1]]
import probe_file, probe_process
from probe_file import syscall
from probe_process import owner, typed
victim, file, address = int(sys.argv[2]), sys.argv[3], int(sys.argv[4])

def limits(pid):
    resource.prlimit(pid, resource.RLIMIT_CORE, resource.prlimit(pid, resource.RLIMIT_CORE))

def verity(name):
    with open(name, "rb") as one:
        fcntl.ioctl(one, 0x40806685, struct.pack("IIIIQIIQ", 1, 1, 4096, 0, 0, 0, 0, 0) + bytes(88))

def peek(pid):
    here = ctypes.create_string_buffer(8)
    local, there = struct.pack("QQ", ctypes.addressof(here), 8), struct.pack("QQ", address, 8)
    syscall(310, pid, local, 1, there, 1, 0)

def clock(modes):
    timex = bytearray(208)
    syscall(159, (ctypes.c_char * 208).from_buffer(timex))
    timex[:4] = struct.pack("I", modes)  # what was read is set again
    return syscall(305, 0, (ctypes.c_char * 208).from_buffer(timex))

def xfs(name, request):
    with open(name, "rb") as one:
        fcntl.ioctl(one, request, bytes(88))

def scheduled(pid):
    os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))
    syscall(314, pid, struct.pack("IIQiIQQQ", 48, 0, 0, os.getpriority(os.PRIO_PROCESS, pid), 0, 0, 0, 0), 0)

def opened(name, flags=os.O_RDONLY):
    os.close(os.open(name, flags))

alone = os.getppid()
own = f"/proc/{alone}"
table = {
    "TIOCSTI": typed, "keyctl": lambda: syscall(250, 0, -3, 1), "add_key": lambda: syscall(248, b"user", b"k", b"v", 1, -3),
    "request_key": lambda: syscall(249, b"user", b"none", 0, 0), "userfaultfd": lambda: syscall(323, 1),
    "fanotify": lambda: syscall(300, 0x200, 0), "open_by_handle_at": lambda: probe_file.handle(file),
    "int80": lambda: probe_file.raw_open(file), "x32": lambda: probe_file.raw_open(file, "x32"),
    "fs-verity": lambda: verity(file), "prlimit, another's": lambda: limits(victim), "owner of signals, another": lambda: owner(victim),
    "F_SETOWN_EX": lambda: owner(victim, "F_SETOWN_EX"), "FIOSETOWN": lambda: owner(victim, "FIOSETOWN"), "SIOCSPGRP": lambda: owner(victim, "SIOCSPGRP"),
    "memory of another": lambda: peek(victim), "/proc/PID/mem of another": lambda: opened(f"/proc/{victim}/mem", os.O_RDWR),
    "settimeofday": lambda: syscall(164, 0, 0), "adjtimex": lambda: clock(4), "handle of XFS": lambda: xfs(file, 0xc038586b),
    "attributes by a handle of XFS": lambda: xfs(file, 0x4048587b),
    "priority, another's": lambda: os.setpriority(os.PRIO_PROCESS, victim, 19), "scheduling, another's": lambda: scheduled(victim),
    "I/O priority, another's": lambda: syscall(251, 1, victim, 2 << 13 | 4), "pages, another's": lambda: syscall(279, victim, 0, 0, 0, 0, 0),
    "processors, another's": lambda: os.sched_setaffinity(victim, os.sched_getaffinity(victim)),
    "priority, own": lambda: os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0)) or os.setpriority(os.PRIO_PROCESS, os.getpid(), os.getpriority(os.PRIO_PROCESS, 0)), "clock, read": lambda: clock(0),
    "scheduling, own": lambda: scheduled(os.getpid()), "processors, own": lambda: os.sched_setaffinity(0, os.sched_getaffinity(0)),
    "prlimit, own": lambda: limits(0), "owner of signals, own": lambda: owner(os.getpid()),
    "memory, own": lambda: opened("/proc/self/mem", os.O_RDWR),
    "supervisor: priority": lambda: os.setpriority(os.PRIO_PROCESS, alone, 19), "supervisor: scheduling": lambda: scheduled(alone),
    "supervisor: priority, its group": lambda: os.setpriority(os.PRIO_PGRP, os.getpgid(alone), 19),
    "supervisor: I/O priority, its user": lambda: syscall(251, 3, os.stat(f"/proc/{alone}").st_uid, 3 << 13),
    "supervisor: prlimit": lambda: limits(alone), "supervisor: owner of signals": lambda: owner(alone),
    "supervisor: owner of signals, its group": lambda: owner(-os.getpgid(alone)),
    "supervisor: memory": lambda: peek(alone), "supervisor: trace": lambda: probe_process.ptrace(alone),
    "supervisor: signal": lambda: os.kill(alone, signal.SIGCONT),
    "supervisor: a descriptor": lambda: probe_process.pidfd_getfd(alone),
}
for name, flags in [("mem", os.O_RDONLY), ("mem", os.O_RDWR), ("environ", os.O_RDONLY), ("maps", os.O_RDONLY), ("fd", os.O_RDONLY),
                    ("fd/0", os.O_RDONLY), ("root", os.O_RDONLY), ("cwd", os.O_RDONLY), ("oom_score_adj", os.O_WRONLY),
                    (f"task/{alone}/mem", os.O_RDWR), (f"task/{alone}/fd/0", os.O_RDONLY)]:
    table[f"supervisor: /proc file {name} {flags}"] = lambda name=name, flags=flags: opened(f"{own}/{name}", flags)
table["supervisor: /proc through a link"] = lambda: opened(f"{file}-link/mem", os.O_RDWR)
table["supervisor: /proc by its folder"] = lambda: os.open("mem", os.O_RDWR, dir_fd=os.open(own, os.O_PATH))
try:
    os.symlink(own, f"{file}-link")
except FileExistsError:
    pass
for name, act in table.items():
    try:
        act()
        print(name, "ok", sep="\t")
    except OSError as error:
        print(name, errno.errorcode.get(error.errno, error.errno), sep="\t")
os.unlink(f"{file}-link")
"""

# What it is under authz, whatever the policy says; each works bare, or is skipped.
ALWAYS = {"TIOCSTI": "EPERM", "keyctl": "EPERM", "add_key": "EPERM", "request_key": "EPERM", "userfaultfd": "EPERM", "fanotify": "EPERM",
          "open_by_handle_at": "EPERM", "int80": "ENOSYS", "x32": "ENOSYS", "F_SETOWN_EX": "EINVAL", "FIOSETOWN": "EPERM",
          "SIOCSPGRP": "EPERM", "fs-verity": "EPERM", "settimeofday": "EPERM", "adjtimex": "EPERM", "handle of XFS": "EPERM",
          "attributes by a handle of XFS": "EPERM"}
# The calls that the record names for them; those of other interfaces have none.
RECORDED = {"TIOCSTI": "ioctl", "F_SETOWN_EX": "fcntl", "open_by_handle_at": "open_by_handle_at", "adjtimex": "clock_adjtime",
            "settimeofday": "settimeofday", "keyctl": "keyctl", "add_key": "add_key", "request_key": "request_key",
            "userfaultfd": "userfaultfd", "fanotify": "fanotify_init"}
# What a rule for process.* decides.
RULES = {"prlimit, another's": "process.ptrace", "owner of signals, another": "process.signal",
         "priority, another's": "process.signal", "scheduling, another's": "process.signal",
         "I/O priority, another's": "process.signal", "processors, another's": "process.signal", "pages, another's": "process.ptrace",
         "memory of another": "process.ptrace", "/proc/PID/mem of another": "process.ptrace"}
OWN = ["priority, own", "scheduling, own", "processors, own", "clock, read", "prlimit, own", "owner of signals, own", "memory, own"]
NO_PROCESS = 'allow contains {"id": "rest", "reason": "r"} if not startswith(input.action.name, "process.p")\n\n' \
             'deny contains {"id": "signal", "reason": "r"} if input.action.name == "process.signal"\n'


def outcomes(done):
    return dict(line.split("\t") for line in done.stdout.splitlines() if "\t" in line)


def mapped(pid):
    """Where the process has its program; none: it is not that program yet."""
    lines = [line.split() for line in open(f"/proc/{pid}/maps")]
    return next((int(line[0].partition("-")[0], 16) for line in lines if line[-1].endswith("/sleep")), None)


def refusals(trial):
    top = trial.folder("free", file="text\n")
    victim = subprocess.Popen(trial.identity.bare(["sleep", "1000"]))
    address = control.wait(lambda: mapped(victim.pid))
    argv = [PYTHON, "-c", SCRIPT, str(HERE), str(victim.pid), str(top / "file"), str(address)]
    try:
        done = trial.bare(argv)
        bare = outcomes(done)
        trial.check("bare: it gets to its end", set(ALWAYS) | set(RULES) <= set(bare), done)
        allowed, allows = trial.run(REST, argv)
        denied, denials = trial.run(NO_PROCESS, argv)
        seen, observed = trial.run(REST, argv, "--mode", "observe")
    finally:
        victim.kill()
        victim.wait()
    free, bound = outcomes(allowed), outcomes(denied)
    for name, wanted in ALWAYS.items():
        if bare.get(name) != "ok" and bare.get(name) not in ("ENOKEY", "ENOTTY", "EOPNOTSUPP"):
            trial.skip(name, f"bare already {bare.get(name)}; under authz {free.get(name)}")
        else:
            trial.check(f"{name} is refused, whatever the policy says", free.get(name) == wanted, (free.get(name), allowed.stderr[-500:]))
    for name, action in RULES.items():
        if bare.get(name) != "ok":
            trial.skip(name, f"bare already {bare.get(name)}")
            continue
        trial.check(f"{name}: a rule allows it", free.get(name) == "ok", (free.get(name), allowed.stderr[-500:]))
        trial.check(f"{name}: no rule, and it is refused", bound.get(name) == "EACCES", bound.get(name))
    refused = {(syscall, enforced) for _, syscall, causes, enforced in failures(allows) if "no rule can allow" in causes[0]}
    for name, syscall in RECORDED.items():
        trial.check(f"{name}: its refusal is recorded", (syscall, True) in refused, refused)
    went = outcomes(seen)
    unlike = {name: (bare.get(name), went.get(name)) for name in ALWAYS.keys() - {"int80", "x32"} if bare.get(name) != went.get(name)}
    trial.check("observed, they are as bare", not unlike, unlike)
    refused = {syscall for _, syscall, causes, enforced in failures(observed) if "no rule can allow" in causes[0] and not enforced}
    trial.check("observed, they are recorded", set(RECORDED.values()) <= refused, refused)
    resource = {entry["resource"]["id"] for entry in denials if entry.get("action") in RULES.values()}
    trial.check("the process is named in the record", str(victim.pid) in resource, resource)
    for name in OWN:
        trial.check(f"{name}: a process's own affair", bound.get(name) == free.get(name) == bare.get(name) == "ok", (bare.get(name), bound.get(name)))
    aimed = {name: result for name, result in free.items() if name.startswith("supervisor:")}
    went = {name: result for name, result in aimed.items() if result not in ("EACCES", "EPERM")}
    trial.check("nothing reaches the supervisor, whatever the policy says", len(aimed) > 15 and not went, went or allowed)
    trial.check("what was tried on it is recorded", sum("daemon" in causes[0] for _, _, causes, _ in failures(allows)) >= 8, failures(allows))


def run():
    if BARE:
        return
    with Place() as place:
        for identity in identities():
            refusals(Trial(place, identity, "refused"))
