"""A training notebook with 32 combinations of parameters, on two cores."""

import itertools
from pathlib import Path

from benchmarks.report import Report
from benchmarks.run.notebooks import TRAIN, TRAIN_PARAMETERS, write
from benchmarks.run.single import compare
from benchmarks.run.ways import Way, measure

SPACE = {"depth": [2, 3, 4, 5], "rate": [0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3]}
BARS = {"papermill_api": 9, "papermill_pool": 5, "limit": 1 / 1.25}


def run(report: Report, folder: Path) -> None:
    "One round: papermill takes minutes."
    notebook = write(folder / "tuned" / "01_tuned.ipynb", TRAIN, TRAIN_PARAMETERS)
    ways = [Way(name, folder) for name in ("papermill_api", "papermill_pool", "limit", "mlops_nb_sweep")]
    few = [{"depth": 2, "rate": rate} for rate in (0.5, 0.6)]
    for way in ways:  # whatever is done once
        way.ask([notebook], combinations=few)
    combinations = [dict(zip(SPACE, values, strict=True)) for values in itertools.product(*SPACE.values())]
    compare(report, "combinations", measure({way: [notebook] for way in ways}, 1, 0, combinations=combinations), BARS)
    for way in ways:
        way.close()
