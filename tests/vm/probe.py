"""Does what the cases say, one after the other, and writes what became of each to a JSON file.

    probe.py CASES RESULTS [UID]

CASES is a JSON array of {"id", "op", "args"}. RESULTS becomes an object: id to "ok" or the name of an errno.
"""

import errno
import json
import os
import sys

sys.dont_write_bytecode = True

import probe_file  # noqa: E402
import probe_net  # noqa: E402
import probe_process  # noqa: E402

OPS = {**probe_file.OPS, **probe_process.OPS, **probe_net.OPS}


def outcome(case):
    """`ok`, the errno's name, or what else went wrong."""
    try:
        result = OPS[case["op"]](*case["args"])
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return result if isinstance(result, str) else "ok"


def main():
    cases, results = sys.argv[1:3]
    with open(cases) as file:
        table = json.load(file)
    if sys.argv[3:]:
        os.setgroups([])
        os.setgid(int(sys.argv[3]))
        os.setuid(int(sys.argv[3]))
    os.umask(0)
    out = {}
    for case in table:
        out[case["id"]] = outcome(case)
    with open(results, "w") as file:
        json.dump(out, file)


if __name__ == "__main__":
    main()
