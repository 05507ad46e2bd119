"""`train` against the bare `fit`, on 100,000 rows of 20 columns."""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from benchmarks.model.tables import mixed
from benchmarks.report import Report


@contextmanager
def watched(kind: type) -> Iterator[list[float]]:
    "What every `fit` of a class takes [CPU s]."
    bare, spent = kind.fit, []

    def fit(self, *arguments, **options):
        begun = time.process_time()
        try:
            return bare(self, *arguments, **options)
        finally:
            spent.append(time.process_time() - begun)

    with mock.patch.object(kind, "fit", fit):
        yield spent


def run(report: Report, folder: Path, trials: int) -> None:
    """In CPU seconds of one thread. `fit` varies by a tenth from one call to the next on a shared machine, which would
    hide an overhead of a hundredth: so what `train` does beside the `fit` within it is taken from the same call."""
    from sklearn.base import clone
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    from mlops_nb.model.candidates import pick
    from mlops_nb.model.train import train

    df = mixed(100_000)
    X, y = df.drop(columns="y"), df["y"]
    learners = {c.name: c.estimator.named_steps["learn"] for c in pick(["boosting", "xgboost", "forest"], X, y)}
    learners["forest"].set_params(n_estimators=10)
    learners["logistic"] = LogisticRegression(max_iter=2000)
    rows = []
    for name, learner in learners.items():
        bare, within, beside = [], [], []
        with threadpool_limits(1), watched(type(learner)) as spent:
            for _ in range(max(report.rounds, 5) + 1):
                begun = time.process_time()
                clone(learner).fit(df.drop(columns="y"), df["y"])
                bare.append(time.process_time() - begun)
                spent.clear()
                begun = time.process_time()
                train(df, "y", learner, folds=0)
                within.append(sum(spent))
                beside.append(time.process_time() - begun - within[-1])
        fit, more = min(within[1:]), statistics.median(beside[1:])  # the first one warms up
        rows.append({"learner": name, "bare": min(bare[1:]), "fit_within_train": fit, "beside_it": more,
                     "overhead %": 100 * more / fit})  # fmt: skip
    report.table("overhead_100k_x_20", rows)
    for row in rows:
        report.ratio(f"overhead_{row['learner']}", 1 / (1 + row["overhead %"] / 100), 1 / 1.03)
