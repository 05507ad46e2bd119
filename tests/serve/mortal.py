"A process that is killed before a certain one of its calls that change what is on the disk."

import os
import signal

from mlops_nb.serve import compaction


def die_at(call: int, folder: str) -> None:
    "Compact a log, and be killed before the call of that number."
    left = [call]

    def mortal(real):
        def step(*arguments, **named):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)

        return step

    for name in ("replace", "unlink", "fsync", "mkdir"):
        setattr(os, name, mortal(getattr(os, name)))
    compaction.MANY = 2
    compaction.compact(folder)
