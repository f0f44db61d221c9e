"""Root inside a session cannot stop, change or leave the enforcement, nor ask for it to be off."""

import json
import os
import pathlib
import shutil

import cases
import control
import harness
from harness import check

HERE = pathlib.Path(__file__).resolve().parent

# What a session does to the files in argv: each attempt, with the errno's name or `ok`.
VANDAL = r"""
import ctypes, errno, json, os, sys
sys.path.insert(0, sys.argv[1])
import probe_file
LIBC = ctypes.CDLL(None, use_errno=True)

def opened(path, flags):
    os.close(os.open(path, flags))

def get_pin(path):
    name = ctypes.create_string_buffer(path.encode())
    attr = ctypes.create_string_buffer(ctypes.addressof(name).to_bytes(8, "little") + bytes(112), 120)
    os.close(probe_file.syscall(321, 7, attr, 120))

def by_id(command, number):
    os.close(probe_file.syscall(321, command, ctypes.create_string_buffer(number.to_bytes(4, "little"), 120), 120))

def mount_over(path):
    if LIBC.mount(b"none", path.encode(), b"tmpfs", 0, None):
        raise OSError(ctypes.get_errno(), "mount")

# A file of the session's own on the file system of `path`; none: what is left of the attempt would prove nothing.
def own(path):
    for name in json.loads(sys.argv[2]):
        if os.stat(name).st_dev == os.lstat(path).st_dev:
            return name
    raise LookupError(path)

ways = {
    "open": lambda path: opened(path, os.O_WRONLY), "truncate": lambda path: os.truncate(path, 0),
    "rename": lambda path: os.rename(path, path + ".x"), "replace": lambda path: os.rename(own(path), path),
    "link": lambda path: os.link(path, own(path) + ".link"), "chmod": lambda path: os.chmod(path, 0o777),
    "utime": lambda path: os.utime(path), "unlink": os.unlink, "rmdir": os.rmdir,
    "create": lambda path: opened(path + "/new", os.O_WRONLY | os.O_CREAT), "get": get_pin, "mount": mount_over,
    "map by id": lambda number: by_id(14, int(number)), "program by id": lambda number: by_id(13, int(number)),
    "link by id": lambda number: by_id(30, int(number)),
}
out = []
for name, path in json.loads(sys.argv[3]):
    try:
        ways[name](path)
        out.append([name, path, "ok"])
    except OSError as error:
        out.append([name, path, errno.errorcode[error.errno]])
    except LookupError:
        pass
print(json.dumps(out))
"""


def files_of(daemon, policy):
    """What the daemon stands on: (kind, path)."""
    instance = daemon[1]
    found = [("file", str(path)) for path in pathlib.Path("/sys/fs/bpf/authz", instance).iterdir()]
    for root in (f"/run/authz/{instance}", f"/var/lib/authz/{instance}"):
        for folder, _, names in os.walk(root):
            found.append(("folder", folder))
            found += [("file", os.path.join(folder, name)) for name in names]
    found += [("folder", "/var/lib/authz"), ("folder", "/sys/fs/bpf/authz"), ("folder", f"/sys/fs/bpf/authz/{instance}"), ("folder", "/run/authz")]
    return found + [("file", shutil.which("authz")), ("file", policy)]


def attempts(found):
    for kind, path in found:
        pin = path.startswith("/sys/fs/bpf/")
        if kind == "folder":
            yield from ((way, path) for way in ("rename", "rmdir", "create", "chmod", "mount"))
            continue
        # A running program cannot be opened for writing in any case, nor can a pin or a socket.
        if not pin and not path.endswith((".sock", "authz")):
            yield from ((way, path) for way in ("open", "truncate"))
        yield from ((way, path) for way in ("rename", "chmod", "utime", "unlink"))
        # Another file system's file cannot get there in any case.
        yield from ((way, path) for way in (("get",) if pin else ("replace", "link")))
    for number in range(1, 60):
        yield from ((way, str(number)) for way in ("map by id", "program by id", "link by id"))


