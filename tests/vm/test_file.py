"""prod-readonly: production files do not change, on any file system, for root and for a user."""

import contextlib
import json
import os
import shutil
import stat
import subprocess

import cases
import harness
import probe_file

NOBODY = 65534
# Where production folders are: the overlay of the root itself, and what is mounted at the others.
PLACES = {"overlay": "", "tmpfs": "/vol/tmpfs", "ext4": "/vol/ext4", "user": "/vol/user"}
IMAGE = "/vol/ext4.image"
MOUNTS = {"tmpfs": "mount -t tmpfs none /vol/tmpfs", "ext4": f"mkfs.ext4 -q {IMAGE} && mount -o loop {IMAGE} /vol/ext4"}


def prepare_volumes():
    """Mounts the volumes; the names of those that are there."""
    for folder in PLACES.values():
        os.makedirs(folder or "/", exist_ok=True)
    with open(IMAGE, "wb") as file:
        file.truncate(32 << 20)
    made = {"overlay", "user"}
    for name, command in MOUNTS.items():
        done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True)
        if harness.check(f"file: {name} can be mounted", done.returncode == 0, done.stderr):
            made.add(name)
    return {name: base for name, base in PLACES.items() if name in made}


def fixture(folder, production, owner):
    os.makedirs(f"{folder}/dir")
    os.mkdir(f"{folder}/empty")
    with open(f"{folder}/file", "w") as file:
        file.write("content\n")
    os.symlink("../file", f"{folder}/dir/link")
    for path in [folder, f"{folder}/dir", f"{folder}/empty", f"{folder}/file"]:
        os.chmod(path, 0o777)
        os.chown(path, owner, owner)
    if production != folder:
        os.symlink(production, f"{folder}/in")
        os.lchown(f"{folder}/in", owner, owner)
    os.lchown(f"{folder}/dir/link", owner, owner)
    for path, name, value in [(f"{folder}/file", "trusted.old", b"1"), (f"{folder}/file", "user.old", b"1"),
                              (f"{folder}/empty", "system.posix_acl_default", probe_file.ACL)]:
        with contextlib.suppress(OSError):  # not every file system has it
            os.setxattr(path, name, value)


def prepare(places, table):
    """Fresh folders for every case; the filled cases, and the descriptors that the session inherits."""
    made, fds = [], []
    for place, base in places.items():
        owner = NOBODY if place == "user" else 0
        for folder in ["prod", "free", "prod2"]:
            shutil.rmtree(f"{base}/{folder}", ignore_errors=True)
        for folder in ["prod", "free"]:
            os.mkdir(f"{base}/{folder}")
            os.chmod(f"{base}/{folder}", 0o777)
        if place == "user":
            os.chmod(base, 0o777)
        for number, case in enumerate(table):
            if case.get("once") and place not in ("overlay", "user"):
                continue
            name = f"c{number}"
            shutil.rmtree(f"{base}/production-{name}", ignore_errors=True)
            prod, free = f"{base}/prod/{name}", f"{base}/free/{name}"
            fixture(prod, prod, owner)
            fixture(free, prod, owner)
            one = cases.filled(case, f"{place} {name}", {"prod": prod, "free": free, "base": base, "case": name})
            if case.get("inherit"):
                fds.append(os.open(one["args"][0], os.O_RDWR))
                os.set_inheritable(fds[-1], True)
                one["args"] = [str(fds[-1])]
            made.append({**one, "place": place, "name": f"{place}, {case['name']}"})
    return made, fds


def contents(base):
    """All that can be seen of the production folder."""
    seen = {}
    for folder, folders, files in os.walk(f"{base}/prod"):
        for path in [folder] + [f"{folder}/{name}" for name in folders + files]:
            info = os.lstat(path)
            text = open(path).read() if stat.S_ISREG(info.st_mode) else ""
            seen[path] = (info.st_mode, info.st_uid, info.st_nlink, info.st_size, info.st_mtime_ns, text,
                          os.listxattr(path, follow_symlinks=False))
    return seen


def session(places, table, policy, **options):
    """The cases of these places bare and under policy."""
    user = "user" in places
    made, fds = prepare(places, table)
    before, _ = cases.probe(made, uid=NOBODY if user else None, close_fds=False)
    for fd in fds:
        os.close(fd)
    made, fds = prepare(places, table)
    seen = {place: contents(base) for place, base in places.items()}
    after, done = cases.probe(made, session=policy, close_fds=False, **options)
    for fd in fds:
        os.close(fd)
    cases.compare("file", made, before, after, done)
    for place, base in places.items():
        now = contents(base)
        changed = sorted(path for path in now.keys() | seen[place].keys() if now.get(path) != seen[place].get(path))
        harness.check(f"file: {place}, nothing in production changed", not changed, changed[:9])


def run(root=True):
    places = prepare_volumes()
    preset, table = cases.load("file")
    inventory = "/vol/inventory.json"
    with open(inventory, "w") as file:
        json.dump({"authz": {"production": [f"{base}/prod" for base in places.values()]}}, file)
    policy = [preset, inventory]
    if root:
        session({name: base for name, base in places.items() if name != "user"}, table, policy)
    # What only root may do says nothing about a user.
    root_only = {"handle", "mknod", "write_capable", "map_files"}
    few = [case for case in table if case["op"] not in root_only and not case.get("once")]
    session({"user": places["user"]}, few, policy, user="nobody")
