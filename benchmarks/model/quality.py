"""What the default search finds, beside HistGradientBoosting at its defaults, on folds that it has not seen."""

import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.report import Report

LEARNERS = ("linear", "forest", "boosting", "xgboost")
FOLDS = 3  # held out one after the other
SECONDS = 60  # of each search at most, also where its trials would take longer


def tables() -> dict[str, tuple[pd.DataFrame, pd.Series]]:
    "Features and target of five data sets that come with scikit-learn."
    from sklearn import datasets

    names = ("breast_cancer", "wine", "digits", "diabetes", "iris")
    return {name: getattr(datasets, f"load_{name}")(return_X_y=True, as_frame=True) for name in names}


def run(report: Report, folder: Path, trials: int) -> None:
    "Nested: the search cuts folds of its own from what is not held out."
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    from mlops_nb.model.fitting import fit
    from mlops_nb.model.folds import check_scoring_names, gather, make_folds, score
    from mlops_nb.model.tune import tune

    table = []
    for name, (X, y) in tables().items():
        rows, begun, found = gather(X, y), time.perf_counter(), {"ours": [], "theirs": []}
        scoring = check_scoring_names(None, rows.task)
        winners, done = [], []
        for learn, judge in make_folds(rows, FOLDS, seed=1):
            known, held = rows.take(learn), rows.take(judge)
            tuned = tune(LEARNERS, known.X, known.y, trials=trials, seconds=SECONDS, task=rows.task, progress=False)
            winners.append(tuned.best.name)
            done.append(len(tuned.trials))
            made = HistGradientBoostingRegressor if rows.task == "regression" else HistGradientBoostingClassifier
            found["ours"].append(score(fit(tuned.best, known.X, known.y, task=rows.task), held, scoring))
            found["theirs"].append(score(made(random_state=0).fit(known.X, known.y), held, scoring))
        means = {who: {k: float(np.mean([f[k] for f in folds])) for k in scoring} for who, folds in found.items()}
        for k in scoring:
            table.append({"data": name, "rows": len(X), "score": k, "search": means["ours"][k],
                          "HistGradientBoosting": means["theirs"][k], "won": ", ".join(sorted(set(winners))),
                          "trials": min(done), "seconds": time.perf_counter() - begun})  # fmt: skip
        print(f"{name}: {means}", flush=True)
    report.table(f"quality_{trials}_trials", table)
    for row in table:
        if row["score"] in ("roc_auc", "neg_log_loss", "r2"):  # what was searched by
            report.ratio(f"quality_{row['data']}_better_by", row["search"] - row["HistGradientBoosting"], 0.0)
