"""The tables of tests/cases, with the seccomp back end: as root, as a user that root runs, and as a user.

What is mounted and set for them stays in a root and a network of their own.
"""

import os
import subprocess

import cases
import harness
import test_exec
import test_file
import test_net
import test_system
from native import BARE, HERE, Place, setpriv

TABLES = {"file": test_file, "exec": test_exec, "net": test_net, "system": test_system}


def inside():
    """All tables, in the sandbox, as NATIVE_USER says."""
    user = os.environ.get("NATIVE_USER") == "user"
    harness.options += ["--backend", "seccomp"]
    cases.native = True
    test_file.MOUNTS["ext4"] = "mount --bind /w /vol/ext4"
    if user:
        harness.before += setpriv("--init-groups")
    test_file.run(root=not user)
    for name, module in TABLES.items():
        if module is not test_file:
            module.run()


def relayed(who):
    """Runs this module in the sandbox; its checks become ones of this process."""
    with Place() as place:
        env = {**os.environ, "SANDBOX_NET": "1", "NATIVE_INSIDE": "1", "NATIVE_USER": who}
        argv = [str(HERE / "sandbox.sh"), str(place.fresh("w")), str(place.tools), "/project/tests/native/run", "cases"]
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", env=env, timeout=1500, check=False)
    for line in done.stdout.splitlines():
        word, _, rest = line.partition(" ")
        name, _, detail = rest.partition(": ")
        if word == "skip":
            harness.skip(f"cases, {who}, {name}", detail)
        elif word in ("ok", "FAIL"):
            harness.check(f"cases, {who}, {rest if word == 'ok' else name}", word == "ok", detail)
        elif word == "#":
            print(line)
    if not done.stdout.rstrip().endswith("skipped"):
        harness.check(f"cases, {who}: run to their end", False, (done.returncode, done.stderr[-2000:]))


def run():
    if os.environ.get("NATIVE_INSIDE"):
        inside()
    elif BARE or os.getuid():
        harness.skip("cases", "they need authz" if BARE else "they need root")
    else:
        for who in ("root", "user"):
            relayed(who)
