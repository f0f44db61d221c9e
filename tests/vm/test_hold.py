"""Operations that wait for a human: approved, denied, unanswered, with the daemon killed; seen by nobody else."""

import os
import pty
import select
import signal
import time

import control
import harness
from harness import check

ALL = 'allow contains {"id": "rest", "reason": "Not of interest."} if true\n'


def ask_for(path):
    return ALL + (f'escalate contains {{"id": "ask-first", "reason": "A human decides."}} '
                  f'if {{ writes; under(input.resource.id, "{path}") }}\n')


def held(path):
    """The operation that waits for this file, once there is one."""
    views = control.wait(lambda: control.pending(str(path)))
    return views[0] if views else None


def answers():
    """One session: approve, deny, for the session, and its own attempts to answer."""
    top = control.folder("ask")
    ask, probe = top / "ask", control.probe()
    steps = [f"w:{ask}/{name}" for name in "abcc"]
    bare = harness.bare([probe, "watch", *steps])
    check("hold: the probe writes when bare", control.numbers(bare.stdout) == [0] * 4, bare)
    run = harness.authz_start(ask_for(ask), [probe, "watch", *steps, f"connect:{top}/socket", "exec:/bin/sh", "-c",
                                             f"{harness.AUTHZ} approve $(cat {top}/id); echo approve $?; cat {top}/id"],
                              hold_timeout="60s", name="answers")
    for name in "abc":
        (ask / name).write_text("before\n")
    view = held(ask / "a")
    if not check("hold: an operation waits", view, "" if view else control.finish(run, 1)):
        return
    listed = harness.authz("pending", "--json").stdout
    check("hold: authz pending --json lists it", view["id"] in listed and str(ask / "a") in listed, listed)
    (top / "socket").write_text(control.session("answers")[0] + "\n")
    approved = harness.authz("approve", view["id"][-8:])
    check("hold: authz approve", approved.returncode == 0, approved)
    view = held(ask / "b")
    denied = harness.authz("deny", view["id"] if view else "none")
    check("hold: authz deny", denied.returncode == 0, denied)
    view = held(ask / "c")
    (top / "id").write_text((view["id"] if view else "none") + "\n")
    if view:
        control.answer(view, True, "session")
    out, err = control.finish(run)
    errnos, times = control.numbers(out), control.timings(out)
    check("hold: approved goes through, denied is EACCES", errnos[:2] == [0, 13], out + err)
    check("hold: what was approved is in the file, what was denied is not",
          [(ask / name).read_text() for name in "ab"] == ["written\n", "before\n"], out)
    check("hold: approved for the session, the second time is not held",
          errnos[2:] == [0, 0] and "3 held" in err, out + err)
    # A quick answer leaves the other thread little time; over a slow one it must have got on.
    counts = [count for _, count, _ in times[:3]]
    check("hold: other threads run on meanwhile", len(times) == 4 and max(counts) >= 10 and min(counts) >= 1, out)
    check("hold: the parent sees no stop", control.stops(out) == 0, out)
    check("hold: the control socket cannot be reached from inside", "connect 13" in out, out)
    check("hold: authz approve inside the session is refused", "approve 1" in out, out + err)


def unanswered():
    top = control.folder("ask")
    file = top / "ask" / "a"
    run = harness.authz_start(ask_for(file), [control.probe(), "watch", f"w:{file}"], hold_timeout="2s")
    view = held(file)
    out, err = control.finish(run)
    times = control.timings(out)
    check("hold: without an answer EACCES at the deadline",
          view and len(times) == 1 and times[0][0] == 13 and 1900 <= times[0][2] <= 6000, out + err)
    check("hold: without an answer nothing is written and no stop is seen",
          file.read_text() == "before\n" and control.stops(out) == 0, out)


def daemon_killed():
    top = control.folder("ask")
    file = top / "ask" / "a"
    run = harness.authz_start(ask_for(file), [control.probe(), "watch", f"w:{file}"], hold_timeout="60s")
    view, daemon = held(file), control.daemon_of(run)
    if not check("hold: the daemon is killed while an operation waits", view and daemon, (view, daemon)):
        control.finish(run, 1)
        return
    os.kill(daemon[0], signal.SIGKILL)
    out, err = control.finish(run, 30)
    times = control.timings(out)
    check("hold: the daemon killed, it ends as denied", len(times) == 1 and times[0][0] == 13 and times[0][2] < 30000,
          out + err)
    check("hold: the daemon killed, no stop is seen", control.stops(out) == 0, out)


def observed():
    top = control.folder("ask")
    steps = [f"w:{top}/ask/a", f"until:{top}/socket", f"connect:{top}/socket"]
    run = harness.authz_start(ask_for(top / "ask"), [control.probe(), *steps], mode="observe", name="observed")
    found = control.wait(lambda: control.session("observed"))
    if found:
        (top / "socket.new").write_text(found[0] + "\n")
        (top / "socket.new").rename(top / "socket")
    out, err = control.finish(run, 60)
    check("observe: what a human would be asked is not held", control.numbers(out) == [0], out + err)
    check("observe: the daemon refuses a process of a session", "connect 0" in out and "inside a session" in out, out)
    check("observe: nothing is blocked and it is said what would have been", "would have been" in err, err)


def terminal():
    """A shell on a terminal, held in the foreground."""
    top = control.folder("ask")
    file = top / "ask" / "a"
    line = harness.authz_argv(ask_for(file), ["bash", "--norc", "--noprofile", "-i"], hold_timeout="60s")
    pid, fd = pty.fork()
    if not pid:
        os.execv(line[0], line)
    text = ""

    def read(until, seconds=control.SLOW):
        nonlocal text
        end = time.monotonic() + seconds
        while until not in text and time.monotonic() < end:
            if select.select([fd], [], [], 0.1)[0]:
                try:
                    text += os.read(fd, 4096).decode(errors="replace")
                except OSError:
                    break
        return until in text

    os.write(fd, f"echo typed > {file}; echo status=$?; /bin/sh -c 'echo again > {file}'; echo child=$?; jobs\n".encode())
    for _ in range(2):
        if view := held(file):
            control.answer(view, True)
            control.wait(lambda: not [one for one in control.pending(str(file)) if one["id"] == view["id"]], 10)
    read("child=0\r")
    os.write(fd, b"exit\n")
    read(" held", 20)
    os.close(fd)
    control.wait(lambda: os.waitpid(pid, os.WNOHANG)[0], 20)
    check("hold: an interactive shell goes on after approval", "status=0\r" in text and "child=0\r" in text, text)
    check("hold: an interactive shell says nothing of a stop",
          "status=0\r" in text and "topped" not in text.replace("typed", ""), text)
    asked = [entry for entry in control.entries(text) if entry.get("result", {}).get("effect") == "escalate"]
    check("hold: a redirect, which opens and truncates, asks one question",
          "2 held" in text and len(asked) == 2 and file.read_text() == "again\n", (text, asked))


def run():
    answers()
    unanswered()
    daemon_killed()
    observed()
    terminal()
