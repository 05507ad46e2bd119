"Writes answers until it is killed, and says which of them the log has promised to keep."

import os
import sys
import time
from types import SimpleNamespace

from mlops_nb.serve.predictions import Logged, PredictionLog


def main(folder: str, durability: str, rotate: str) -> None:
    table = SimpleNamespace(signature=SimpleNamespace(names=["age", "famhist"]), values=[[52, "Present"]])
    log = PredictionLog(folder, durability, rotate_seconds=float(rotate))
    number = 0
    while True:
        name = f"{os.getpid()}-{number}"
        log.write_now([Logged(name, time.time(), "heart", 1, "champion", 0.8, "web", table, [0.25])])
        os.write(1, f"{name}\n".encode())
        number += 1
        if durability == "disk" or number % 20 == 0:
            time.sleep(0.001)


if __name__ == "__main__":
    main(*sys.argv[1:])
