"""`train` against the bare `fit`, on 100,000 rows of 20 columns."""

import time
from pathlib import Path

from benchmarks.model.tables import mixed
from benchmarks.report import Report


def run(report: Report, folder: Path, trials: int) -> None:
    "Both take turns on the same table, in CPU seconds of one thread; the least of each."
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
        ways = {"bare": lambda one=learner: clone(one).fit(df.drop(columns="y"), df["y"]),
                "train": lambda one=learner: train(df, "y", one, folds=0)}  # fmt: skip
        seconds = {way: [] for way in ways}
        with threadpool_limits(1):
            for _ in range(max(report.rounds, 3) + 1):
                for way, work in ways.items():
                    begun = time.process_time()
                    work()
                    seconds[way].append(time.process_time() - begun)
        row = {way: min(told[1:]) for way, told in seconds.items()}  # the first one warms up
        rows.append({"learner": name, **row, "overhead %": 100 * (row["train"] / row["bare"] - 1)})
    report.table("overhead_100k_x_20", rows)
    for row in rows:
        report.ratio(f"overhead_{row['learner']}", 1 / (1 + row["overhead %"] / 100), 1 / 1.03)
