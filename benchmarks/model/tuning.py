"""64 trials on two cores, against the same Optuna study in one process."""

import statistics
import time
import warnings
from pathlib import Path

from benchmarks.model.tables import mixed
from benchmarks.report import Report

ROWS = 8_000
NUMBERS = {
    "learning_rate": (0.02, 0.3),
    "min_child_weight": (0.5, 20.0),
    "reg_lambda": (0.01, 20.0),
}  # log; cost nothing


def _data():
    df = mixed(ROWS)
    return df.drop(columns="y"), df["y"]


def ours(folder: Path, trials: int, workers: int) -> float:
    "Seconds of `tune`."
    from mlops_nb.model.spaces import Between
    from mlops_nb.model.tune import tune

    X, y = _data()
    space = {name: Between(*ends, log=True) for name, ends in NUMBERS.items()}
    begun = time.perf_counter()
    found = tune("xgboost", X, y, space=space, trials=trials, workers=workers, pruner=None, study=folder / "ours",
                 progress=False)  # fmt: skip
    seconds = time.perf_counter() - begun
    assert (found.trials["state"] == "complete").all()
    return seconds


def by_hand(folder: Path, trials: int) -> float:
    "Seconds of Optuna's own loop over scikit-learn's cross_val_score."
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from sklearn.base import clone
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    from mlops_nb.model.candidates import pick

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    X, y = _data()
    learner = pick("xgboost", X, y)[0].estimator.named_steps["learn"]
    folds = StratifiedKFold(5, shuffle=True, random_state=0)

    def objective(trial):
        chosen = {name: trial.suggest_float(name, *ends, log=True) for name, ends in NUMBERS.items()}
        return cross_val_score(clone(learner).set_params(**chosen), X, y, cv=folds, scoring="roc_auc").mean()

    begun = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls this option experimental
        sampler = optuna.samplers.TPESampler(seed=0, multivariate=True)
        storage = JournalStorage(JournalFileBackend(str(folder / "hand")))
        optuna.create_study(storage=storage, direction="maximize", sampler=sampler).optimize(objective, n_trials=trials)
    return time.perf_counter() - begun


def run(report: Report, folder: Path, trials: int) -> None:
    "The three ways take turns; medians."
    ways = {"optuna_one_process": by_hand, "mlops_nb_1_worker": lambda f, n: ours(f, n, 1),
            "mlops_nb_2_workers": lambda f, n: ours(f, n, 2)}  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for i in range(report.rounds):
        for name, way in ways.items():
            place = folder / f"{name}{i}"
            place.mkdir()
            seconds[name].append(way(place, trials))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    report.table(
        f"tune_{trials}_trials", [{"way": n, "seconds": v, "trials a second": trials / v} for n, v in medians.items()]
    )
    report.ratio("tune_two_cores", medians["optuna_one_process"] / medians["mlops_nb_2_workers"], 1.7)
