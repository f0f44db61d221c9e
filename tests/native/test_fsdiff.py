"""Random file-system operations do the same with and without the supervisor: values, errors and the tree at the end.

FSDIFF_SEED and FSDIFF_COUNT choose other operations and how many; FSDIFF_BATCH only one batch of them.
"""

import collections
import os
import re
import stat

from fsscript import Script
from harness import check
from native import ALLOW, BARE, SEED, Place, compiled, identities

COUNT = int(os.environ.get("FSDIFF_COUNT", 50_000))
BATCH = 200
# What differs between any two runs: processes, nameless files, sockets.
ANY = [(re.compile(r"/proc/\d+(/task/\d+)?"), "/proc/PID"), (re.compile(r"%23\d+|#\d+"), "#INODE"),
       (re.compile(r"\[\d+\]"), "[INODE]")]


class Outcome:
    """What a run of some batches gave: the line of each operation, and each tree."""

    def __init__(self, printed, trees, done):
        self.lines = {}
        self.trees = trees
        self.done = done
        batch = ""
        for line in printed.splitlines():
            for pattern, text in ANY:
                line = pattern.sub(text, line)
            number, _, rest = line.partition(" ")
            self.lines[number if number.isdigit() else line] = rest


def tree(top):
    """All that can be seen of a folder, by name."""
    seen = {}
    for folder, folders, files in os.walk(os.fsencode(top)):
        for path in [folder] + [os.path.join(folder, name) for name in folders + files]:
            info = os.lstat(path)
            kind = stat.S_IFMT(info.st_mode)
            seen[os.path.relpath(path, os.fsencode(top))] = (
                oct(info.st_mode), info.st_uid, info.st_gid, info.st_nlink,
                info.st_size if kind == stat.S_IFREG else 0, info.st_rdev,
                os.readlink(path) if kind == stat.S_IFLNK else
                open(path, "rb").read(100) if kind == stat.S_IFREG else b"",
                sorted((name, os.getxattr(path, name, follow_symlinks=False))
                       for name in os.listxattr(path, follow_symlinks=False)))
    return seen


class Runner:
    """Runs scripts as one identity, in trees that are made anew each time."""

    def __init__(self, place, identity, seed):
        self.place, self.identity, self.seed = place, identity, seed

    def script(self, number):
        return Script(self.seed, number, f"/w/{number}", self.identity.owner)

    def run(self, batches, bound):
        """`batches`: the lines by the batch's number. Under authz if `bound`."""
        work = self.place.fresh("w")
        text = []
        for number, lines in batches.items():
            self.script(number).make(str(work / str(number)))
            text += [f"batch /w/{number}", *lines]
        self.place.tools.joinpath("script").write_text("\n".join(text) + "\n")
        argv = ["/tools/fsops", "/tools/script"]
        self.place.policy(ALLOW)
        argv = self.identity.bound(argv, "/tools/policy.rego") if bound else self.identity.bare(argv)
        done = self.place.sandboxed(argv, work, 1500)
        trees = {number: tree(work / str(number)) for number in batches}
        return Outcome(done.stdout, trees, done)


def first_differences(bare, bound, batches):
    """For each batch that differs: (batch, index in it or None for the tree, bare, bound)."""
    at = 0
    for number, lines in batches.items():
        for index in range(len(lines)):
            one, other = bare.lines.get(str(at + 1 + index)), bound.lines.get(str(at + 1 + index))
            if one != other:
                yield number, index, one, other
                break
        else:
            one, other = bare.trees[number], bound.trees[number]
            paths = [path for path in one.keys() | other.keys() if one.get(path) != other.get(path)]
            if paths:
                yield number, None, *({path: seen.get(path) for path in sorted(paths)[:3]} for seen in (one, other))
        at += len(lines) + 1


def shrunk(runner, number, lines):
    """The fewest lines found of a batch that still differ, in at most a hundred tries."""
    def differs(some):
        batches = {number: some}
        return any(first_differences(runner.run(batches, False), runner.run(batches, True), batches))

    size, tries = max(len(lines) // 2, 1), 0
    while size and tries < 100:
        at = 0
        while at < len(lines) and tries < 100:
            some = lines[:at] + lines[at + size:]
            tries += 1
            if some and differs(some):
                lines = some
            else:
                at += size
        size //= 2
    return lines


def report(runner, differences, batches):
    """Each kind of difference once, the first one shrunk."""
    kinds = collections.Counter()
    for number, index, one, other in differences:
        line = batches[number][index] if index is not None else "the tree"
        kind = (line.split()[0], str(one).rpartition(" = ")[2], str(other).rpartition(" = ")[2]) if index is not None else line
        kinds[kind] += 1
        if kinds[kind] == 1:
            print(f"# seed {runner.seed} batch {number} operation {index}: {line}\n#   bare:  {one}\n#   authz: {other}",
                  flush=True)
    print("# differences by kind (operation, bare, authz):", dict(kinds), flush=True)
    number, index, *_ = differences[0]
    lines = shrunk(runner, number, batches[number][:index + 1] if index is not None else batches[number])
    print(f"# batch {number} shrunk:", *lines, sep="\n#   ", flush=True)
    return lines


def differential(place, identity):
    """All batches bare and bound."""
    runner = Runner(place, identity, SEED)
    only = os.environ.get("FSDIFF_BATCH")
    numbers = [int(only)] if only else range((COUNT + BATCH - 1) // BATCH)
    batches = {number: list(runner.script(number).lines(BATCH)) for number in numbers}
    bare = runner.run(batches, False)
    ended = [line for line in bare.lines if line.startswith("batch")]
    total = sum(map(len, batches.values()))
    if not check(f"fsdiff, {identity.name}: {total} operations run bare", not ended and len(bare.lines) == total,
                 (ended[:3], len(bare.lines), bare.done.stderr[-500:])):
        return
    again = runner.run(batches, True)
    name = f"fsdiff, {identity.name}: {total} operations give the same {'twice' if BARE else 'under authz'}"
    differences = list(first_differences(bare, again, batches))
    if not check(name, not differences, f"{len(differences)} of {len(batches)} batches differ; {again.done.stderr[-300:]}"):
        report(runner, differences, batches)


def run():
    with Place() as place:
        compiled("fsops", place.tools / "fsops")
        for identity in identities():
            differential(place, identity)
