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
    hide an overhead of a hundredth: so what is done beside `fit` is taken from the same call. By hand that is to divide
    the table into columns and target; the overhead is what `train` does beyond it."""
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
        fits, beside = {"bare": [], "train": []}, {"bare": [], "train": []}
        with threadpool_limits(1), watched(type(learner)) as spent:
            for _ in range(max(report.rounds, 5) + 1):
                for way, work in {"bare": lambda one=learner: clone(one).fit(df.drop(columns="y"), df["y"]),
                                  "train": lambda one=learner: train(df, "y", one, folds=0)}.items():  # fmt: skip
                    spent.clear()
                    begun = time.process_time()
                    work()
                    beside[way].append(time.process_time() - begun - sum(spent))
                    fits[way].append(sum(spent))
        more = {way: statistics.median(told[1:]) for way, told in beside.items()}  # the first one warms up
        fit = {way: min(told[1:]) for way, told in fits.items()}
        overhead = 100 * (more["train"] - more["bare"]) / fit["bare"]
        rows.append({"learner": name, "bare_fit": fit["bare"], "beside_bare": more["bare"],
                     "fit_in_train": fit["train"], "beside_train": more["train"], "overhead %": overhead})  # fmt: skip
    report.table("overhead_100k_x_20", rows)
    for row in rows:
        report.ratio(f"overhead_{row['learner']}", 1 / (1 + row["overhead %"] / 100), 1 / 1.03)
