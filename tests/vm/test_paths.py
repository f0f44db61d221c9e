"""Names that are too long, strange, foreign or many: decided right, or closed; and every one in the record."""

import json
import os
import pathlib
import subprocess
import tempfile

import cases
import control
import harness
from harness import check

# Does (operation, folder, name) for each of argv[1], a JSON array; prints the outcomes.
STEPS = r"""
import errno, json, os, sys

def write(name):
    os.close(os.open(name, os.O_WRONLY))

ways = {"write": write, "read": lambda name: os.close(os.open(name, os.O_RDONLY)),
        "utime": lambda name: os.utime(name, (1, 1)), "setxattr": lambda name: os.setxattr(name, "user.case", b"1"),
        "create": lambda name: os.close(os.open(name, os.O_WRONLY | os.O_CREAT)), "unlink": os.unlink,
        "chmod": lambda name: os.chmod(name, 0o666), "at": None}
out = []
for way, folder, name in json.loads(sys.argv[1]):
    os.chdir("/")
    try:
        for part in [folder] if isinstance(folder, str) else folder:
            os.chdir(part)
        ways[way](name.encode("utf-8", "surrogateescape"))
        out.append("ok")
    except OSError as error:
        out.append(errno.errorcode[error.errno])
print(json.dumps(out))
"""


def deny(*folders):
    rules = ['allow contains {"id": "rest", "reason": "r"} if true']
    rules += [f'deny contains {{"id": "no", "reason": "r"}} if {{ writes; under(input.resource.id, "{folder}") }}'
              for folder in folders]
    return "\n".join(rules) + "\n"


def steps(policy, table, **options):
    """The outcomes, and the finished run."""
    run = harness.authz_exec(policy, [cases.python(), "-c", STEPS, json.dumps(table)], **options)
    lines = run.stdout.splitlines()
    return json.loads(lines[-1]) if lines else [], run


