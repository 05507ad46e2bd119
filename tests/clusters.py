"""Dask clusters for tests: a scheduler and workers, each a process with a folder of its own, which can be killed."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCAL = ["--host", "127.0.0.1"]
BLIND = """
import os, sys

def hide(event, arguments):
    if event == "open" and str(arguments[0]).startswith(os.environ["HIDDEN"]):
        raise FileNotFoundError(arguments[0])

sys.addaudithook(hide)
"""


class Cluster:
    "A scheduler and its workers, on ports that the system chooses; none can open what is below `hidden`."

    def __init__(self, folder: Path, **settings: str):
        self.folder, self.workers, self.hidden = folder, {}, folder / "hidden"
        (folder / "blind").mkdir(parents=True)
        (folder / "blind" / "sitecustomize.py").write_text(BLIND)
        self.settings = settings | {"PYTHONPATH": str(folder / "blind"), "HIDDEN": str(self.hidden)}
        self.scheduler = self._start("scheduler", [*LOCAL, "--port", "0", "--dashboard-address", "127.0.0.1:0"])
        self.address = self._wait("scheduler", r"Scheduler at:\s+(tcp://\S+)")

    def _start(self, name: str, words: list[str]) -> subprocess.Popen:
        place = self.folder / name
        place.mkdir(parents=True)
        kind = "scheduler" if name == "scheduler" else "worker"
        with (place / "log").open("w") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{kind}", *words],
                cwd=place, stdout=log, stderr=log, start_new_session=True, env=os.environ | self.settings,
            )  # fmt: skip

    def _wait(self, name: str, wanted: str) -> str:
        "Wait until a process has written a line; give what the pattern marks."
        log, deadline = self.folder / name / "log", time.monotonic() + 60
        while time.monotonic() < deadline:
            if found := re.search(wanted, log.read_text()):
                return found[1] if found.re.groups else found[0]
            time.sleep(0.05)
        raise TimeoutError(log.read_text())

    def add(self, name: str, *words: str) -> None:
        "Start a worker, without waiting for it."
        folder = ["--local-directory", str(self.folder / name / "own")]
        plain = ["--no-nanny", "--nthreads", "1", "--no-dashboard", *folder, *LOCAL]
        self.workers[name] = self._start(name, [self.address, *plain, *words])

    def wait(self) -> None:
        "Wait until all workers are registered."
        for name in self.workers:
            self._wait(name, "Registered to")

    def kill(self, name: str) -> None:
        "Kill a worker, or the scheduler, and all its processes that are in its group."
        process = self.scheduler if name == "scheduler" else self.workers.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        "End it all."
        for name in [*self.workers, *(["scheduler"] if self.scheduler.poll() is None else [])]:
            self.kill(name)


@contextmanager
def cluster(folder: Path, workers: dict[str, list[str]], **settings: str) -> Iterator[Cluster]:
    "A cluster with these workers, by name, each with more words for its command line."
    made = Cluster(folder, **settings)
    try:
        for name, words in workers.items():
            made.add(name, *words)
        made.wait()
        yield made
    finally:
        made.close()
