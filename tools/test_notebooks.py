"""`nbdev_test` with two things that nbdev 2.4 lacks: a time limit on every cell, and an environment that stays clean.

A cell that hangs fails instead. What a notebook does to the environment variables of the process that it shares with
others is undone when it ends.

Takes nbdev_test's own options. NB_CELL_TIMEOUT [s] is the limit, 120 by default.
"""

import os
from functools import partial, wraps

import nbdev.test
from execnb.shell import CaptureShell
from fastcore.script import call_parse

nbdev.test.CaptureShell = partial(CaptureShell, timeout=int(os.environ.get("NB_CELL_TIMEOUT", "120")))
test_one = nbdev.test.test_nb


@wraps(test_one)
def test_alone(*arguments, **options):
    "Test a notebook, and forget what it has set."
    before = dict(os.environ)
    try:
        return test_one(*arguments, **options)
    finally:
        os.environ.clear()
        os.environ.update(before)


nbdev.test.test_nb = test_alone  # the processes that test find it by its name

if __name__ == "__main__":
    call_parse(nbdev.test.nbdev_test.__wrapped__)
