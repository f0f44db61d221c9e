"""Another policy and another mode for a session that runs, with LSM programs."""

import reload


def run():
    reload.run()
