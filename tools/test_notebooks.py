"""`nbdev_test` with a time limit on every cell, which nbdev 2.4 cannot set: a cell that hangs fails instead.

Takes nbdev_test's own options. NB_CELL_TIMEOUT [s] is the limit, 120 by default.
"""

import os
from functools import partial

import nbdev.test
from execnb.shell import CaptureShell
from fastcore.script import call_parse

nbdev.test.CaptureShell = partial(CaptureShell, timeout=int(os.environ.get("NB_CELL_TIMEOUT", "120")))

if __name__ == "__main__":
    call_parse(nbdev.test.nbdev_test.__wrapped__)
