"""How much of real work is decided from memory: of the operations after a session's first 200, the part that needed no
evaluation, with what needed one. Everything is local, so that it runs where there is no network.
"""
import collections
import json
import os
import shutil
import subprocess
import sys

from figures import find_cargo

POLICY = "preset:coding-agent"
FIRST = 200
TARGET = 99.0
PACKAGES, FILES, MODULES = 30, 600, ["test_tempfile", "test_zipfile", "test_shutil"]
NPM = ["npm", "install", "--offline", "--no-audit", "--no-fund", "--no-update-notifier", "--cache", "cache"]


def quietly(*argv, cwd):
    subprocess.run(argv, cwd=cwd, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def git(folder):
    """A repository of 600 files in 30 folders and 12 commits, cloned as from elsewhere."""
    origin = os.path.join(folder, "origin")
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    quietly("git", "init", "-q", origin, cwd=folder)
    for number in range(FILES):
        write(f"{origin}/part{number % 30}/file{number}.txt", f"{number}\n" * 20)
        if number % 50 == 49:
            quietly("git", "add", "-A", cwd=origin)
            quietly("git", *identity, "commit", "-qm", f"to {number}", cwd=origin)
    return ["git", "clone", "-q", "--no-local", origin, "clone"]


def cargo(folder):
    """A crate with 24 others beside it that it depends on, without any from elsewhere."""
    names = [f"part{number}" for number in range(24)]
    for name in names:
        write(f"{folder}/{name}/Cargo.toml", f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n')
        write(f"{folder}/{name}/src/lib.rs", f"pub fn {name}() -> usize {{\n    {len(name)}\n}}\n")
    depends = "".join(f'{name} = {{ path = "{name}" }}\n' for name in names)
    members = ", ".join(f'"{name}"' for name in names)
    write(f"{folder}/Cargo.toml", '[package]\nname = "whole"\nversion = "0.1.0"\nedition = "2021"\n'
          f"[workspace]\nmembers = [{members}]\n[dependencies]\n{depends}")
    calls = " + ".join(f"{name}::{name}()" for name in names)
    write(f"{folder}/src/main.rs", f'fn main() {{\n    println!("{{}}", {calls});\n}}\n')
    return ["cargo", "build", "--offline", "--quiet", "--target-dir", "target"]


def npm(folder):
    """Thirty packages of 20 files, each a tarball, from which they are installed."""
    for number in range(PACKAGES):
        package = f"{folder}/packed/p{number}/package"
        write(f"{package}/package.json", json.dumps({"name": f"p{number}", "version": "1.0.0", "main": "f0.js"}))
        for file in range(20):
            write(f"{package}/lib{file % 4}/f{file}.js", f"module.exports = {file};\n")
        quietly("tar", "czf", f"{folder}/p{number}.tgz", "package", cwd=f"{folder}/packed/p{number}")
    write(f"{folder}/package.json", '{"name": "whole", "version": "1.0.0", "private": true}\n')
    return [*NPM, *(f"./p{number}.tgz" for number in range(PACKAGES))]


def python(_folder):
    """Modules of Python's own tests."""
    return ["python3", "-m", "test", "-q", *MODULES]


WORK = [("git clone", git, "git"), ("cargo build", cargo, "cargo"), ("npm install", npm, "npm"),
        ("python's tests", python, "python3")]


def decisions(state):
    listed = subprocess.run(["authz", "ledger", "--state", state, "list", "--json", "--limit", "0"],
                            stdout=subprocess.PIPE, check=True)
    return [entry for entry in map(json.loads, listed.stdout.splitlines()) if entry["kind"] == "decision"]


def measure(folder, rows, backend, name, prepare):
    work, state = os.path.join(folder, prepare.__name__), os.path.join(folder, f"{prepare.__name__}.state")
    os.mkdir(work)
    command = prepare(work)
    ended = subprocess.run(["authz", "exec", "--backend", backend, "--audit-each", "--json", "--policy", POLICY,
                            "--workspace", work, "--state", state, "--", *command], cwd=work, text=True,
                           errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if ended.returncode:
        sys.exit(f"bench: {name} FAILED under authz, status {ended.returncode}: {ended.stdout[-600:]}")
    summary = [json.loads(line) for line in ended.stdout.splitlines() if '"summary":' in line][-1]["summary"]
    made = decisions(state)
    if len(made) + summary["lost"] < summary["operations"]:
        sys.exit(f"bench: {name}: the ledger has {len(made)} of {summary['operations']} operations")
    later = made[FIRST:]
    asked = [entry for entry in later if entry["decided_by"] == "policy"]
    actions = collections.Counter(entry["action"] for entry in asked)
    for entry in asked:
        print(f"# {name}: evaluated {entry['action']} {entry['resource']['id']}", file=sys.stderr)
    if len(later) < 100:
        sys.exit(f"bench: {name} is too small a work: {len(made)} operations")
    share = 100 * (1 - len(asked) / len(later))
    what = ", ".join(f"{count} {action}" for action, count in sorted(actions.items())) or "none"
    rows.add(f"{name}, decided from memory, {backend}", "%", [share],
             f"{prepare.__doc__.strip().split('.')[0]}; under {POLICY}, of {len(later)} operations after the first "
             f"{FIRST}; evaluated: {what}", f">= {TARGET:.0f} %", "met" if share >= TARGET else "missed")


def part(folder, rows, backend):
    find_cargo()
    for name, prepare, program in WORK:
        if shutil.which(program):
            measure(folder, rows, backend, name, prepare)
        else:
            print(f"bench: {name} is skipped: there is no {program}", file=sys.stderr, flush=True)
