"""An agent that tells its session's daemon of its tool calls, as hooks do; prints what it was told. Argument: a folder."""

import json
import os
import socket
import subprocess
import sys

TOP = sys.argv[1]


def ask(path=None, **fields):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(60)
        sock.connect(path or os.environ["AUTHZ_SOCKET"])
        sock.sendall(json.dumps(fields).encode() + b"\n")
        return json.loads(sock.makefile().readline())


def call(name, call_id, server="filesystem", **arguments):
    return ask(op="open_call", layer="hook", server=server, name=name, call_id=call_id, arguments=arguments)


def close(call_id):
    return ask(op="close_call", call=call_id, outcome="ok")


def tell(name, value):
    print(json.dumps({"name": name, "value": value}), flush=True)


def write(name):
    try:
        with open(f"{TOP}/{name}", "w"):
            return 0
    except OSError as error:
        return error.errno


def child():
    """A process that writes to a name each time it is given one."""
    script = ('import sys\nfor line in sys.stdin:\n  try:\n    open(line.strip(), "w").close(); print(0, flush=True)\n'
              '  except OSError as e:\n    print(e.errno, flush=True)\n')
    return subprocess.Popen([sys.executable, "-S", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def told(process, name):
    process.stdin.write(f"{TOP}/{name}\n")
    process.stdin.flush()
    return int(process.stdout.readline())


tell("denied", call("write_file", "one", path=f"{TOP}/prod/x"))
tell("through a link", call("write_file", "two", path=f"{TOP}/link/../link/x"))
tell("held in vain", ask(op="await_call", call="00000000-0000-7000-8000-000000000000"))
tell("none", write("prod/none"))
tell("allowed", call("shell", "three", server="other"))
early = child()
tell("hidden", told(early, "prod/hidden"))
tell("also", call("shell", "four", server="other"))
late = child()
tell("still", told(early, "prod/still"))
tell("both", told(late, "prod/both"))
tell("itself", write("prod/itself"))
tell("closed", close("three"))
tell("over", told(early, "prod/over"))
tell("closed too", close("four"))
tell("after", told(early, "prod/after"))
tell("again", close("four"))
tell("control", ask(op="pending"))
tell("answer", ask(op="answer", id="00000000", approve=True))
try:
    tell("other door", ask(os.environ["AUTHZ_SOCKET"].replace("ask.sock", "control.sock"), op="sessions"))
except OSError as error:
    tell("other door", error.errno)
tell("end", [process.stdin.close() or process.wait() for process in (early, late)])
