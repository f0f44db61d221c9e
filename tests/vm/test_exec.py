"""Programs denied by path and by content: binaries, scripts, interpreters, loaders and libraries."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile

import cases
import harness

FOLDER = "/vol/exec"
LOADER = "/lib64/ld-linux-x86-64.so.2"
SOURCE = '#include <stdio.h>\nint main(void) { puts("ran"); return 0; }\n'


def compiled(path, *flags, source=SOURCE):
    subprocess.run(["gcc", "-x", "c", "-", "-o", path, *flags], input=source, text=True, check=True)


def script(path, interpreter, remark=""):
    with open(path, "w") as file:
        file.write(f"#!{interpreter}\n# {remark}\necho ran\n")
    os.chmod(path, 0o755)


def prepare():
    shutil.rmtree(FOLDER, ignore_errors=True)
    denied, allowed = f"{FOLDER}/denied", f"{FOLDER}/allowed"
    os.makedirs(denied)
    os.makedirs(allowed)
    compiled(f"{denied}/tool")
    compiled(f"{allowed}/tool", source=SOURCE + "int other = 1;\n")
    compiled(f"{denied}/static", "-static")
    compiled(f"{denied}/library.so", "-shared", "-fPIC", source="int f(void) { return 1; }\n")
    shutil.copy(f"{denied}/library.so", f"{allowed}/library.so")
    shutil.copy(os.path.realpath(LOADER), f"{denied}/ld.so")
    compiled(f"{allowed}/own-loader", f"-Wl,--dynamic-linker={denied}/ld.so")
    # Another content than /bin/sh, so that only this shell is denied by hash.
    for folder in [denied, allowed]:
        shutil.copy("/bin/dash", f"{folder}/sh")
        with open(f"{folder}/sh", "ab") as file:
            file.write(folder.encode())
    script(f"{denied}/by-allowed", f"{allowed}/sh", "denied")
    script(f"{allowed}/by-allowed", f"{allowed}/sh")
    script(f"{allowed}/by-denied", f"{denied}/sh")
    script(f"{allowed}/by-env", f"/usr/bin/env {denied}/sh")
    shutil.copy(f"{denied}/by-allowed", f"{allowed}/script-copy")
    shutil.copy(f"{denied}/tool", f"{allowed}/copy")
    os.link(f"{denied}/tool", f"{allowed}/hard")
    os.symlink(f"{denied}/tool", f"{allowed}/link")
    os.symlink(f"{denied}/library.so", f"{allowed}/link.so")
    hashes = []
    for name in ["tool", "sh", "by-allowed"]:
        with open(f"{denied}/{name}", "rb") as file:
            hashes.append(hashlib.sha256(file.read()).hexdigest())
    with open(f"{FOLDER}/data.json", "w") as file:
        json.dump({"authz": {"denied_programs": hashes}}, file)


def looked_at():
    """A file's time of change has a mark, on file systems as tmpfs, once the daemon has looked at it: the file is the same."""
    folder = tempfile.mkdtemp(prefix="case-")
    os.chmod(folder, 0o755)
    compiled(f"{folder}/tool")
    policy = """deny contains {"id": "no", "reason": "r"} if input.resource.properties.sha256 == "00"
allow contains {"id": "rest", "reason": "r"} if true
"""
    done = harness.authz_exec(policy, [f"{folder}/tool"])
    harness.check("a program on tmpfs runs under a policy that reads its content", done.stdout == "ran\n", done)


def run():
    prepare()
    looked_at()
    for name, more in [("exec-path", []), ("exec-sha256", [f"{FOLDER}/data.json"])]:
        policy, table = cases.load(name)
        made = [cases.filled(case, str(number), {"loader": LOADER}) for number, case in enumerate(table)]
        before, _ = cases.probe(made)
        after, done = cases.probe(made, session=[policy, *more])
        cases.compare(name, made, before, after, done)
