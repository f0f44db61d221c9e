"""What the modules tests/vm/test_*.py share. Each has a function `run()`; tests/vm/run calls it as root in the machine."""

import importlib
import os
import shutil
import subprocess
import tempfile
import time
import traceback

AUTHZ = shutil.which("authz") or "authz"

# Options of every `authz exec`, and the command that it is started by, as another user.
options, before = [], []

passed = failed = skipped = 0


def check(name, condition, detail=""):
    """Counts and prints one check; returns whether it passed."""
    global passed, failed
    if condition:
        passed += 1
        print(f"ok {name}", flush=True)
    else:
        failed += 1
        text = str(detail).replace("\n", " | ")
        print(f"FAIL {name}: {text}", flush=True)
    return bool(condition)


def skip(name, why):
    """Counts a check that this kernel or machine cannot run."""
    global skipped
    skipped += 1
    print(f"skip {name}: {why}", flush=True)


def policy_file(policy):
    """`preset:NAME` and paths as they are; Rego text is written to a file first."""
    if policy.startswith("preset:") or (policy.startswith("/") and "\n" not in policy):
        return policy
    text = policy if "package authz" in policy else f"package authz\n\n{policy}"
    with tempfile.NamedTemporaryFile("w", prefix="policy-", suffix=".rego", delete=False) as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    return file.name


def authz_argv(policy, argv, **flags):
    """The command line; `flags` become options: user="nobody", hold_timeout="5s", quiet=True."""
    policies = [policy] if isinstance(policy, str) else policy
    line = [*before, AUTHZ, "exec", *([] if "backend" in flags else options)]
    if before:
        flags.pop("user", None)
    for one in policies:
        line += ["--policy", policy_file(one)]
    for name, value in flags.items():
        option = "--" + name.replace("_", "-")
        for one in value if isinstance(value, list) else [value]:
            line += [option] if one is True else [option, str(one)]
    return [*line, "--", *argv]


def authz_exec(policy, argv, timeout=120, env=None, cwd=None, close_fds=True, **flags):
    """Runs `argv` under policy (Rego text, a path, `preset:NAME` or a list of these) to its end.

    A CompletedProcess with text output; status 124 if it took longer than `timeout` seconds.
    """
    return finish(authz_argv(policy, argv, **flags), timeout, env, cwd, close_fds)


def authz_start(policy, argv, env=None, cwd=None, **flags):
    """As authz_exec, but running: a Popen with pipes for stdin, stdout and stderr, as text."""
    return subprocess.Popen(authz_argv(policy, argv, **flags), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env=environment(env), cwd=cwd)


def bare(argv, timeout=120, env=None, cwd=None, close_fds=True):
    """As authz_exec, but without authz: what is denied there has to succeed here."""
    return finish(argv, timeout, env, cwd, close_fds)


def authz(*args, timeout=60):
    """Any other command of authz: authz("pending", "--json")."""
    return finish([AUTHZ, *args], timeout, None, None)


def environment(extra):
    return {**os.environ, **{name: str(value) for name, value in (extra or {}).items()}}


def finish(argv, timeout, env, cwd, close_fds=True):
    try:
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                              timeout=timeout, env=environment(env), cwd=cwd, close_fds=close_fds)
    except subprocess.TimeoutExpired as late:
        def text(output):
            return (output or b"").decode(errors="replace") if not isinstance(output, str) else output
        return subprocess.CompletedProcess(argv, 124, text(late.stdout), text(late.stderr) + "\ntimed out")


def main(folder, wanted, by_name_only=()):
    """Runs the modules test_*.py of `folder`, all or those wanted, and closes with one line of counts; the exit status."""
    every = sorted(file.stem for file in folder.glob("test_*.py"))
    names = [name for name in every if name not in by_name_only]
    if wanted := [name if name.startswith("test_") else f"test_{name}" for name in wanted]:
        for name in set(wanted) - set(every):
            check(name, False, "there is no such module")
        names = [name for name in every if name in wanted]
    for name in names:
        start = time.monotonic()
        before = passed + failed + skipped
        try:
            importlib.import_module(name).run()
        except Exception:
            check(f"{name} runs to its end", False, traceback.format_exc())
        if before == passed + failed + skipped:
            check(f"{name} checks something", False, "it checked nothing")
        print(f"# {name}: {time.monotonic() - start:.0f} s", flush=True)
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 0 if passed and not failed else 1
