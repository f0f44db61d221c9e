"""authz beside what else decides about operations, in one run on one kernel: Landlock, fapolicyd, strace, each with
the same number of rules. Every program and file that is timed lies in one of as many folders as there are rules.
"""
import glob
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

from figures import HERE, Worker

COUNTS = (10, 100, 1000)
# Operations that authz records one by one, which its daemon does meanwhile: with one processor, on the same.
RECORDED = ("create", "exec", "connect")
ROUNDS = 9
PINS = "/sys/fs/bpf/authz/*"
POLICY = """package authz

allow contains {"id": "folders"} if under(input.resource.id, data.peers.folders)

allow contains {"id": "blocks"} if {
	connects
	in_cidr(input.resource.properties.ip, data.peers.blocks)
}

allow contains {"id": "bind"} if input.action.name == "net.bind"
"""
CONFIGURATION = """permissive = 0
nice_val = 0
q_size = 640
uid = 0
gid = 0
do_stat_report = 0
db_max_size = 50
subj_cache_size = 1549
obj_cache_size = 8191
watch_fs = tmpfs
trust = file
integrity = none
syslog_format = rule,dec,perm,pid,exe,:,path
"""


class Bench:
    """The folders, the workers' program in the first of them, and what each operation took."""

    def __init__(self, folder, rows):
        self.folder, self.rows = folder, rows
        self.data = os.path.join(folder, "data")
        for number in range(max(COUNTS)):
            os.makedirs(f"{self.data}/d{number}")
            with open(f"{self.data}/d{number}/f", "w") as file:
                file.write("x\n")
        first = f"{self.data}/d0"
        self.program, true = f"{first}/openclose", f"{first}/true"
        build = ["gcc", "-O2", "-static", "-o"]
        subprocess.run([*build, self.program, os.path.join(HERE, "openclose.c")], check=True)
        subprocess.run([*build, true, "-x", "c", "-"], input=b"int main(void) { return 0; }", check=True)
        self.operations = [("open", f"{first}/f", 200, "open+close"), ("create", f"{first}/new", 50, "create+close+unlink"),
                           ("exec", true, 4, "vfork+exec+wait"), ("connect", "-", 20, "TCP connect+accept+close")]
        self.times, self.own = {}, {}
        self.bare = Worker(self.program)
        self.rounds("warm", self.bare, 1)

    def rounds(self, name, worker, count=ROUNDS, only=None):
        for _ in range(count):
            for operation in self.operations:
                if only is None or operation[0] in only:
                    took, own = worker.ask(*operation[:3])
                    self.times.setdefault((name, operation[0]), []).append(took / operation[2])
                    self.own.setdefault((name, operation[0]), []).append(own / operation[2])

    def in_turn(self, name, worker, only=None):
        """One round each that is not counted, then the two in turn."""
        self.rounds("warm", worker, 1, only)
        for _ in range(ROUNDS):
            self.rounds("bare", self.bare, 1, only)
            self.rounds(name, worker, 1, only)

    def policy(self, count):
        """A policy of that many folders and address blocks, as its two files."""
        rego, data = f"{self.folder}/peers{count}.rego", f"{self.folder}/peers{count}.json"
        blocks = [f"10.{number // 200}.{number % 200}.0/24" for number in range(count - 1)]
        with open(rego, "w") as file:
            file.write(POLICY)
        with open(data, "w") as file:
            folders = [f"{self.data}/d{number}" for number in range(count)]
            json.dump({"peers": {"folders": folders, "blocks": [*blocks, "127.0.0.0/8"]}}, file)
        return ["--policy", rego, "--policy", data]

    def session(self, backend, count):
        state = f"{self.folder}/state-{backend}-{count}"
        return Worker(self.program, ["authz", "exec", "--backend", backend, "--quiet", "--state", state,
                                     *self.policy(count), "--"])

    def report(self, name, how, only=None, target=None, own=()):
        """The rows of one peer; `target(operation, ratio, times)` gives target and verdict. `own`: operations whose own
        processor time is told too, without what others do on the one processor meanwhile."""
        for operation, _, count, what in self.operations:
            for times, of in ((self.times, ""), (self.own, ", own processor time")):
                values = times.get((name, operation))
                if not values or of and operation not in own:
                    continue
                bare = statistics.median(times["bare", operation])
                ratios = [value / bare for value in values]
                goal = target(operation, statistics.median(ratios), times) if target else (None, None)
                self.rows.add(f"{what}, {name}{of}", "x bare", ratios,
                              f"{how}; {count} a round, {len(values)} rounds; {statistics.median(values) - bare:+.0f} "
                              "instructions over bare", *goal)


def authz_lsm(bench, count):
    """A session with LSM programs; also what is outside meanwhile, and the first sight of each folder."""
    bare = bench.bare.ask("spread", bench.data, count)
    worker = bench.session("bpf-lsm", count)
    first = worker.ask("spread", bench.data, count)
    again = worker.ask("spread", bench.data, count)
    if statistics.median(again) > 0.5 * statistics.median(first):
        print("bench: the second open of a file costs as the first: not remembered?", file=sys.stderr, flush=True)
    bench.rounds("warm", worker, 1)
    time.sleep(3)  # until the daemon has signed what it recorded: there is one processor
    bench.rounds(f"authz bpf-lsm, {count} rules", worker)
    bench.rounds("outside a session", bench.bare, 2)
    worker.end()
    bench.rows.add(f"open+close, authz bpf-lsm, first sight, {count} rules", "x bare",
                   [a / b for a, b in zip(first, bare)],
                   f"first open in each of the {count} folders, each decided by the daemon, against the same bare; "
                   f"{statistics.median(first) - statistics.median(bare):+.0f} instructions over bare", p99=count >= 100)
    for _ in range(100):  # until the programs are detached
        if not glob.glob(PINS):
            return
        time.sleep(1)
    sys.exit("bench: the LSM programs of a session that has ended stay")


