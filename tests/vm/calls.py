"""Tool calls of a session and the system calls under them; the same for both back ends."""

import json
import pathlib
import shutil

import control
import harness
from harness import check

AGENT = pathlib.Path(__file__).with_name("calls_agent.py")
POLICY = """
allow contains {"id": "rest", "reason": "r"} if true

deny contains {"id": "no-prod", "reason": "Not there.", "advice": "Go elsewhere."} if {
	writes
	under(input.resource.id, "%s/prod")
}
"""


def run(**flags):
    top = control.folder("prod")
    (top / "link").symlink_to(top / "prod")
    (top / "calls_agent.py").write_bytes(AGENT.read_bytes())
    python = shutil.which("python3", path="/usr/bin:/bin")
    done = harness.authz_exec(POLICY % top, [python, str(top / "calls_agent.py"), str(top)], **flags)
    told = {line["name"]: line["value"] for line in map(json.loads, done.stdout.splitlines())}
    if not check("calls: the agent gets to its end", "end" in told, (done.stdout, done.stderr)):
        return
    refused(told)
    under(told, control.entries(done), top)


def refused(told):
    for name in ("denied", "through a link"):
        view = told[name]
        check(f"calls: a tool that would write is {name}", view.get("effect") == "deny"
              and [rule["id"] for rule in view["rules"]] == ["no-prod"] and view["rules"][0]["advice"], view)
    for name in ("held in vain", "again", "control", "answer"):
        check(f"calls: {name} is an error", told[name].get("is") == "error", told[name])
    check("calls: a session does not reach the control socket",
          told["other door"] == 13 or told["other door"].get("is") == "error", told["other door"])


def under(told, entries, top):
    opened = {name: told[name] for name in ("allowed", "also")}
    check("calls: other tools are allowed", all(view["effect"] == "allow" for view in opened.values()), opened)
    spans = [opened[name]["span_id"] for name in ("allowed", "also")]
    names = ("none", "hidden", "still", "both", "itself", "over", "after")
    check("calls: the system calls are denied", [told[name] for name in names] == [13] * 7, told)
    wanted = {"none": ("none", []), "hidden": ("exact", spans[:1]), "still": ("exact", spans[:1]), "both": ("ambiguous", spans),
              "itself": ("ambiguous", spans), "over": ("ambiguous", spans), "after": ("exact", spans[:1])}
    for name, (attribution, among) in wanted.items():
        found = [entry for entry in entries if entry.get("resource", {}).get("id") == f"{top}/prod/{name}"
                 and entry["kind"] == "decision" and entry["result"]["effect"] == "deny"]
        detail = found and (found[0].get("detail") or {})
        candidates = found and (detail.get("candidates") or [found[0]["span_id"]] * bool(among))
        check(f"calls: {name} is attributed", found and found[0]["attribution"] == attribution
              and (not among or candidates == among) and found[0]["result"]["rules"][0]["id"] == "no-prod", (found, among))
        if name == "after":
            check("calls: and after the end", detail.get("after_end") is True, detail)
    denied = {name: [denial["resource"].rpartition("/")[2] for denial in told[name]["denials"]]
              for name in ("closed", "closed too")}
    check("calls: the denials are told with the end", denied == {
        "closed": ["hidden", "still", "both", "itself"], "closed too": ["both", "itself", "over"]}, told["closed"])
    first = told["closed"]["denials"][0]
    check("calls: with rule, reason and advice", (first["rule"], first["reason"], first["advice"])
          == ("no-prod", "Not there.", "Go elsewhere."), first)
    calls = [entry for entry in entries if entry.get("action") == "tool.call"]
    implied = [entry for entry in entries if (entry.get("detail") or {}).get("implied_by")]
    check("calls: each call and what it implies is recorded", len(calls) == 4
          and [entry["detail"]["implied_by"] for entry in implied] == [entry["decision_id"] for entry in calls[:2]]
          and all(entry["resource"]["id"] == f"{top}/prod/x" for entry in implied)
          and all(entry["detail"]["source"] == "session" for entry in calls), (calls, implied))
    closed = [entry["detail"]["call"] for entry in entries if entry["kind"] == "call_closed"]
    check("calls: and its end", closed == [opened[name]["call"] for name in ("allowed", "also")], closed)
