"""What a policy reads besides the resource: its verdicts follow, and are remembered only as far."""

import json
import os
import pathlib
import shutil
import time

import control
import harness
from harness import check

ALL = 'allow contains {"id": "rest", "reason": "r"} if true\n'
CALL = {"layer": "mcp", "name": "write_file", "server": "fs", "arguments": {}}


def deny(path, condition):
    return ALL + (f'deny contains {{"id": "no", "reason": "r"}} '
                  f'if {{ writes; under(input.resource.id, "{path}"); {condition} }}\n')


class Driven:
    """A session whose probe does some writes each time it is told to."""

    def __init__(self, name, policy, top, rounds, times=4):
        self.top, self.name, self.times = top, name, times
        steps = []
        for number in range(rounds):
            steps += [f"until:{top}/{number}", *[f"w:{top}/x/a"] * times]
        self.run = harness.authz_start(policy, [control.probe(), *steps, f"until:{top}/end"], name=name)
        self.lines = control.Lines(self.run)
        self.socket, view = control.wait(lambda: control.session(name)) or (None, {})
        self.session, self.number, self.open = view.get("session"), 0, None

    def call(self, call):
        """Ends the tool call that is open, and opens this one."""
        done = []
        if self.open:
            done.append(control.request(self.socket, op="close_call", call=self.open, outcome="ok").get("is") == "closed")
        view = call and control.request(self.socket, op="open_call", session=self.session, **call)
        self.open = view and view["call"]
        return all(done) and (not view or view["effect"] == "allow")

    def writes(self):
        (self.top / str(self.number)).touch()
        self.number += 1
        return control.numbers(self.lines.take(self.times))

    def stats(self):
        time.sleep(1)
        return control.session(self.name)[1]["stats"]

    def end(self):
        (self.top / "end").touch()
        control.wait(lambda: self.run.poll() is not None, 20)
        self.run.terminate()
        self.run.wait()


def tool():
    top = control.folder("x")
    case = Driven("tool", deny(top / "x", 'input.context.tool.name == "write_file"'), top, 5)
    if not check("domains: a session that reads the tool starts", case.session):
        return
    verdicts = [case.writes()]
    for call in (CALL, {**CALL, "name": "read_file"}, CALL, None):
        check("domains: the call is set", case.call(call))
        verdicts.append(case.writes())
    stats = case.stats()
    case.end()
    check("domains: verdicts follow the tool call",
          verdicts == [[0] * 4, [13] * 4, [0] * 4, [13] * 4, [0] * 4], verdicts)
    check("domains: within a tool call they are remembered", stats["remembered"] >= 10, stats)


def neither():
    top = control.folder("x")
    case = Driven("neither", deny(top / "y", "true"), top, 4, times=20)
    if not check("domains: a session that reads neither starts", case.session):
        return
    first = case.writes()
    before, verdicts = case.stats(), []
    for call in (CALL, {**CALL, "name": "read_file"}, None):
        case.call(call)
        verdicts += case.writes()
    after = case.stats()
    case.end()
    asked = [stats["operations"] - stats["remembered"] for stats in (before, after)]
    check("domains: what reads no tool call is not asked again when it changes",
          first == [0] * 20 and verdicts == [0] * 60 and asked[0] + 2 == asked[1]  # the calls themselves
          and after["remembered"] - before["remembered"] >= 60, (before, after))


def clock(seconds=45):
    top = control.folder("x")
    end = time.time() + seconds
    case = Driven(f"clock{seconds}", deny(top / "x", f"time.now_ns() > {int(end * 1e9)}"), top, 2)
    if not check("domains: a session that reads time starts", case.session):
        return
    early = case.writes()
    in_time = time.time() < end
    if not in_time and seconds < 200:  # a slow machine
        case.end()
        clock(4 * seconds)
        return
    time.sleep(max(0, end + 0.5 - time.time()))
    late = case.writes()
    stats = case.stats()
    case.end()
    check("domains: verdicts follow the time", in_time and early == [0] * 4 and late == [13] * 4, (in_time, early, late))
    # Reads never get as far as the clock in this policy, so they may be remembered; the writes may not.
    asked = stats["operations"] - stats["remembered"]
    check("domains: what reads time is never remembered", stats["denied"] == 4 and asked >= 8, stats)


def subject():
    top = control.folder("x")
    probe = control.probe()
    other = top / "other"
    shutil.copy(probe, other)
    write = f"w:{top}/x/a"
    steps = [probe, write, write, f"exec:{other}", write, write, f"exec:{probe}", write]
    bare = harness.bare(steps)
    run = harness.authz_exec(deny(top / "x", f'input.subject.properties.exe == "{other}"'), steps)
    check("domains: verdicts follow the program", control.numbers(bare.stdout) == [0] * 5
          and control.numbers(run.stdout) == [0, 0, 13, 13, 0], (run, bare))
    steps = [probe, write, write, "uid:65534", write, write]
    bare = harness.bare(steps)
    run = harness.authz_exec(deny(top / "x", "input.subject.properties.uid == 65534"), steps)
    check("domains: verdicts follow the user", control.numbers(bare.stdout) == [0] * 4
          and control.numbers(run.stdout) == [0, 0, 13, 13] and "uid 0" in run.stdout, (run, bare))


AT_ONCE = r"""
import os, sys, threading
first, fd = threading.Barrier(4), os.open(sys.argv[1], os.O_RDONLY)
def reads():
    for number in range(30):
        first.wait()
        os.close(os.open(f"{number}", os.O_RDONLY, dir_fd=fd))
threads = [threading.Thread(target=reads) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def at_once():
    """Threads that ask the same thing at the same time: each of their operations counts, and once."""
    top = control.folder("x")
    for number in range(30):
        (top / "x" / str(number)).write_text("")
    # The file itself is looked at, so that each is asked about.
    policy = 'allow contains {"id": "any", "reason": "r"} if count(input.resource.id) > 0\n'
    run = harness.authz_exec(policy, ["/usr/bin/python3", "-c", AT_ONCE, str(top / "x")], audit_each=True, json=True)
    last = json.loads(run.stderr.splitlines()[-1]) if run.stderr.strip().endswith("}") else {}
    summary = last.get("summary", {})
    made = [entry for entry in control.ledger("--session", last.get("session", "none")) if entry["kind"] in ("decision", "remembered")]
    opened = [entry for entry in made if entry.get("resource", {}).get("id", "").startswith(str(top / "x") + "/")]
    check("domains: what threads ask at once is recorded each time", len(opened) == 4 * 30, (len(opened), run.stderr[-300:]))
    check("domains: and counted once", len(made) == summary.get("operations") and not summary.get("lost"), (len(made), summary))


def roots():
    """The root of a mounted file system is in no folder, yet no file that was removed: it is remembered as any other."""
    lists = "import os\nfor _ in range(5): os.listdir('/tmp')\n"
    run = harness.authz_exec(ALL, ["/usr/bin/python3", "-c", lists], audit_each=True)
    made = [entry for entry in control.entries(run, "--action", "file.read") if entry.get("resource", {}).get("id") == "/tmp"]
    check("domains: the root of a mount is asked about once", os.path.ismount("/tmp") and len(made) == 5
          and [entry["decided_by"] for entry in made].count("policy") == 1, [entry["decided_by"] for entry in made])


def run():
    assert pathlib.Path(control.probe()).exists()
    tool()
    neither()
    clock()
    subject()
    at_once()
    roots()