def bare(table, uid=None):
    line = [cases.python(), "-c", STEPS, json.dumps(table)]
    run = harness.bare(["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *line] if uid else line)
    lines = run.stdout.splitlines()
    return json.loads(lines[-1]) if lines else run


def resources(run):
    return [entry["resource"]["id"] for entry in control.entries(run) if "resource" in entry]


def deep(top, bytes_wanted):
    """A chain of folders that is so long, as the names to change into one after the other."""
    names, length = [str(top)], len(str(top))
    os.chdir(top)
    while length < bytes_wanted:
        name = "d" * min(250, max(1, bytes_wanted - length - 1))
        os.mkdir(name)
        os.chmod(name, 0o777)
        os.chdir(name)
        names.append(name)
        length += len(name) + 1
    with open("file", "w") as file:
        file.write("before\n")
    os.chmod("file", 0o666)
    os.chdir("/")
    return names


def long_names():
    top = pathlib.Path(tempfile.mkdtemp(prefix="deep-"))
    top.chmod(0o755)
    for name in ("fits", "over"):
        (top / name).mkdir()
        (top / name).chmod(0o777)
    fits, over = deep(top / "fits", 4080), deep(top / "over", 5000)
    ways = ["write", "read", "chmod", "utime", "unlink", "create"]
    def table(folder):
        return [[way, folder, "new" if way == "create" else "file"] for way in ways]
    plain = bare([[way, over, name] for way, _, name in table(over) if way != "unlink"])
    check("paths: without authz the kernel has no limit", plain == ["ok"] * 5, plain)
    bare([["unlink", over, "new"]])
    for who in ({}, {"user": "nobody"}):
        name = who.get("user", "root")
        some = [way for way in ways if not who or way not in ("chmod", "utime")]
        outcome, run = steps(deny("/nowhere"), [[way, over, "new" if way == "create" else "file"] for way in some], **who)
        check(f"paths: {name}: a path too long for the kernel's own calls fails closed", outcome == ["EACCES"] * len(some),
              (outcome, run))
        seen = resources(run).count("unknown:path")
        check(f"paths: {name}: each leaves a record", seen >= len(some), (seen, run.stderr))
    outcome, run = steps(deny("/nowhere"), table(fits))
    check("paths: the longest path that fits is decided", outcome == ["ok"] * 6, (outcome, run))
    outcome, run = steps(deny(str(top / "fits")), [["create", fits, "other"]])
    check("paths: the longest path that fits can be denied, in full",
          outcome == ["EACCES"] and "/".join([*fits, "other"]) in resources(run), (outcome, run))


def strange_names():
    top = control.folder("free", "prod")
    names = ["line\nbreak", "\udcff\udcfe", "\\xff\\xfe", "tab\there", "\x1b[31mred", "ä", "\"quote'", "*", "a" * 255]
    for name in names:
        (top / "prod" / name).write_text("before\n")
        (top / "prod" / name).chmod(0o666)
    table = [[way, str(top / "prod"), name] for name in names for way in ("write", "utime", "unlink")]
    table += [["create", str(top / "free"), name] for name in names]
    outcome, run = steps(deny(f"{top}/prod"), table)
    want = ["EACCES"] * 3 * len(names) + ["ok"] * len(names)
    check("paths: names of any bytes are decided", outcome == want, (outcome, run))
    found = set(resources(run))
    shown = {f"{top}/prod/" + name.replace("\udcff\udcfe", "\\xff\\xfe") for name in names}
    check("paths: names of any bytes are in the record, one JSON line an entry", shown <= found, shown - found)
    # A rule for one name opens no other.
    only = (f'allow contains {{"id": "one", "reason": "r"}} if {{ writes; input.resource.id == "{top}/prod/line\\nbreak" }}\n'
            'allow contains {"id": "rest", "reason": "r"} if { reads }\n'
            'allow contains {"id": "runs", "reason": "r"} if executes\n')
    (top / "prod" / "line").write_text("before\n")
    outcome, run = steps(only, [["write", str(top / "prod"), name] for name in ("line\nbreak", "line")])
    check("paths: a line break is part of the name", outcome == ["ok", "EACCES"], (outcome, run))


def outsider(uid):
    """A process outside in a mount namespace of its own, with files that only it sees."""
    mount = "mount -t tmpfs none /vol/hidden && mkdir /vol/hidden/prod /vol/hidden/free && "
    mount += "echo x > /vol/hidden/prod/file && echo x > /vol/hidden/free/file && chmod -R 777 /vol/hidden && "
    run = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sh", "-c",
                            f"{mount} echo ready && exec setpriv --reuid={uid} --regid={uid} --clear-groups sleep 1000"],
                           stdout=subprocess.PIPE, text=True)
    return run if run.stdout.readline() == "ready\n" else None


def foreign():
    os.makedirs("/vol/hidden", exist_ok=True)
    inventory = "/vol/foreign.json"
    with open(inventory, "w") as file:
        json.dump({"authz": {"production": ["/vol/hidden/prod"]}}, file)
    for uid, who in ((0, {}), (65534, {"user": "nobody"})):
        name = who.get("user", "root")
        other = outsider(uid)
        if not check(f"paths: {name}: another mount namespace", other):
            continue
        try:
            root = f"/proc/{other.pid}/root/vol/hidden"
            ways = ["write", "read", "chmod", "utime"] if not uid else ["write", "read"]
            table = [[way, f"{root}/{folder}", "file"] for folder in ("prod", "free") for way in ways]
            table += [["create", f"{root}/prod", "new"], ["write", "/", f"{root}/prod/file"]]
            plain = bare(table, uid)
            check(f"paths: {name}: without authz its files can be reached", plain == ["ok"] * len(table), plain)
            os.unlink(f"{root}/prod/new")
            want = ["ok" if way == "read" or "/free" in folder else "EACCES" for way, folder, _ in table]
            outcome, run = steps(["preset:prod-readonly", inventory], table, **who)
            check(f"paths: {name}: files of another mount namespace are judged as foreign", outcome == want, (outcome, run))
            found = resources(run)
            check(f"paths: {name}: and are so called in the record", "foreign:/vol/hidden/prod/file" in found
                  and "/vol/hidden/prod/file" not in found, found)
            # A rule for the same path here says nothing about it there.
            outcome, run = steps(deny("/vol/elsewhere") + 'deny contains {"id": "f", "reason": "r"} if '
                                 '{ writes; startswith(input.resource.id, "foreign:") }\n',
                                 [["write", f"{root}/free", "file"]], **who)
            check(f"paths: {name}: a policy can refuse all that is foreign", outcome == ["EACCES"], (outcome, run))
        finally:
            other.kill()
            other.wait()


