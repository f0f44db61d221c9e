"""Random file-system operations, and some that are told apart by name, do the same with and without the supervisor: values, errors and the tree at the end.

FSDIFF_SEED and FSDIFF_COUNT choose other operations and how many; FSDIFF_BATCH one batch of them, which is made as
small as it can be while it differs.
"""

import collections
import os
import re
import stat

from fscases import CASES
from fsscript import Script
from harness import check
from native import ALLOW, BARE, SEED, Place, compiled, identities

COUNT = int(os.environ.get("FSDIFF_COUNT", 10_000))
BATCH = 200
# What differs between any two runs: processes, nameless files, sockets.
ANY = [(re.compile(r"/proc/\d+(/task/\d+)?"), "/proc/PID"), (re.compile(r"%23\d+|#\d+"), "#INODE"),
       (re.compile(r"\[\d+\]"), "[INODE]"), (re.compile(r"^(\d+ readlink .*(PID|INODE).* = )\d+$"), r"\1LENGTH")]


class Outcome:
    """What a run of some batches gave, by the batch's number: the line of each operation, and the tree."""

    def __init__(self, done, batches, trees):
        self.done, self.trees, self.strange = done, trees, []
        printed = {}
        for line in done.stdout.splitlines():
            for pattern, text in ANY:
                line = pattern.sub(text, line)
            number, _, rest = line.partition(" ")
            if number.isdigit():
                printed[int(number)] = rest
            else:
                self.strange.append(line)
        at, self.lines = 0, {}
        for number, lines in batches.items():
            self.lines[number] = [printed.get(at + 1 + index) for index in range(len(lines))]
            at += len(lines) + 1

    def complete(self):
        """Whether each operation was done."""
        return not self.strange and all(None not in lines for lines in self.lines.values())


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
        return Outcome(done, batches, trees)

    def differences(self, batches, bare=None):
        """The batches that differ, each by its first difference: (batch, index in it or None for the tree, bare, bound)."""
        bound = self.run(batches, True)
        return list(first_differences(bare or self.run(batches, False), bound))


class Empty:
    """A tree with nothing in it."""

    def __init__(self, owner):
        self.owner = owner

    def make(self, folder):
        os.mkdir(folder)
        os.chmod(folder, 0o777)
        os.chown(folder, self.owner, self.owner)


class CaseRunner(Runner):
    """Runs cases by name, in empty folders."""

    def script(self, number):
        return Empty(self.identity.owner)


def first_differences(bare, bound):
    """For each batch of the bare run that differs: (batch, index in it or None for the tree, bare, bound)."""
    for number, lines in bare.lines.items():
        for index, (one, other) in enumerate(zip(lines, bound.lines[number], strict=True)):
            if one != other or one is None:
                yield number, index, one, other
                break
        else:
            one, other = bare.trees[number], bound.trees[number]
            paths = [path for path in one.keys() | other.keys() if one.get(path) != other.get(path)]
            if paths:
                yield number, None, *({path: seen.get(path) for path in sorted(paths)[:3]} for seen in (one, other))


def shrunk(runner, number, lines):
    """The fewest lines found of a batch that still differ, in at most a hundred tries."""
    def differs(some):
        return runner.differences({number: some})

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
    """Each kind of difference once; the only one shrunk."""
    kinds = collections.Counter()
    for number, index, one, other in differences:
        line = batches[number][index] if index is not None else "the tree"
        kind = (line.split()[0], str(one).rpartition(" = ")[2], str(other).rpartition(" = ")[2]) if index is not None else line
        kinds[kind] += 1
        if kinds[kind] <= 2:
            print(f"# seed {runner.seed} batch {number} operation {index}: {line}\n#   bare:  {one}\n#   authz: {other}",
                  flush=True)
    print("# differences by kind (operation, bare, authz):", dict(kinds), flush=True)
    if len(batches) == 1:
        number, index, *_ = differences[0]
        lines = shrunk(runner, number, batches[number][:index + 1] if index is not None else batches[number])
        print(f"# batch {number} shrunk:", *lines, sep="\n#   ", flush=True)


def differential(place, identity):
    """All batches bare and bound."""
    runner = Runner(place, identity, SEED)
    only = os.environ.get("FSDIFF_BATCH")
    numbers = [int(only)] if only else range((COUNT + BATCH - 1) // BATCH)
    batches = {number: list(runner.script(number).lines(BATCH)) for number in numbers}
    total = sum(map(len, batches.values()))
    bare = runner.run(batches, False)
    if not check(f"fsdiff, {identity.name}: {total} operations run bare", bare.complete(),
                 (bare.strange[:3], bare.done.stderr[-500:])):
        return
    name = f"fsdiff, {identity.name}: {total} operations give the same {'twice' if BARE else 'under authz'}"
    differences = runner.differences(batches, bare)
    if not check(name, not differences, f"{len(differences)} of {len(batches)} batches differ"):
        report(runner, differences, batches)


def cases(place, identity):
    """Each of CASES: the error that is told of it bare, and the same under authz."""
    runner = CaseRunner(place, identity, 0)
    names = list(CASES)
    batches = {number: CASES[name][0] for number, name in enumerate(names)}
    bare = runner.run(batches, False)
    differences = {number: rest for number, *rest in runner.differences(batches, bare)}
    for number, name in enumerate(names):
        wanted, last = CASES[name][1], str(bare.lines[number][-1]).rpartition(" = ")[2]
        check(f"fsdiff, {identity.name}, {name}: {last}", wanted in (None, last) and number not in differences,
              (wanted, bare.lines[number], differences.get(number)))


def run():
    with Place() as place:
        compiled("fsops", place.tools / "fsops")
        for identity in identities():
            cases(place, identity)
            differential(place, identity)
