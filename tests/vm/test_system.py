"""What could undo the enforcement: mounts, namespaces, bpf, modules, other processes, the daemon itself."""

import os
import subprocess

import cases


def run():
    os.makedirs("/vol/mount", exist_ok=True)
    with open("/vol/no-module", "wb") as file:
        file.write(b"no module" * 100)
    for name in ["bare", "bound"]:
        os.makedirs(f"/vol/umount-{name}", exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "none", f"/vol/umount-{name}"], check=True)
    policy, table = cases.load("system")
    outside = subprocess.Popen(["sleep", "1000"])
    try:
        def made(name):
            places = {"outside": outside.pid, "round": name}
            return [cases.filled(case, str(number), places) for number, case in enumerate(table)]

        # Without authz there is no daemon to aim at.
        before, _ = cases.probe([case for case in made("bare") if case.get("bare") != "any"])
        after, done = cases.probe(made("bound"), session=policy)
        cases.compare("system", made("bound"), before, after, done)
    finally:
        outside.kill()
        outside.wait()
