"""authz exec passes on status, signals and identity; sessions do not meet; observe mode blocks nothing."""

import signal

import control
import harness
from harness import check

ALL = 'allow contains {"id": "rest", "reason": "r"} if true\n'


def deny(path):
    return ALL + f'deny contains {{"id": "no", "reason": "r"}} if {{ writes; under(input.resource.id, "{path}") }}\n'


def status():
    top = control.folder()
    (top / "data").write_text("no program\n")
    for name, line, want in [("its own", ["sh", "-c", f"echo ran > {top}/ran; exit 7"], 7),
                             ("not found", [f"{top}/none"], 127), ("not executable", [f"{top}/data"], 126),
                             ("by a signal", ["sh", "-c", f"echo more >> {top}/ran; kill -9 $$"], 128 + signal.SIGKILL)]:
        run = harness.authz_exec(ALL, line)
        check(f"exec: the exit status, {name}", run.returncode == want, run)
    check("exec: the commands ran", (top / "ran").read_text() == "ran\nmore\n")
    run = harness.authz_start(ALL, ["sh", "-c", f"trap 'echo got; exit 5' TERM; echo ready; while :; do sleep 0.2; done"])
    ready = run.stdout.readline()
    run.send_signal(signal.SIGTERM)
    out, _ = control.finish(run, 30)
    check("exec: SIGTERM is passed on", ready == "ready\n" and out == "got\n" and run.returncode == 5, (out, run.returncode))


def identity():
    run = harness.authz_exec(ALL, ["sh", "-c", "id -u; id -g; id -G; grep Cap[EP] /proc/self/status"], user="nobody")
    want = harness.bare(["sh", "-c", "id -u nobody; id -g nobody; id -G nobody"]).stdout
    check("exec: --user drops uid, gid, groups and capabilities",
          run.stdout.startswith(want) and run.stdout.count("0000000000000000") == 2, (run, want))


def sessions():
    top = control.folder("one", "two")
    steps = [control.probe(), f"until:{top}/go", f"w:{top}/one/a", f"w:{top}/two/a", f"w:{top}/one/a", f"w:{top}/two/a"]
    runs = [harness.authz_start(deny(top / name), steps, name=name) for name in ("one", "two")]
    both = all(control.wait(lambda: control.session(name)) for name in ("one", "two"))
    (top / "go").touch()
    found = [control.numbers(control.finish(run, 60)[0]) for run in runs]
    check("exec: two sessions at once, each under its own policy", both and found == [[13, 0, 13, 0], [0, 13, 0, 13]], found)


def observe():
    top = control.folder("x")
    run = harness.authz_exec(deny(top / "x"), [control.probe(), f"w:{top}/x/a", f"w:{top}/x/a"], mode="observe")
    check("exec: observe mode blocks nothing and says what it would have",
          control.numbers(run.stdout) == [0, 0] and f"would have been denied" in run.stderr and f"{top}/x/a" in run.stderr, run)


def run():
    status()
    identity()
    sessions()
    observe()
