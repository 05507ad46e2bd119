"""Read by every process of a run: the one that DOOM names is killed as it puts a file in its place."""

import os
import signal
import sys
from fnmatch import fnmatch
from pathlib import Path

WHO = {
    "runner": ("quick", "mlops-nb"),
    "worker": ("run.worker",),
    "kernel": ("ipykernel_launcher", "run.zygote"),
    "courier": ("run.delivery",),
}


def doom(when: str, number: int, pattern: str) -> None:
    "Be killed before or after the rename to the file that is the `number`th to match a pattern."
    replace, met = Path.replace, []

    def doomed(path: Path, target: Path) -> Path:
        if fnmatch(str(target), f"*/{pattern}"):
            met.append(target)
        last = len(met) == number
        if last and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        done = replace(path, target)
        if last and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    Path.replace = doomed


if "DOOM" in os.environ:
    who, when, number, pattern = os.environ["DOOM"].split()
    if any(word in " ".join(sys.orig_argv[:3]) for word in WHO[who]):
        doom(when, int(number), pattern)
