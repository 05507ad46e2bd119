"""Requests a second, latency, CPU a request, memory and start, beside `mlflow models serve` and MLServer."""

import statistics
from pathlib import Path

from benchmarks.report import Report
from benchmarks.serve.servers import load, register, serving

WAYS = ("mlflow", "mlserver", "mlops_nb", "mlops_nb_no_log")
CASES = ((1, 1), (1, 16), (100, 1), (100, 16))  # rows, connections


def run(report: Report, folder: Path, seconds: float) -> None:
    "All take turns, one after the other, as often as there are rounds."
    register(folder)
    told: dict[tuple, dict[str, list[dict]]] = {case: {way: [] for way in WAYS} for case in CASES}
    starts: dict[str, list[dict]] = {way: [] for way in WAYS}
    for _ in range(report.rounds):
        for way in WAYS:
            with serving(way, folder) as server:
                for rows, connections in CASES:
                    load(server.port, rows, connections, 1, folder)
                    cpu = server.cpu()
                    found = load(server.port, rows, connections, seconds, folder)
                    found["cpu"] = (server.cpu() - cpu) / found["requests"]
                    assert not found["errors"], (way, found)
                    told[rows, connections][way].append(found)
                starts[way].append({"seconds": server.seconds, "memory": server.worker_memory()})
            print(f"{way}: {starts[way][-1]}", flush=True)
    for case, ways in told.items():
        _tell(report, case, {way: _middle(found) for way, found in ways.items()})
    begun = {way: _middle(found) for way, found in starts.items()}
    rows = [{"way": w, "first_answer_s": one["seconds"], "worker_mib": one["memory"]} for w, one in begun.items()]
    report.table("start_and_memory", rows)
    report.ratio("start", begun["mlflow"]["seconds"] / begun["mlops_nb"]["seconds"], 2)
    report.ratio("memory", begun["mlflow"]["memory"] / begun["mlops_nb"]["memory"], 1)


def _middle(found: list[dict]) -> dict:
    return {k: statistics.median(each[k] for each in found) for k in found[0]}


def _tell(report: Report, case: tuple[int, int], middle: dict[str, dict]) -> None:
    rows, connections = case
    name = f"{rows}_rows_{connections}_connections"
    table = [
        {"way": way, "per_second": one["per_second"], "median_ms": 1000 * one["median"], "p99_ms": 1000 * one["p99"],
         "cpu_us": 1e6 * one["cpu"]} for way, one in middle.items()
    ]  # fmt: skip
    report.table(name, table)
    ours, theirs, bare = middle["mlops_nb"], middle["mlflow"], middle["mlops_nb_no_log"]
    report.ratio(f"{name}_with_log", ours["per_second"] / theirs["per_second"], 10)
    report.ratio(f"{name}_no_log", bare["per_second"] / theirs["per_second"], 20 if rows == 1 else 10)
    if rows == 1:
        report.ratio(f"{name}_p99", theirs["p99"] / bare["p99"], 4)