def fapolicyd(bench, root, count):
    """Its daemon with as many rules, of which the folder's own is in the middle; None, or why there is no figure."""
    for path in ("/etc/fapolicyd/trust.d", "/run/fapolicyd", "/var/lib/fapolicyd", "/usr/share/fapolicyd"):
        os.makedirs(path, exist_ok=True)
    shutil.copy(f"{root}/usr/share/fapolicyd/fapolicyd-magic.mgc", "/usr/share/fapolicyd/")
    folders = [f"{bench.data}/d{number}/" for number in range(1, count)]
    folders.insert(count // 2, f"{bench.data}/d0/")
    rules = "".join(f"allow perm=any all : dir={name}\n" for name in folders)
    for path, text in (("fapolicyd.conf", CONFIGURATION), ("fapolicyd.trust", ""),
                       ("compiled.rules", f"{rules}deny_audit perm=any all : dir={bench.data}/\nallow perm=any all : all\n")):
        with open(f"/etc/fapolicyd/{path}", "w") as file:
            file.write(text)
    stray, log = f"{bench.data}/stray", f"{bench.folder}/fapolicyd-{count}.log"
    with open(stray, "w"):
        pass
    with open(log, "w") as file:
        daemon = subprocess.Popen([f"{root}/usr/sbin/fapolicyd", "--debug-deny"], stdout=file, stderr=file,
                                  stdin=subprocess.DEVNULL,
                                  env={**os.environ, "LD_LIBRARY_PATH": f"{root}/usr/lib/x86_64-linux-gnu"})
    try:
        for _ in range(120):
            said = open(log).read()
            if daemon.poll() is not None:
                return f"fapolicyd ended: {said.strip().splitlines()[-1:]}"
            if "Starting to listen" in said:
                break
            time.sleep(1)
        else:
            return f"fapolicyd does not start: {said.strip().splitlines()[-3:]}"
        # What no rule allows is denied, or nothing is enforced at all.
        try:
            open(stray).close()
            return "fapolicyd lets pass what its rules deny"
        except PermissionError:
            pass
        bench.rounds("warm", bench.bare, 1, ("open", "exec"))
        bench.rounds(f"fapolicyd, {count} rules", bench.bare, only=("open", "exec"))
        return None
    finally:
        daemon.terminate()
        daemon.wait(60)


def part(folder, rows):
    bench = Bench(folder, rows)
    for count in COUNTS:
        confined = Worker(bench.program)
        confined.ask("confine", bench.data, count)
        bench.in_turn(f"Landlock, {count} rules", confined)
        confined.end()
    for count in COUNTS:
        supervised = bench.session("seccomp", count)
        bench.in_turn(f"authz seccomp, {count} rules", supervised)
        supervised.end()
    missing = []
    if shutil.which("strace"):
        traced = Worker(bench.program, ["strace", "-f", "-o", "/dev/null"])
        bench.in_turn("strace -f", traced)
        traced.end()
    else:
        missing.append("strace is not installed")
    for count in COUNTS:
        authz_lsm(bench, count)
        bench.rounds("bare", bench.bare)
    root = os.environ.get("FAPOLICYD")
    for count in COUNTS if root else ():
        if why := fapolicyd(bench, root, count):
            missing.append(why)
            break
        bench.rounds("bare", bench.bare, 2)
    if not root:
        missing.append("fapolicyd was not fetched")
    bench.bare.end()
    for why in missing:
        print(f"bench: left out: {why}", file=sys.stderr, flush=True)

    for operation, _, count, what in bench.operations:
        values = bench.times["bare", operation]
        rows.add(f"{what}, bare", "instructions", values, f"{count} a round, {len(values)} rounds between all others'")
    bench.report("outside a session", "beside a session with LSM programs")
    for count in COUNTS:
        def landlock(operation, ratio, times, count=count):
            if count != 100:
                return None, None
            other, bare = (statistics.median(times[name, operation]) for name in (f"Landlock, {count} rules", "bare"))
            other /= bare
            return f"<= Landlock's {other:.2f}", "met" if ratio <= other else "missed"
        bench.report(f"authz bpf-lsm, {count} rules", "decided before, found in the kernel", target=landlock, own=RECORDED)
    for count in COUNTS:
        bench.report(f"Landlock, {count} rules", f"{count} folders and {count} ports", own=RECORDED)
    for count in COUNTS:
        bench.report(f"authz seccomp, {count} rules", "decided before, found in the supervisor's table")
    for count in COUNTS:
        bench.report(f"fapolicyd, {count} rules", "Debian's package, a rule for each folder, the file's own in the middle")
    bench.report("strace -f", "its output to /dev/null")
    for operation, *_, what in bench.operations:
        ends = [bench.times[f"authz bpf-lsm, {count} rules", operation] for count in (COUNTS[0], COUNTS[-1])]
        ratio = [b / a for a, b in zip(*map(sorted, ends))]
        rows.add(f"{what}, authz bpf-lsm, 1,000 rules over 10", "times", ratio, "of the rows above, sorted and in pairs",
                 "flat: <= 1.05", "met" if statistics.median(ratio) <= 1.05 else "missed")
