#!/usr/bin/python3
"""Stands in for a coding agent: ordinary work, then four steps that a policy has an opinion on.

It knows nothing of authz. It prints one line a step; what fails is reported, not raised, as an agent would
read the error and go on.
"""

import pathlib
import socket
import subprocess
import sys

WORKSPACE = pathlib.Path.cwd()


def say(step, result):
    print(f"{step:<46} {result}", flush=True)


def shell(step, command):
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    words = (done.stderr or done.stdout).strip().splitlines()
    say(step, "done" if done.returncode == 0 else f"failed: {words[-1] if words else done.returncode}")


def attempt(step, action):
    try:
        action()
    except OSError as error:
        say(step, f"failed: {error.strerror}")
    else:
        say(step, "done")


def connect(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10):
        pass


def work():
    source = WORKSPACE / "greet.py"
    source.write_text("def greet(name):\n    return f'Hello, {name}!'\n")
    (WORKSPACE / "test_greet.py").write_text(
        "import greet\nassert greet.greet('Ada') == 'Hello, Ada!'\n"
    )
    source.write_text(source.read_text().replace("Hello", "Good morning").replace("Good morning", "Hello"))


attempt("write two source files in the workspace", work)
shell("run their test", "python3 -B test_greet.py")
shell("git init, add, commit", "git init -q . && git add . && git -c user.name=agent -c user.email=agent@example.org commit -q -m 'A greeting'")
attempt("connect to the test server, 127.0.0.1:8080", lambda: connect(8080))
shell("read /prod/config.yaml", "cat /prod/config.yaml")
shell("sh -c 'echo replicas: 0 > /prod/config.yaml'", "echo 'replicas: 0' > /prod/config.yaml")
attempt("connect to 127.0.0.1:9999", lambda: connect(9999))
attempt("run mount", lambda: subprocess.run(["mount"], stdout=subprocess.DEVNULL, check=False))
shell("sh -c 'echo 1.1 >> /srv/release/VERSION'", "echo 1.1 >> /srv/release/VERSION")
sys.exit(0)
