"""What the agent of test_folders.py does, a line each: a word, a path, and what else it takes. Prints 0, or the error's number."""

import os
import sys

held = {}
FLAGS = {"r": os.O_RDONLY, "w": os.O_WRONLY}


def opened(path, flags, **at):
    os.close(os.open(path, flags, **at))


def chrooted(root, path, verb):
    """In a child, whose root stays its own."""
    child = os.fork()
    if child == 0:
        try:
            os.chroot(root)
            opened(path, FLAGS[verb])
        except OSError as error:
            os._exit(error.errno)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise OSError(status, "in the child")


def hold(name, path):
    held[name] = os.open(path, os.O_RDONLY | os.O_DIRECTORY)


WORDS = {
    "w": lambda path: opened(path, os.O_WRONLY),
    "r": lambda path: opened(path, os.O_RDONLY),
    "c": lambda path: opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL),
    "all": lambda folder: [opened(entry.path, os.O_RDONLY) for entry in os.scandir(folder)],
    "mv": os.rename,
    "hold": hold,
    "at": lambda name, path, verb: opened(path, FLAGS[verb], dir_fd=held[name]),
    "drop": lambda name: os.close(held.pop(name)),
    "chroot": chrooted,
}

for line in sys.stdin:
    word, *rest = line.split()
    try:
        WORDS[word](*rest)
    except OSError as error:
        print(error.errno, flush=True)
    else:
        print(0, flush=True)
