"""What a search withstands: death of workers, of itself, and of the cluster; and that nothing depends on how it ran."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import psutil
import pytest

from mlops_nb.errors import ConfigError, DataError, ExecutorError, ParameterError
from mlops_nb.model.spaces import Between
from mlops_nb.model.train import Candidate
from mlops_nb.model.tune import tune

SCRIPT = """
import sys, pandas as pd
from sklearn.linear_model import LogisticRegression
from mlops_nb.model.spaces import Between
from mlops_nb.model.tune import tune

class Slow(LogisticRegression):
    def fit(self, X, y):
        import time
        time.sleep(0.05)
        return super().fit(X, y)

df = pd.read_csv(sys.argv[1])
workers, study = int(sys.argv[2]), sys.argv[3]
X, y = df.drop(columns=["chd", "famhist"]), df["chd"]
found = tune(Slow(max_iter=2000), X, y, trials=14, workers=workers, study=study, folds=3,
             space={"C": Between(1e-4, 10.0, log=True)}, on_trial=lambda one, scores: print(one.name, flush=True))
print(repr(found.value), found.best.params["C"], found.trials.drop(columns="seconds").to_csv(), found.stopped)
"""


@pytest.fixture
def script(heart, tmp_path):
    "Start the search above, which has no `__main__` guard and a class of its own."
    heart.df.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "search.py").write_text(SCRIPT)

    def start(workers, study="a.study"):
        command = [sys.executable, tmp_path / "search.py", tmp_path / "rows.csv", str(workers), tmp_path / study]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)

    return start


def ended(process, seconds=120):
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == 0, err
    return re.sub(r"^Slow \d+\n", "", out, flags=re.MULTILINE)


def test_a_search_that_was_killed_goes_on_and_ends_as_if_nothing_had_been(script, tmp_path):
    undisturbed = ended(script(1, "undisturbed.study"))
    for lines in (1, 3, 2, 1):
        process = script(1)
        for _ in range(lines):
            process.stdout.readline()
        time.sleep(0.08)  # into the next trial
        process.kill()
        process.communicate()
    assert ended(script(1)) == undisturbed
    journal = (tmp_path / "a.study").read_text()
    assert journal.count('"asked"') > 14  # a trial was done again


def test_the_workers_of_a_search_that_was_killed_go_too(script):
    process = script(2)
    for _ in range(3):
        process.stdout.readline()
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) == 2
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive
    assert ended(script(2)).count("complete") >= 3


def test_an_interrupt_ends_a_search_with_what_there_is(script):
    process = script(2)
    for _ in range(4):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out = ended(process)
    assert out.strip().endswith("it was interrupted")
    assert 4 <= out.count("complete") + out.count("pruned") < 14
    assert "it was interrupted" not in ended(script(2))


def test_a_worker_that_dies_fails_its_trial_and_no_other(heart):
    from sklearn.linear_model import LogisticRegression

    class Deadly(LogisticRegression):
        def fit(self, X, y):
            if self.C > 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().fit(X, y)

    X = heart.X.drop(columns="famhist")
    found = tune(Deadly(C=0.5, max_iter=2000), X, heart.y, trials=8, workers=2, folds=2, space={"C": Between(0.5, 2.0)})
    failed = found.trials[found.trials["state"] == "failed"]
    assert len(failed)
    assert (failed["C"] > 1).all()
    assert failed["trouble"].str.contains("ended with signal 9, as when memory runs out").all()
    assert (found.trials.loc[found.trials["state"] != "failed", "C"] <= 1).all()
    assert len(found.trials) == 8


def test_a_worker_that_dies_with_nothing_to_do_is_replaced(heart):
    from mlops_nb.model.candidates import pick
    from mlops_nb.model.folds import gather, make_folds
    from mlops_nb.model.workers import Processes, Question, Task

    rows = gather(heart.X, heart.y)
    pool = {c.name: c for c in pick("linear", heart.X, heart.y)}
    place = Processes(Task(rows, make_folds(rows), ("roc_auc",), pool), 1)
    try:
        place.ask(Question(0, "linear"))
        (first,) = place.wait()
        for _, process in place._idle:
            process.kill()
            process.wait()
        place.ask(Question(1, "linear"))
        (second,) = place.wait()
        assert second.scores == first.scores
    finally:
        place.close()


def test_processes_find_what_one_finds_for_the_same_questions(heart):
    "The first trials are asked before anything is known, so they are the same."
    one, two = (tune("linear", heart.X, heart.y, trials=5, workers=w, pruner=None, folds=3) for w in (1, 2))
    columns = ["state", "value", "std", "C"]
    first = one.trials[columns].sort_values("C", ignore_index=True)
    pd.testing.assert_frame_equal(two.trials[columns].sort_values("C", ignore_index=True), first, rtol=1e-9)


def test_a_budget_of_time_is_kept(heart):
    begun = time.monotonic()
    found = tune("forest", heart.X, heart.y, trials=10_000, seconds=6, workers=2, folds=3)
    assert time.monotonic() - begun < 40
    assert found.stopped == "its time was over"
    assert 2 < len(found.trials) < 1000


def test_hopeless_trials_are_given_up(heart):
    space = {"C": Between(1e-9, 10.0, log=True)}
    kept = tune("linear", heart.X, heart.y, space=space, trials=30, workers=1, scoring="neg_log_loss")
    assert {"complete", "pruned"} <= set(kept.trials["state"])
    pruned = kept.trials[kept.trials["state"] == "pruned"]
    assert pruned["folds"].between(2, 4).all()
    assert pruned["value"].max() < kept.value
    assert set(tune("linear", heart.X, heart.y, space=space, trials=9, workers=1, pruner=None).trials["state"]) == {
        "complete"
    }


def test_a_pruner_of_optuna_is_taken(heart):
    from optuna.pruners import ThresholdPruner

    with pytest.raises(DataError, match="none of 4 trials was completed"):
        tune("linear", heart.X, heart.y, trials=4, workers=1, pruner=ThresholdPruner(lower=0.999), folds=3)


def test_groups_times_weights_and_early_stopping_reach_the_folds(heart):
    n = len(heart.X)
    options = {"trials": 4, "workers": 2, "folds": 3, "early_stopping": 5}
    groups = pd.Series(np.arange(n) // 2, heart.X.index)
    assert len(tune("xgboost", heart.X, heart.y, groups=groups, weights="balanced", **options).trials) == 4
    times = pd.Series(np.arange(n) // 6, heart.X.index)
    ranked = tune("xgboost", heart.X, heart.y, task="ranking", times=times, **options)
    assert ranked.score == "ndcg"
    assert 0.3 < ranked.value < 1
    numbers = tune(["linear", "boosting"], heart.X, heart.X["ldl"], times=times, **options)
    assert numbers.score == "r2"


def test_a_callback_that_fails_ends_the_search_and_keeps_it(heart, tmp_path):
    def fails(candidate, scores):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        tune("linear", heart.X, heart.y, trials=4, workers=2, folds=2, study=tmp_path / "s", on_trial=fails)
    assert len(tune("linear", heart.X, heart.y, trials=4, workers=2, folds=2, study=tmp_path / "s").trials) == 4


@pytest.mark.parametrize("workers", [0, -1, 1.5, True])
def test_bad_numbers_of_workers(heart, workers):
    with pytest.raises(ParameterError, match="workers="):
        tune("linear", heart.X, heart.y, trials=2, workers=workers)


def test_a_cluster_that_is_not_there(heart):
    with pytest.raises(ExecutorError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1 "):
        tune("linear", heart.X, heart.y, trials=2, workers="tcp://127.0.0.1:1")
    with pytest.raises(ConfigError, match="no address"):
        tune("linear", heart.X, heart.y, trials=2, workers="http//nowhere")


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    for attempt in range(3):
        try:
            made = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0")
            break
        except AssertionError:  # its event loop has to start within ten seconds, which a busy machine may not manage
            if attempt == 2:
                raise
            time.sleep(10)
    with made as cluster:
        yield cluster


def test_a_cluster_finds_what_this_process_finds(heart, cluster):
    from distributed import Client

    here = tune("linear", heart.X, heart.y, trials=5, workers=1, pruner=None, folds=3).trials
    with Client(cluster, set_as_default=False) as client:
        for workers in (cluster.scheduler_address, client):
            there = tune("linear", heart.X, heart.y, trials=5, workers=workers, pruner=None, folds=3).trials
            assert np.allclose(sorted(there["value"]), sorted(here["value"]), rtol=1e-9)
        assert client.status == "running"


def test_a_worker_of_the_cluster_that_dies_is_replaced_by_another(heart, cluster):
    pids = [worker.pid for worker in cluster.workers.values()]
    killed = []

    def kill(candidate, scores):
        if not killed:
            killed.append(pids[0])
            os.kill(pids[0], signal.SIGKILL)

    found = tune("forest", heart.X, heart.y, trials=8, workers=cluster.scheduler_address, folds=3, on_trial=kill)
    assert killed
    assert len(found.trials) == 8
    assert (found.trials["state"] != "failed").all()


def test_a_candidate_of_ones_own_is_tuned_with_its_preparation(heart):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

    mine = Candidate("mine", Pipeline([("prepare", heart.prepare), ("learn", LogisticRegression(max_iter=2000))]))
    found = tune(mine, heart.X, heart.y, space={"C": [0.1, 1.0], "fit_intercept": [True, False]}, trials=6, workers=1)
    assert set(found.trials["fit_intercept"]) <= {True, False}
    assert found.best.estimator.named_steps["learn"].C in (0.1, 1.0)
