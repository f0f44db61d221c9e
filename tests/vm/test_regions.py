"""Random policies by real calls, with the LSM programs."""

import regions


def run():
    regions.run()
