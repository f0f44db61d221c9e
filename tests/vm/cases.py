"""Runs the tables of tests/cases: every case bare first, where it has to succeed, then under authz."""

import json
import os
import pathlib
import shutil
import sys
import tempfile
import tomllib

import harness

CASES = pathlib.Path(__file__).resolve().parent.parent / "cases"
PROBE = str(pathlib.Path(__file__).with_name("probe.py"))

# Not in the virtual machine: a case that this machine or user refuses without authz is skipped.
native = False

# What a kernel answers that lacks the feature; the case is skipped.
MISSING = {"ENOSYS", "EAFNOSUPPORT", "EPROTONOSUPPORT", "EOPNOTSUPP", "ENOTSUP", "ESOCKTNOSUPPORT"}


def load(name):
    """The policy and the cases of a table; `expect` is the outcome under authz, with seccomp sometimes another one."""
    with open(CASES / f"{name}.toml", "rb") as file:
        table = tomllib.load(file)
    cases = [{**case, "expect": case.get("errno", "EACCES")} for case in table.get("deny", [])]
    cases += [{**case, "expect": case.get("bare", "ok")} for case in table.get("allow", [])]
    if native:
        cases = [{**case, "expect": case.get("seccomp", case["expect"])} for case in cases]
    policy = table["policy"]
    return policy if policy.startswith("preset:") else str(CASES / policy), cases


def filled(case, id, places):
    """The case as the probe takes it."""
    return {**case, "id": id, "args": [arg.format_map(places) for arg in case["args"]]}


def python():
    """The interpreter itself: a wrapper script would be executed too."""
    return os.path.realpath(sys.executable)


def probe(cases, session=None, uid=None, **options):
    """The outcomes of the cases by id, and what was printed; {} if the probe did not get to its end."""
    folder = tempfile.mkdtemp(prefix="probe-")
    os.chmod(folder, 0o777)
    table, results = f"{folder}/cases.json", f"{folder}/results.json"
    with open(table, "w") as file:
        json.dump([{name: case[name] for name in ("id", "op", "args")} for case in cases], file)
    argv = [python(), PROBE, table, results]
    if session:
        done = harness.authz_exec(session, argv, timeout=300, **options)
    else:
        done = harness.bare(harness.before + argv + ([str(uid)] if uid and not harness.before else []), timeout=300, **options)
    try:
        with open(results) as file:
            return json.load(file), done
    except (OSError, ValueError):
        return {}, done
    finally:
        shutil.rmtree(folder)


def compare(suite, cases, before, after, done):
    """One check a case: it worked bare and did under authz what the table says."""
    for case in cases:
        name = f"{suite}: {case['name']}"
        plain = before.get(case["id"], "no result")
        got = after.get(case["id"], "no result")
        wanted = case.get("bare", "ok")
        if plain in MISSING and wanted == "ok":
            harness.skip(name, f"without authz already {plain}")
        elif native and plain != wanted and plain in ("EPERM", "EACCES", "ENOSYS"):
            harness.skip(name, f"without authz already {plain}; under it {got}")
        elif plain != wanted and case.get("bare") != "any":
            harness.check(name, False, f"without authz it has to be {wanted}, and is {plain}; under authz {got}")
        else:
            harness.check(name, got == case["expect"], f"{got} and not {case['expect']}")
    if not after:
        print("#", done.returncode, done.stdout[-2000:], done.stderr[-2000:], flush=True)
