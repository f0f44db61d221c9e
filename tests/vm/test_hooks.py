"""The hooks of agents, with LSM programs."""

import hooks


def run():
    hooks.run()
