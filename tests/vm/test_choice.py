"""Which back end is picked and announced, on whatever this machine was started with: `lsm=` with and without bpf and
landlock, root and an ordinary user, and what Yama lets a supervisor do."""

import json
import os
import pathlib
import subprocess

import harness
from harness import check

NOBODY = 65534
YAMA = pathlib.Path("/proc/sys/kernel/yama/ptrace_scope")


def as_user(*args):
    """A command of authz as an ordinary user with a home folder of its own."""
    def become():
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    return subprocess.run([harness.AUTHZ, *args], capture_output=True, text=True, timeout=60, preexec_fn=become,
                          cwd="/", env={"PATH": os.environ["PATH"], "HOME": "/tmp/nobody"}, check=False)


def report(answer):
    """What doctor says, after the checks that hold for every answer."""
    check("doctor has no error", not answer.stderr, answer.stderr)
    return json.loads(answer.stdout)


def found(doctor, name):
    return next(item for item in doctor["checks"] if item["name"] == name)


def run():
    modules = pathlib.Path("/sys/kernel/security/lsm").read_text().strip().split(",")
    with_bpf = "bpf" in modules
    print(f"# lsm={','.join(modules)}", flush=True)

    root = report(harness.authz("doctor", "--json"))
    expected = {"backend": "bpf-lsm", "why": ""} if with_bpf else \
        {"backend": "seccomp", "why": "bpf is not in the kernel's list of LSMs"}
    check("root gets the strongest back end", root["auto"] == expected, root["auto"])
    check("root: the other one is told too", root["seccomp"] is True, found(root, "seccomp notify"))
    landlock = found(root, "landlock")["ok"]
    check("Landlock is told as it is", landlock == ("landlock" in modules), found(root, "landlock"))

    user = report(as_user("doctor", "--json"))
    expected = {"backend": "seccomp", "why": "no root: LSM programs need it"}
    check("a user gets seccomp", user["auto"] == expected, user["auto"])
    levels = {item["level"] for item in user["enforcement"]["actions"]}
    check("a user's level is told per action", levels == {"full", "partial"}, levels)
    refusal = as_user("exec", "--backend", "bpf-lsm", "--", "true")
    check("a user is told why not bpf-lsm", refusal.returncode == 125 and "no root" in refusal.stderr, refusal)
    for command in ["sessions", "pending"]:
        answer = as_user(command)
        check(f"a user's {command}", (answer.returncode, answer.stderr) == (0, ""), answer)

    if with_bpf:
        session = harness.authz_exec("preset:observe-all", ["true"])
        check("the line at the start names the back end", "authz: enforced by bpf-lsm, " in session.stderr,
              session.stderr)
    if YAMA.exists():
        yama()


def yama():
    """A supervisor traces what it supervises; Yama may forbid that to users, or to all."""
    before = YAMA.read_text()
    try:
        YAMA.write_text("2\n")
        user = report(as_user("doctor", "--json"))
        check("Yama 2: a user has nothing", user["auto"]["backend"] == "none", user["auto"])
        check("Yama 2: the fix is named", "ptrace_scope=1" in found(user, "seccomp notify").get("fix", ""), user["auto"])
        check("Yama 2: root can", report(harness.authz("doctor", "--json"))["seccomp"] is True)
    finally:
        YAMA.write_text(before)
