"""POSIX message queues, with LSM programs."""

import queues


def run():
    queues.run()
    queues.run("nobody", user="nobody")
