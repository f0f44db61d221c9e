"""A loop makes one call after the other with the same registers, each about new files: all are decided, however many."""

import shutil

import control
import harness
from harness import check

POLICY = """
deny contains {"id": "odd", "reason": "r"} if {
	reads
	glob(input.resource.id, "%s/files/*.odd")
}

allow contains {"id": "rest", "reason": "r"} if true
"""
SCRIPT = """
import ctypes, errno, sys
libc = ctypes.CDLL(None, use_errno=True)
name = ctypes.create_string_buffer(300)
for path in sys.argv[1:]:
    name.value = path.encode()
    print(errno.errorcode[ctypes.get_errno()] if libc.open(name, 0) < 0 else "fine")
"""


ASKED = 'allow contains {"id": "time", "reason": "never remembered"} if time.now_ns() > 0\n'
LINKS = """
import ctypes, errno, sys
libc = ctypes.CDLL(None, use_errno=True)
old, new = ctypes.create_string_buffer(300), ctypes.create_string_buffer(300)
for path in sys.argv[1:]:
    old.value, new.value = path.encode(), path.encode() + b".link"
    print(errno.errorcode[ctypes.get_errno()] if libc.link(old, new) < 0 else "fine")
"""


def links(python):
    """Two questions a call, and no answer is remembered: a call before leaves no more than it had."""
    top = control.folder("files")
    paths = [f"{top}/files/{number}" for number in range(30)]
    for path in paths:
        open(path, "w", encoding="utf-8").close()
    done = harness.authz_exec(ASKED, [python, "-c", LINKS, *paths])
    check("thirty links in a loop, each name asked about", done.stdout.split() == ["fine"] * 30, (done.stdout, done.stderr))


def run():
    top = control.folder("files")
    paths = [f"{top}/files/{number}{'.odd' if number % 10 == 9 else ''}" for number in range(60)]
    for path in paths:
        open(path, "w", encoding="utf-8").close()
    python = shutil.which("python3", path="/usr/bin:/bin")
    links(python)
    done = harness.authz_exec(POLICY % top, [python, "-c", SCRIPT, *paths])
    wanted = ["EACCES" if path.endswith(".odd") else "fine" for path in paths]
    check("sixty new files in a loop are decided each for itself", done.stdout.split() == wanted, (done.stdout, done.stderr))
    causes = [entry["causes"] for entry in control.entries(done) if entry.get("causes")]
    check("none by a failure", not causes, causes)
