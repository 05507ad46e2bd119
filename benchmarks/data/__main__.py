"""What it costs to take data in and to check it, beside those who do the same otherwise.

    python -m benchmarks.data [--only CASE]... [--rounds N] [--gigabytes N] [--save]

`ingest` reads 2 million rows of 20 columns from CSV, checks every rule, and keeps the table: as a version with a
digest here, by pandas.read_csv, pandera and to_parquet there. `validate` checks a million rows in memory, some of them
wrong. `large` takes in a CSV of the given size (default 1 GB; the bar is stated for 5) and tells the memory it took.
Each run is a process of its own; ways take turns; medians of all rounds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import peers
from benchmarks.data import tables
from benchmarks.data.ways import INGEST, VALIDATE
from benchmarks.report import Report

PEERS = ("pandera>=0.35,<0.36", "great-expectations>=1.24,<2")


def ask(python: Path, kind: str, way: str, path: Path) -> dict:
    "Run a way once."
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {"PYTHONPATH": str(peers.ROOT)}
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        (Path(folder) / "settings.ini").touch()
        command = [python, "-m", "benchmarks.data.ways", kind, way, path, folder]
        done = subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def compare(report: Report, case: str, kind: str, ways: list[str], path: Path, python: Path) -> dict[str, dict]:
    "Let the ways take turns."
    runs: dict[str, list[dict]] = {way: [] for way in ways}
    for _ in range(report.rounds):
        for way in ways:
            runs[way].append(ask(python, kind, way, path))
    medians = {way: {k: statistics.median(run[k] for run in done) for k in done[0]} for way, done in runs.items()}
    report.table(case, [{"way": way, **values} for way, values in medians.items()])
    return medians


def ingest(report: Report, folder: Path, python: Path, options) -> None:
    path = tables.write(folder / "table.csv", 2_000_000)
    found = compare(report, "ingest", "ingest", list(INGEST), path, python)
    ours, theirs = found["mlops_nb"], found["pandas_pandera_parquet"]
    assert ours["found"] == theirs["found"] == 2_000_000, found
    report.ratio("ingest_time", theirs["seconds"] / ours["seconds"], 2.5)
    report.ratio("ingest_memory", theirs["mib"] / ours["mib"], 1 / 0.6)


def validate(report: Report, folder: Path, python: Path, options) -> None:
    path = folder / "spoilt.parquet"
    tables.spoil(tables.frame(1_000_000)).to_parquet(path)
    found = compare(report, "validate", "validate", list(VALIDATE), path, python)
    assert len({way["found"] for way in found.values()}) == 1, found
    ours = found["mlops_nb"]["seconds"]
    report.ratio("validate_pandera", found["pandera"]["seconds"] / ours, 2)
    report.ratio("validate_great_expectations", found["great_expectations"]["seconds"] / ours, 5)


def large(report: Report, folder: Path, python: Path, options) -> None:
    path = folder / "large.csv"
    rows = int(options.gigabytes * 1e9 / (tables.write(path, 100_000).stat().st_size / 100_000))
    tables.write(path, rows)
    found = ask(python, "ingest", "mlops_nb", path)
    report.table("large", [{"gigabytes": path.stat().st_size / 1e9, **found}])
    assert found["found"] == rows
    report.ratio("large_memory", 2048 / found["mib"], 1)


CASES = {"ingest": ingest, "validate": validate, "large": large}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data", description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=CASES, metavar="CASE", help=f"one of {', '.join(CASES)}")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way runs (default 3)")
    parser.add_argument("--gigabytes", type=float, default=1.0, help="the size of the large file (default 1)")
    parser.add_argument("--save", action="store_true", help="keep the results for the site")
    options = parser.parse_args()
    report, python = Report("data", options.rounds), peers.python("data", *PEERS)
    for name in options.only or CASES:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
            CASES[name](report, Path(place), python, options)
        if options.save:
            report.save()
    return 0


if __name__ == "__main__":
    sys.exit(main())
