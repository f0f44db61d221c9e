"""Real programs under preset:coding-agent do what they do bare: version control, package managers, a compiler, and
Python's own tests of files, processes and sockets, test by test.
"""

import json
import os
import shutil
import subprocess
import urllib.parse

import harness
from harness import check, skip
from native import HERE, Place, identities

PYTHON = "/usr/bin/python3"
MODULES = ["test_os", "test_pathlib", "test_subprocess", "test_socket"]
# What the tests do that the preset refuses, and rightly: each line names a test that would fail else.
MORE = """
allow contains {"id": "test-listen", "reason": "test_socket binds what is free"} if input.action.name == "net.bind"
allow contains {"id": "test-loopback", "reason": "test_socket connects to its own"} if {
	connects
	in_cidr(input.resource.properties.ip, ["127.0.0.0/8", "::1/128"])
}
"""

SCRIPTS = {
    "git": ("git", """
        export GIT_AUTHOR_DATE='2001-01-01 00:00:00 +0000' GIT_COMMITTER_DATE='2001-01-01 00:00:00 +0000'
        export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
        git init -q -b main origin && cd origin
        for n in $(seq 50); do echo "line $n" > "file $n"; done
        ln -s 'file 1' link && git add -A && git commit -qm first && cd ..
        git clone -q origin clone && cd clone
        echo more >> 'file 7' && git mv 'file 8' moved && git rm -q 'file 9' && git commit -qam second
        git checkout -q -b side HEAD~1 && echo side > side && git add side && git commit -qm side
        git checkout -q main && git merge -q -m merged side && git gc -q && git fsck && git log --format=%H && git status
    """),
    "npm": ("npm", """
        npm init -y > /dev/null && npm install --no-audit --no-fund ms && node -e "console.log(require('ms')('2 days'))"
    """),
    "pip": (PYTHON, """
        /usr/bin/python3 -m venv venv && venv/bin/pip install -q six && venv/bin/python -c 'import six; print(six.PY3)'
        venv/bin/pip list --format freeze | cut -d= -f1
    """),
    "cargo": ("cargo", """
        cargo new -q --vcs none hello && cd hello && cargo build -q --offline && ./target/debug/hello && cargo clean -q
        find . -type f | sort
    """),
}


def registry_ports():
    """Ports of the registries that this machine is set up with, where the preset does not have them."""
    asked = [["npm", "config", "get", "registry"], [PYTHON, "-m", "pip", "config", "get", "global.index-url"]]
    for argv in asked:
        if shutil.which(argv[0]):
            said = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()
            if port := urllib.parse.urlsplit(said).port:
                yield port


def toolchain():
    """The folder with cargo and rustc in bin; it may be one that only root can reach."""
    done = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


class Workspace:
    """A folder of the identity's own, which is the home folder too."""

    def __init__(self, place, identity):
        self.place, self.identity = place, identity
        self.policies = ["preset:coding-agent", str(place.policy(MORE))]
        if ports := sorted({22, 80, 443, *registry_ports()} - {22, 80, 443}):
            data = place.tools / "ports.json"
            data.write_text(json.dumps({"authz": {"ports": [22, 80, 443, *ports]}}))
            self.policies.append(str(data))

    def run(self, argv, bound, timeout=400):
        folder = self.place.fresh("work")
        os.chown(folder, self.identity.owner, self.identity.owner)
        env = {"HOME": folder, "TMPDIR": folder, "LC_ALL": "C.UTF-8", "CARGO_HOME": folder / ".cargo"}
        # Whoever is made another user gets that one's home folder.
        argv = ["env", f"HOME={folder}", *argv]
        if bound:
            argv = self.identity.bound(argv, self.policies, "--workspace", str(folder), authz=str(self.place.tools / "authz"))
        else:
            argv = self.identity.bare(argv)
        # Where everybody can reach the compiler, in a name space of its own.
        if tools := toolchain():
            env["PATH"] = f"/mnt/bin:{os.environ['PATH']}"
            argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c",
                    'mount --bind "$0" /mnt && exec "$@"', tools, *argv]
        return harness.finish(argv, timeout, env, str(folder))


def scripts(workspace, who):
    for name, (program, script) in SCRIPTS.items():
        if not shutil.which(program):
            skip(f"programs, {who}, {name}", f"there is no {program}")
            continue
        argv = ["/bin/sh", "-ec", script]
        bare = workspace.run(argv, False)
        if not check(f"programs, {who}, {name}: works bare", bare.returncode == 0 and bare.stdout,
                     (bare.returncode, bare.stdout[-300:], bare.stderr[-500:])):
            continue
        bound = workspace.run(argv, True)
        same = bound.stdout == bare.stdout if name != "npm" else bound.stdout.splitlines()[-1:] == ["172800000"]
        check(f"programs, {who}, {name}: does the same under authz", same and bound.returncode == 0,
              (bound.returncode, bound.stdout[-500:], bare.stdout[-200:], bound.stderr[-700:]))


def python_tests(workspace, who):
    if subprocess.run([PYTHON, "-c", "import test.test_os"], capture_output=True, check=False).returncode:
        skip(f"programs, {who}, python's tests", "they are not installed (libpython3.N-testsuite)")
        return
    runner = workspace.place.tools / "pytests.py"
    shutil.copy(HERE / "pytests.py", runner)
    for module in MODULES:
        found = []
        for bound in (False, True):
            done = workspace.run([PYTHON, str(runner), f"test.{module}"], bound)
            try:
                found.append(json.loads(done.stdout))
            except ValueError:
                found.append({"outcome": {}, "detail": {}})
        bare, bound = found
        names = bare["outcome"].keys() | bound["outcome"].keys()
        unlike = sorted(name for name in names if bare["outcome"].get(name) != bound["outcome"].get(name))
        good = list(bare["outcome"].values()).count("ok")
        check(f"programs, {who}, {module}: the same {len(names)} outcomes, {good} of them ok", names and not unlike,
              (done.returncode, done.stderr[-500:] if not names else "", len(unlike), unlike[:9]))
        for name in unlike:
            print(f"# {name}: {bare['outcome'].get(name)}, then {bound['outcome'].get(name)}: "
                  f"{bound['detail'].get(name, '')[-400:]!r}", flush=True)


def run():
    with Place() as place:
        for identity in identities():
            workspace = Workspace(place, identity)
            scripts(workspace, identity.name)
            if identity.owner:
                python_tests(workspace, identity.name)
