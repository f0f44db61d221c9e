"""A rule by arguments. (That another thread cannot change them in between is for test_race.)"""

from native import BARE, PYTHON, Place, identities
from trial import REST, Trial, decisions, failures

RULES = f"""
deny contains {{"id": "inline", "reason": "no programs from the command line"}} if {{
	executes
	contains(input.resource.id, "/python3")
	input.resource.properties.argv[1] == "-c"
}}

{REST}"""


def rules(trial):
    top = trial.folder("free", **{"script.py": "print('ran')\n", "by-line": f"#!{PYTHON} -c\nprint('ran')\n"})
    (top / "by-line").chmod(0o755)
    script = [PYTHON, str(top / "script.py")]
    inline = [PYTHON, "-c", "print('ran')"]
    shell = ["sh", "-c", f'{PYTHON} {top}/script.py; {PYTHON} -c "print(1)"; {PYTHON} {top}/script.py']
    done, entries = trial.run(RULES, script)
    trial.check("a script is allowed", (done.returncode, done.stdout) == (0, "ran\n"), done)
    found = decisions(entries, "process.exec", PYTHON)
    trial.check("the arguments are in the record", found and found[0]["input"]["resource"]["properties"]["argv"] == script, found)
    for name, argv in [("itself", inline), ("by env", ["/usr/bin/env", *inline]), ("by the first line of a script", [str(top / "by-line")])]:
        done, entries = trial.run(RULES, argv)
        found = [entry for entry in decisions(entries, "process.exec", PYTHON) if entry["result"]["effect"] == "deny"]
        trial.check(f"python -c, {name}: denied, by its rule", done.returncode == 126 and not done.stdout and found
                    and found[0]["result"]["rules"][0]["id"] == "inline", (done, found))
    done, entries = trial.run(RULES, shell)
    trial.check("an allow for one set of arguments is not remembered for another", done.stdout == "ran\nran\n", done)
    done, entries = trial.run(RULES, shell, "--mode", "observe")
    trial.check("observe: nothing is blocked, what would have been is recorded", done.stdout == "ran\n1\nran\n"
                and [entry["enforced"] for entry in decisions(entries, "process.exec", PYTHON) if entry["result"]["effect"] == "deny"] == [False],
                (done, entries))
    trial.check("nothing failed", not failures(entries), failures(entries))


def run():
    if BARE:
        return
    with Place() as place:
        for identity in identities():
            rules(Trial(place, identity, "argv"))
