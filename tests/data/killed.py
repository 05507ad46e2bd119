"""Takes what is new, and is killed at every line on the way: `killed.py files|rows FOLDER`.

For each line of what moves the position, of what writes files whole, and of the keeper below,
a process is killed as it gets there, and others finish the work. Prints the number of places, and what was wrong.
"""

import os
import signal
import sqlite3
import sys
import time
from collections import Counter
from pathlib import Path

import pandas  # noqa: F401  imported once, before the forks
import pyarrow.csv  # noqa: F401
import sqlalchemy.dialects.sqlite  # noqa: F401

from mlops_nb import config
from mlops_nb.data import arrivals
from mlops_nb.data.arrivals import read_new
from mlops_nb.data.databases import SqlSource
from mlops_nb.data.files import FileSource

os.fsync = lambda file: None  # a process that is killed leaves the disk alone, and this makes it quicker
WATCHED = {arrivals.__file__, config.__file__, __file__}
STEPS = {"read_new", "save", "_plan_files", "_plan_rows", "whole_file", "write_whole", "keep"}  # what changes anything


def keep(batch, folder: Path) -> None:
    "Keep a batch once, as whoever keeps it has to: one that is there already is not kept again."
    kept = folder / "kept" / batch.id
    if kept.exists():
        return
    kept.parent.mkdir(exist_ok=True)
    config.write_whole(kept, " ".join(map(str, batch.read()["patient"])))


def work(mode: str, folder: Path) -> None:
    "Take everything there is; between the first batch and the second, more comes."
    source = (
        FileSource(f"{folder}/inbox/*.csv")
        if mode == "files"
        else SqlSource(f"sqlite:///{folder}/visits.db", table="visits")
    )
    for _ in range(6):
        with read_new(source, folder / "state", watermark=None if mode == "files" else "at") as batch:
            if batch is None:
                break
            keep(batch, folder)
        more(mode, folder)


def prepare(mode: str, folder: Path) -> None:
    (folder / "inbox").mkdir(parents=True)
    if mode == "files":
        arrive(folder, "a.csv", [1, 2])
    else:
        database = sqlite3.connect(folder / "visits.db")
        database.executescript("CREATE TABLE visits (patient, at); INSERT INTO visits VALUES (1, 10), (2, 11)")
        database.close()


def more(mode: str, folder: Path) -> None:
    "What comes later, once; in the table a row is late at the watermark."
    if mode == "files" and not (folder / "inbox" / "b.csv").exists():
        arrive(folder, "b.csv", [3, 4])
    elif mode == "rows":
        database = sqlite3.connect(folder / "visits.db")
        if database.execute("SELECT count(*) FROM visits").fetchone() == (2,):
            database.executescript("INSERT INTO visits VALUES (3, 11), (4, 12)")
        database.close()


def arrive(folder: Path, name: str, patients: list[int]) -> None:
    path = folder / f".{name}"
    path.write_text("patient\n" + "\n".join(map(str, patients)) + "\n")
    os.utime(path, (time.time() - 60,) * 2)
    path.rename(folder / "inbox" / name)


def die_at(count: int):
    "A trace that kills this process at the given line of what is watched; of loops, the first two rounds count."
    seen, times = 0, Counter()

    def trace(frame, event, argument):
        nonlocal seen
        if frame.f_code.co_filename not in WATCHED or frame.f_code.co_name not in STEPS:
            return None
        place = (frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and times[place] < 2:
            times[place] += 1
            seen += 1
            if seen == count:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace


def child(mode: str, folder: Path, count: int | None) -> int:
    "Work in a process of its own; its exit code, negative when it was killed."
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 1
    try:
        if count:
            sys.settrace(die_at(count))
        work(mode, folder)
        code = 0
    finally:
        sys.stdout.flush()
        os._exit(code)


def main() -> None:
    mode, home = sys.argv[1], Path(sys.argv[2])
    for count in range(1, 2000):
        folder = home / f"{count}"
        prepare(mode, folder)
        killed = child(mode, folder, count) == -signal.SIGKILL
        more(mode, folder)
        if child(mode, folder, None) != 0:
            print(f"line {count}: the next attempt failed")
        found = sorted(int(p) for path in (folder / "kept").glob("[!.]*") for p in path.read_text().split())
        if found != [1, 2, 3, 4]:
            print(f"line {count}: kept {found}")
        if not killed:
            print(f"{count - 1} places")
            return


main()
