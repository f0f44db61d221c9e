"""POSIX message queues, with seccomp."""

import os

import harness
import queues
from native import BARE


def run():
    if BARE or os.getuid():
        harness.skip("queues", "they need authz" if BARE else "they need root")
        return
    queues.run(backend="seccomp")
    queues.run("nobody", backend="seccomp", user="nobody")
