"""The hooks of agents, with seccomp; outside of a session; and how they are installed."""

import os

import hooks


def run():
    hooks.RUNNING = {"backend": "seccomp"}
    hooks.run(backend="seccomp")
    if not os.getuid():
        hooks.run(backend="seccomp", user="nobody")
    hooks.outside()
    hooks.installed()
    hooks.only_session()
