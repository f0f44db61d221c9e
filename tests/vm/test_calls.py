"""Tool calls and the system calls under them, with LSM programs; a gate outside the session is in test_domains.py."""

import calls


def run():
    calls.run()
    calls.run(user="nobody")
