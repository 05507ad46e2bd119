"""Twenty swaps under full load, and one to a model that is broken."""

import json
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from benchmarks.report import Report
from benchmarks.serve.servers import NAME, load, register, serving

SWAPS = 20


def run(report: Report, folder: Path, seconds: float) -> None:
    "wrk asks in windows of a second; one in which a deployment changed is held against those in which none did."
    from mlops_nb.model.registry import connect
    from mlops_nb.serve.keeper import read_events

    register(folder, versions=3)
    connect(folder)
    home, windows, enough = folder / ".mlops_nb" / "serve" / NAME, [], threading.Event()
    with serving("mlops_nb", folder) as server:

        def ask() -> None:
            while not enough.is_set():
                begun = time.time()
                windows.append({"begun": begun, **load(server.port, 1, 16, 1, folder), "ended": time.time()})

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            time.sleep(10)
            for swap in range(SWAPS):
                if swap == SWAPS // 2:
                    promote_broken(home, 1)
                promote_and_wait(home, 2 + swap % 2)
                time.sleep(1)
        finally:
            enough.set()
            asking.join()
    deployed = [event["at"] for event in read_events(home) if event["what"] == "deployed"]
    changed = [datetime.fromisoformat(at).timestamp() for at in deployed]
    during = [w for w in windows if any(w["begun"] <= at < w["ended"] for at in changed)]
    steady = [w for w in windows if w not in during]
    row = {
        "swaps": len(changed) - 1,
        "requests": sum(w["requests"] for w in windows),
        "failed": sum(w["errors"] for w in windows),
        "steady_p99_ms": 1000 * statistics.median(w["p99"] for w in steady),
        "swap_p99_ms": 1000 * statistics.median(w["p99"] for w in during),
        "worst_swap_p99_ms": 1000 * max(w["p99"] for w in during),
        "worst_steady_p99_ms": 1000 * max(w["p99"] for w in steady),
    }
    report.table("swaps", [row])
    report.ratio("swaps_without_failure", float(row["failed"] == 0 and row["swaps"] >= SWAPS), 1)
    report.ratio("swaps_p99", row["steady_p99_ms"] / row["worst_swap_p99_ms"], 1 / 3)


def promote_and_wait(home: Path, version: int) -> None:
    "Promote a version, and wait until it answers."
    from mlops_nb.model.registry import promote
    from mlops_nb.serve.deployment import Board, read_deployment

    promote(NAME, version, force=True, reason="a benchmark")
    board = Board(home)
    wait(lambda: read_deployment(home, board.active).champion == version, home)


def promote_broken(home: Path, version: int) -> None:
    "Promote a version whose files are spoiled before the endpoint fetches them, and wait until it is refused."
    import mlflow.artifacts

    from mlops_nb.model.registry import find_version, promote
    from mlops_nb.serve.copies import Copies
    from mlops_nb.serve.keeper import read_status

    file = Path(mlflow.artifacts.download_artifacts(find_version(f"{NAME}/{version}").uri)) / "model.skops"
    whole, keeper = file.read_bytes(), read_status(home)["pid"]
    Copies(home / "models").keep(set())  # it was here before
    os.kill(keeper, signal.SIGSTOP)
    try:
        promote(NAME, version, force=True, reason="a benchmark")
        file.write_bytes(whole[: len(whole) // 2])
    finally:
        os.kill(keeper, signal.SIGCONT)
    wait(lambda: str(version) in read_status(home)["refused"], home)
    file.write_bytes(whole)


def wait(holds: Callable[[], bool], home: Path) -> None:
    "Until something is so."
    from mlops_nb.serve.keeper import read_status

    deadline = time.monotonic() + 120
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"it did not come:\n{json.dumps(read_status(home), indent=1)}")
        time.sleep(0.05)