def vandalism():
    top = control.folder("x", "prod")
    policy = harness.policy_file('allow contains {"id": "rest", "reason": "r"} if true\n'
                                 'deny contains {"id": "prod", "reason": "r"} if '
                                 f'{{ writes; under(input.resource.id, "{top}/prod") }}\n'
                                 'deny contains {"id": "bpf", "reason": "r"} if startswith(input.action.name, "system.")\n')
    (top / "vandal.py").write_text(VANDAL)
    staged = [f"{folder}/own" for folder in (top, "/run", "/var/lib", os.path.dirname(shutil.which("authz")))]
    for path in staged:
        pathlib.Path(path).write_text("own\n")
    (top / "own.list").write_text(json.dumps(staged))
    wait = f"until [ -e {top}/go ]; do sleep 0.1; done; "
    script = (f'{wait} {cases.python()} {top}/vandal.py {HERE} "$(cat {top}/own.list)" "$(cat {top}/list)"; '
              f'echo x > {top}/prod/a; echo end=$?')
    run = harness.authz_start(policy, ["bash", "-c", script], name="vandal")
    session = control.wait(lambda: control.session("vandal"))
    daemon = control.daemon_of(run)
    if not check("guard: a session runs", session and daemon, (session, daemon)):
        control.finish(run, 1)
        return
    found = files_of(daemon, policy)
    before = {path for _, path in found}
    (top / "list").write_text(json.dumps(list(attempts(found))))
    (top / "go").touch()
    out, err = control.finish(run, 300)
    try:
        done = json.loads(out.splitlines()[0])
    except (IndexError, ValueError):
        done = []
    check("guard: every attempt was made", len(done) > 300, (len(done), out[-500:], err[:1000]))
    check("guard: pins, ledger, socket, program and policy are among them",
          all(any(part in path for path in before) for part in
              ("/sys/fs/bpf/authz/", "/var/lib/authz/", "control.sock", shutil.which("authz"), policy)), sorted(before))
    # The ledger itself puts another in the place of a tile that is not full.
    went = [attempt for attempt in done if attempt[2] not in ("EACCES", "EPERM")
            and not (attempt[2] == "ENOENT" and "/tile/" in attempt[1] and ".p" in attempt[1])]
    check("guard: none succeeded, each was refused by permission", done and not went, went[:20])
    check("guard: the enforcement goes on", "end=1" in out and (top / "prod" / "a").read_text() == "before\n", out[-300:])
    check("guard: the daemon and its ledger go on", "operations," in err and control.entries(err), err[:1000])
    check("guard: the program and the policy are what they were",
          os.path.exists(shutil.which("authz")) and "prod" in pathlib.Path(policy).read_text())


def configuration():
    """Environment, files in the working folder and flags of an authz inside do not weaken anything."""
    top = control.folder("prod", "work")
    target, work = top / "prod" / "a", top / "work"
    inventory = top / "inventory.json"
    inventory.write_text(json.dumps({"authz": {"production": [str(top / "prod")]}}))
    permissive = 'package authz\n\nallow contains {"id": "all", "reason": "r"} if true\n'
    for name in ("authz.rego", "policy.rego", ".authz.rego"):
        (work / name).write_text(permissive)
    for folder in (".authz", ".config/authz"):
        (work / folder).mkdir(parents=True)
        (work / folder / "policy.rego").write_text(permissive)
        (work / folder / "config.toml").write_text('mode = "observe"\npolicy = ["preset:observe-all"]\n')
    env = {"AUTHZ_MODE": "observe", "AUTHZ_POLICY": "preset:observe-all", "AUTHZ_DISABLE": "1", "AUTHZ_BYPASS": "1",
           "AUTHZ_SANDBOX": "off", "HOME": str(work), "XDG_CONFIG_HOME": str(work / ".config")}
    write = f"echo changed > {target}"
    nested = "exec --policy preset:observe-all --mode observe"
    script = "\n".join([
        f"{write}; echo plain=$?",
        f"env AUTHZ_MODE=observe AUTHZ_POLICY=preset:observe-all sh -c '{write}'; echo env=$?",
        f"authz {nested} -- sh -c '{write}'; echo nested=$?",
        f"env -i PATH=$PATH authz {nested} -- sh -c '{write}'; echo clean=$?",
        "for id in $(authz sessions --json 2>/dev/null | grep -o '[0-9a-f-]\\{36\\}'); do authz mode $id observe; done",
        f"authz mode $(cat {top}/id) observe; echo mode=$?",
        f"{write}; echo after=$?"])
    for who in ({}, {"user": "nobody"}):
        name = who.get("user", "root")
        target.write_text("before\n")
        (top / "id").unlink(missing_ok=True)
        line = ["bash", "-c", f"until [ -e {top}/id ]; do sleep 0.1; done\n{script}"]
        run = harness.authz_start(["preset:prod-readonly", str(inventory)], line, env=env, cwd=str(work),
                                  name=f"configuration-{name}", **who)
        if found := control.wait(lambda: control.session(f"configuration-{name}")):
            (top / "id.new").write_text(found[1]["session"])
            (top / "id.new").rename(top / "id")
        out, err = control.finish(run, 120)
        said = dict(line.split("=") for line in out.split() if line.count("=") == 1)
        refused = [said.get(step, "0") != "0" for step in ("plain", "env", "nested", "clean", "mode", "after")]
        check(f"guard: {name}: neither environment, files nor flags weaken the session", all(refused), (said, out, err))
        check(f"guard: {name}: nothing was written", target.read_text() == "before\n", (out, err))


def run():
    vandalism()
    configuration()
