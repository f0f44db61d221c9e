"""Evaluates a table of cases with regopy, an independent implementation of Rego, and compares.

usage: rego_cross_check.py TABLE.json

The table is an array of policies: {"name", "files": {path: text}, "cases": [{"input", "decision"}]}. The
files are those of a bundle; data.json among them is the data. Prints one line for each case that differs
and exits with 1 if there is one, with 3 if regopy is not installed.
"""

import ipaddress
import json
import re
import sys

try:
    from regopy import Interpreter
except ImportError:
    print("regopy is not installed; run: cargo xtask setup", file=sys.stderr)
    sys.exit(3)

# regopy has no net.cidr_contains: the answers come from Python's own ipaddress module.
SHIM = """package authz

cidr_contains(block, ip) := data.cross_check.blocks[block][ip]
"""


def blocks(files, cases):
    """Which of the addresses in the cases each block in the policy or the cases contains."""
    text = "\n".join(files.values()) + json.dumps([case["input"] for case in cases])
    networks = {}
    for block in set(re.findall(r'"([0-9a-fA-F.:]+/[0-9]+)\\?"', text)):
        try:
            networks[block] = ipaddress.ip_network(block, strict=False)
        except ValueError:
            continue
    ips = {case["input"]["resource"]["properties"].get("ip") for case in cases} - {None}
    addresses = {ip: ipaddress.ip_address(ip) for ip in ips}
    return {
        block: {ip: address.version == network.version and address in network for ip, address in addresses.items()}
        for block, network in networks.items()
    }


def interpreter(files, cases):
    rego = Interpreter()
    for path, text in sorted(files.items()):
        if path.endswith(".rego"):
            rego.add_module(path, text.replace("net.cidr_contains(", "cidr_contains("))
    rego.add_module("cross_check.rego", SHIM)
    data = json.loads(files["data.json"])
    data["cross_check"] = {"blocks": blocks(files, cases)}
    rego.add_data(data)
    return rego


def comparable(decision):
    """The rules in one order: they are a set, and implementations order sets of objects differently."""
    if isinstance(decision, dict) and isinstance(decision.get("rules"), list):
        decision = {**decision, "rules": sorted(decision["rules"], key=json.dumps)}
    return decision


def decide(rego):
    try:
        output = rego.query("data.authz.decision")
    except json.JSONDecodeError:
        return "regopy reports an error instead of a value"
    return output[0][0] if output.ok() and len(output) and output[0].expressions else str(output)


def main():
    with open(sys.argv[1], encoding="utf-8") as table:
        policies = json.load(table)
    compared = different = 0
    for policy in policies:
        rego = interpreter(policy["files"], policy["cases"])
        for case in policy["cases"]:
            rego.set_input(case["input"])
            decision = decide(rego)
            compared += 1
            if comparable(decision) != comparable(case["decision"]):
                different += 1
                print(f"{policy['name']}: {json.dumps(case['input'])}")
                print(f"  authz  {json.dumps(case['decision'], sort_keys=True)}")
                print(f"  regopy {json.dumps(decision, sort_keys=True)}")
    print(f"{compared} cases compared, {different} differ")
    sys.exit(1 if different else 0)


main()
