"""pytests.py MODULE...: runs Python's own test modules and prints the outcome of each test as JSON."""

import importlib
import json
import os
import sys
import tempfile
import unittest
from test import support


class Outcomes(unittest.TestResult):
    """By the test's name: what became of it."""

    def __init__(self):
        super().__init__()
        self.outcome, self.detail = {}, {}

    def note(self, test, what, detail=""):
        if self.outcome.get(test.id(), "ok") == "ok":
            self.outcome[test.id()] = what
            self.detail[test.id()] = str(detail)[-600:]

    def addSuccess(self, test):
        self.note(test, "ok")

    def addError(self, test, error):
        self.note(test, "error", self._exc_info_to_string(error, test))

    def addFailure(self, test, error):
        self.note(test, "failure", self._exc_info_to_string(error, test))

    def addSubTest(self, test, subtest, error):
        if error:
            self.note(test, "failure", self._exc_info_to_string(error, test))

    def addSkip(self, test, reason):
        self.note(test, "skipped", reason)

    def addExpectedFailure(self, test, error):
        self.note(test, "expected failure")

    def addUnexpectedSuccess(self, test):
        self.note(test, "unexpected success")


def main():
    support.use_resources = []
    os.chdir(tempfile.mkdtemp())
    outcomes = Outcomes()
    printed = os.dup(1)
    os.dup2(2, 1)
    for name in sys.argv[1:]:
        unittest.defaultTestLoader.loadTestsFromModule(importlib.import_module(name)).run(outcomes)
    with os.fdopen(printed, "w") as out:
        json.dump({"outcome": outcomes.outcome, "detail": outcomes.detail}, out)


main()