def aliases():
    """Bind mounts: a hook that is told no mount decides by every name."""
    top = control.folder("prod", "free")
    alias = [top / f"alias{number}" for number in range(5)]
    for number, path in enumerate(alias):
        path.mkdir()
    def bind(source, target):
        subprocess.run(["mount", "--bind", str(source), str(target)], check=True)
    policy = deny(f"{top}/prod")
    try:
        bind(top / "prod", alias[0])
        outcome, run = steps(policy, [["utime", str(alias[0]), "a"], ["setxattr", str(alias[0]), "a"]])
        check("paths: attributes through a bind mount are decided by the other name too",
              outcome[:1] == ["EACCES"] and outcome[1:] != ["ok"] and f"{top}/prod/a" in resources(run), (outcome, run))
        subprocess.run(["umount", str(alias[0])], check=True)
        bind(top / "free", alias[0])
        outcome, run = steps(policy, [["utime", str(alias[0]), "a"], ["utime", str(top / "free"), "b"]])
        check("paths: what is allowed by each of its names is allowed", outcome == ["ok", "ok"]
              and {f"{top}/free/a", f"{alias[0]}/a"} <= set(resources(run)), (outcome, run))
        outcome, run = steps(deny(alias[0]), [["utime", str(top / "free"), "a"]])
        check("paths: and denied if one of them is denied", outcome == ["EACCES"], (outcome, run))
        for path in alias[1:4]:
            bind(top / "free", path)
        outcome, run = steps(policy, [["utime", str(top / "free"), "a"], ["utime", str(top / "prod"), "a"],
                                      ["write", str(top / "free"), "a"]])
        check("paths: a file of more names than are looked at is closed for attributes, with a record",
              outcome == ["EACCES", "EACCES", "ok"] and "unknown:path" in resources(run), (outcome, run))
    finally:
        for path in alias:
            subprocess.run(["umount", str(path)], capture_output=True)


FLOOD = r"""
import os, sys
os.chdir(sys.argv[1])
count = int(sys.argv[2])
for worker in range(2):
    if not os.fork():
        for number in range(worker, count, 2):
            os.mkdir(str(number))
        os._exit(0)
print(all(os.wait()[1] == 0 for _ in range(2)))
"""


def flood():
    """More operations than the ring holds, with nobody waiting: each is in the record or counted as a gap."""
    count = int(os.environ.get("FLOOD_COUNT", "2000"))
    top = control.folder("x")
    # The longer the names, the fewer of them fill the ring.
    place = "/".join(deep(top / "x", 3900))
    os.unlink(f"{place}/file")

    def gaps():
        return sum(entry.get("count") or 0 for entry in control.ledger() if entry.get("kind") == "gap")

    before = gaps()
    run = harness.authz_exec(deny("/nowhere"), [cases.python(), "-c", FLOOD, place, str(count)], mode="observe",
                             timeout=500)
    made = len(os.listdir(place))
    check("paths: flood: observed, every folder is made", run.stdout == "True\n" and made == count, (made, run))
    seen = sum(path.startswith(f"{place}/") for path in resources(run))
    lost = gaps() - before
    print(f"# flood: {made} made, {seen} recorded, {lost} counted as lost", flush=True)
    check("paths: flood: the ring overflowed, and what is not recorded is counted as a gap",
          seen + lost >= made > 0 and lost, (made, seen, lost))
    outcome, run = steps(deny(f"{top}/x"), [["write", f"{top}/x", "a"], ["write", f"{top}", "none"]])
    check("paths: flood: the next session enforces", outcome[:1] == ["EACCES"], (outcome, run))


def run():
    os.makedirs("/vol", exist_ok=True)
    long_names()
    strange_names()
    foreign()
    aliases()
    flood()
