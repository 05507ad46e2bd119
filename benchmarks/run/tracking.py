"""What it costs a step to be tracked, in a database and on a server."""

import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from benchmarks.report import Report
from benchmarks.run.notebooks import STEPS, chained_cells, write
from benchmarks.run.ways import Way, measure

LIMITS = {"mlops_nb_pipeline": ("sqlite", 60.0), "mlops_nb_http": ("http", 100.0)}  # [ms] a step


@contextmanager
def server(folder: Path):
    "An MLflow tracking server on this machine; yields its address."
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    places = ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", folder / "artifacts"]
    with open(folder / "server.log", "w") as log:
        process = subprocess.Popen([*program, *places], cwd=folder, stdout=log, stderr=log)
    try:
        address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 90
        while True:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def run(report: Report, folder: Path) -> None:
    "The same chain of steps, tracked and not; the runs wait until MLflow has all that was logged."
    with server(folder) as address:
        ways = []
        for name, environment in (("mlops_nb_untracked", {}), ("mlops_nb_pipeline", {}),
                                  ("mlops_nb_http", {"MLFLOW_TRACKING_URI": address})):  # fmt: skip
            place = folder / name
            place.mkdir()
            (place / "settings.ini").touch()
            chain = [write(place / "chain" / f"{i}_part_{i}.ipynb", chained_cells(i)) for i in range(STEPS)]
            ways.append((Way(name, place, **environment), chain[:1]))
        seconds = measure(dict(ways), max(report.rounds, 3), 2)
        for way, _ in ways:
            way.close()
    plain = seconds["mlops_nb_untracked"]
    cost = {name: 1000 * (value - plain) / STEPS for name, value in seconds.items()}
    report.table("tracking", [{"way": n, "seconds": v, "ms a step": cost[n]} for n, v in seconds.items()])
    for name, (store, limit) in LIMITS.items():
        report.ratio(f"tracking_{store}_under_{limit:.0f}ms", limit / max(cost[name], 1e-3), 1)
