"""Which back end is picked and announced, on whatever this machine was started with: `lsm=` with and without bpf and
landlock, root and an ordinary user, and what Yama lets a supervisor do."""

import json
import os
import pathlib
import subprocess

import control
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
        in_part()
    if YAMA.exists():
        yama()


def in_part():
    """One program loads, as the probe finds, but not all of them: there are too few descriptors for that."""
    def few(*options, files=40):
        return harness.bare(["prlimit", f"--nofile={files}:4096", harness.AUTHZ, "exec", "--policy", "preset:observe-all",
                             *options, "--", "echo", "ran"])
    why = "not all LSM programs load: "
    start = few()
    check("auto falls back to seccomp and says why in the one line at the start",
          start.returncode == 0 and start.stdout == "ran\n" and len(start.stderr.splitlines()) == 2
          and f"authz: enforced by seccomp ({why}" in start.stderr, start)
    refused = few("--backend", "bpf-lsm")
    check("a back end that was named does not fall back",
          (refused.returncode, refused.stdout) == (125, "") and why in refused.stderr, refused)
    refused = few("--require", "full")
    check("nor does one that must enforce all",
          (refused.returncode, refused.stdout) == (125, "") and f"--require full cannot be met: {why}" in refused.stderr,
          refused)
    pins = pathlib.Path("/sys/fs/bpf/authz")
    # Those of the session before are removed after its end.
    gone = control.wait(lambda: not list(pins.glob("*")))
    check("of the programs nothing is left", gone, [str(pin) for pin in pins.rglob("*")][:5])
    print(f"# {start.stderr.splitlines()[0]}", flush=True)
    check("with descriptors enough it is bpf-lsm", "authz: enforced by bpf-lsm, " in few(files=1024).stderr)


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
