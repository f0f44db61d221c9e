"""100,000 random operations: what the kernel did is what a fresh evaluation of the policy says, for every one."""

import array
import errno
import json
import random
import string
import subprocess
import tempfile
import time

import control
import harness
from harness import check

COUNT = 100_000
SAMPLE = 300
FILES = 500
SEED = 20240229
ACTIONS = ["file.read", "file.write", "file.create", "file.delete"]
# Folder: what may be done in it. The deepest counts; `open` and `opener` share their beginning.
FOLDERS = {"open": "rwcd", "opener": "r", "open/secret": "", "open/secret/not": "rwcd", "kept": "rwc", "fixed": "rwd",
           "drop": "wcd", "none": "", "deep/er/still": "rwcd", "deep": "r"}


def policy(top):
    """Each folder by a rule of its own, less the folders below it."""
    rules = ['allow contains {"id": "rest", "reason": "r"} if '
             f'{{ input.action.name in {{"file.read", "process.exec"}}; not under(input.resource.id, "{top}") }}',
             f'allow contains {{"id": "out", "reason": "r"}} if is(input.resource.id, "{top}.out")']
    for folder, may in FOLDERS.items():
        names = ", ".join(f'"{name}"' for name, letter in zip(ACTIONS, "rwcd") if letter in may)
        if not names:
            continue
        less = "".join(f'; not under(input.resource.id, "{top}/{other}")'
                       for other in FOLDERS if other.startswith(folder + "/"))
        rules.append(f'allow contains {{"id": "{folder}", "reason": "r"}} if '
                     f'{{ input.action.name in {{{names}}}; under(input.resource.id, "{top}/{folder}"){less} }}')
    return "\n".join(rules) + "\n"


def names(top, choose):
    """Paths and what may be done with each, worked out here, without the policy."""
    found = {}
    while len(found) < FILES:
        folder = choose.choice(list(FOLDERS))
        name = "".join(choose.choices(string.ascii_lowercase + "-. é", k=choose.randint(1, 24))).strip(". ")
        if name and f"{folder}/{name}" not in FOLDERS and (top / folder / name) not in found:
            found[top / folder / name] = FOLDERS[folder]
    return found


def expected(done, may):
    """The errno of each operation, in turn: no such file, there already, denied, or none."""
    files = list(may.values())
    there = [True] * len(files)
    for number in done:
        which, what = number & 0xffff, number >> 16 & 0xff
        create = what == 2
        if there[which] == create:
            yield errno.EEXIST if create else errno.ENOENT
        elif "rwcd"[what] not in files[which]:
            yield errno.EACCES
        else:
            if what >= 2:
                there[which] = create
            yield 0


def fresh(file, pairs):
    """The effect of each (action, path), evaluated outside of any session."""
    inputs = [{"subject": {"type": "agent", "id": "random", "properties": {}},
               "action": {"name": action, "properties": {}},
               "resource": {"type": "file", "id": path, "properties": {}},
               "context": {"layer": "kernel", "mode": "enforce"}} for action, path in pairs]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as lines:
        lines.write("\n".join(map(json.dumps, inputs)))
        lines.flush()
        out = harness.authz("policy", "eval", file, "--input", lines.name, "--json")
    return [json.loads(line)["decision"]["effect"] for line in out.stdout.splitlines()]


def run():
    choose = random.Random(SEED)
    top = control.folder()
    for folder in FOLDERS:
        (top / folder).mkdir(parents=True, exist_ok=True)
    may = names(top, choose)
    for path in may:
        path.touch()
    (top.parent / "names").write_text("".join(f"{path}\n" for path in may))
    program = str(top) + ".probe"
    subprocess.run(["gcc", "-O2", "-o", program, str(control.HERE / "random.c")], check=True)
    out = control.pathlib.Path(f"{top}.out")
    out.touch()
    file = harness.policy_file(policy(top))
    start = time.monotonic()
    result = harness.authz_exec(file, [program, str(top.parent / "names"), str(COUNT), str(SEED), str(out)],
                                timeout=200, json=True)
    took = time.monotonic() - start
    done = array.array("I", out.read_bytes())
    if not check(f"random: {COUNT} operations were done", result.returncode == 0 and len(done) == COUNT,
                 (result.returncode, len(done), result.stderr[-700:])):
        return
    paths = list(may)
    wrong = [(ACTIONS[number >> 16 & 0xff], str(paths[number & 0xffff]), number >> 24, want)
             for number, want in zip(done, expected(done, may)) if number >> 24 != want]
    check(f"random: all of them came out as the policy says ({took:.0f} s)", not wrong,
          f"{len(wrong)}: (action, path, errno, expected) {wrong[:5]}")
    summary = next((json.loads(line)["summary"] for line in result.stderr.splitlines() if '"summary"' in line), {})
    check("random: most were decided by the kernel's table", summary.get("remembered", 0) > COUNT // 3, summary)
    check("random: none by the fail direction", summary.get("failed") == 0, summary)
    seen = {}
    for number in done:
        if (number >> 24) in (0, errno.EACCES):
            seen.setdefault((ACTIONS[number >> 16 & 0xff], str(paths[number & 0xffff])), number >> 24)
    effects = fresh(file, seen)
    unlike = [(pair, effect, seen[pair]) for pair, effect in zip(seen, effects) if (effect == "allow") != (seen[pair] == 0)]
    check("random: a fresh evaluation agrees on each of them", len(effects) == len(seen) > 1000 and not unlike,
          (len(effects), len(seen), unlike[:5]))
