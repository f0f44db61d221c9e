"""Constraints, with LSM programs."""

import limits


def run():
    limits.run()
