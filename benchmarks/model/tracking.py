"""A search as a step of a pipeline, with and without a nested MLflow run for each trial."""

import statistics
import time
from pathlib import Path

from benchmarks.report import Report
from benchmarks.run.notebooks import write

CELLS = [
    "import pandas as pd\nfrom sklearn.datasets import make_classification\nfrom mlops_nb import step\n"
    "from mlops_nb.model.spaces import Between\nfrom mlops_nb.model.tune import tune\n",
    "X, y = make_classification(rows, 20, random_state=0)\n"
    "space = {'learning_rate': Between(0.02, 0.3, log=True), 'reg_lambda': Between(0.01, 20.0, log=True)}\n"
    "tell = (lambda candidate, scores: step.trial(candidate.name, candidate.params, scores)) if tracked else None\n"
    "tuned = tune('xgboost', pd.DataFrame(X), pd.Series(y), space=space, trials=trials, workers=2, pruner=None,\n"
    "             on_trial=tell)\n"
    "step.log(value=tuned.value)\n",
]
ROWS = 8_000
PARAMETERS = "tracked: bool = True  # whether\ntrials: int = 64  # how many\nrows: int = 8000  # of the table\n"


def run(report: Report, folder: Path, trials: int) -> None:
    "Both take turns; each run waits until MLflow has all of it."
    from mlops_nb.run.execute import run_pipeline
    from mlops_nb.run.pipeline import read_pipeline

    (folder / "settings.ini").touch()
    write(folder / "search" / "1_search.ipynb", CELLS, PARAMETERS)
    pipeline = read_pipeline(folder / "search")
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(report.rounds):
        for tracked, told in seconds.items():
            begun = time.perf_counter()
            run_pipeline(pipeline, {"tracked": tracked, "trials": trials, "rows": ROWS}, cache=False).raise_if_failed()
            told.append(time.perf_counter() - begun)
    off, on = (statistics.median(seconds[tracked]) for tracked in (False, True))
    report.table(f"tracking_{trials}_trials", [{"way": "off", "seconds": off}, {"way": "on", "seconds": on}])
    report.ratio("tracking_of_trials", off / on, 1 / 1.05)
