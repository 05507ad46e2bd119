import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from mlops_nb.errors import DataError, ParameterError
from mlops_nb.model.split import split
from mlops_nb.model.train import Candidate, candidates, cross_validate, fit, split_stratified, train


@pytest.mark.parametrize("shares", [(0.7, 0.2, 0.1), (0.5, 0.5), (1.0,), (0.98, 0.01, 0.01), (1 / 3, 1 / 3, 1 / 3)])
@pytest.mark.parametrize("seed", range(3))
def test_parts_are_whole_and_stratified(shares, seed):
    generator = np.random.default_rng(seed)
    y = np.append(["a", "b", "c"] * 3, generator.choice(["a", "b", "c"], 400, p=[0.9, 0.07, 0.03]))
    df = pd.DataFrame({"x": generator.random(409), "y": y}, index=generator.permutation(409) + 1000)
    parts = split_stratified(df, "y", shares, seed)
    assert sorted(label for part in parts for label in part.index) == sorted(df.index)
    place = pd.Series(range(409), df.index)
    for part, share in zip(parts, shares, strict=True):
        assert place[part.index].is_monotonic_increasing
        assert part.equals(df.loc[part.index])
        for name, size in df.y.value_counts().items():
            assert (part.y == name).any()
            assert abs((part.y == name).sum() - share * size) <= 2


def test_repeated_index_labels_do_not_matter():
    df = pd.DataFrame({"x": range(20), "y": [0, 1] * 10}, index=[7] * 20)
    parts = split_stratified(df, "y", (0.5, 0.5))
    assert sorted(number for part in parts for number in part.x) == list(range(20))


def test_a_category_without_rows_is_no_class():
    df = pd.DataFrame({"y": pd.Categorical(["a", "b"] * 5, categories=["a", "b", "c"])})
    assert [len(part) for part in split_stratified(df, "y", (0.6, 0.4))] == [6, 4]


def test_a_continuous_target_is_refused():
    with pytest.raises(DataError, match="9 classes"):
        split_stratified(pd.DataFrame({"y": np.linspace(0, 1, 9)}), "y")


@pytest.mark.parametrize("shares", [(), (0.5,), (0.7, 0.4), (1.2, -0.2), (float("nan"), 1.0)])
def test_bad_shares(shares):
    with pytest.raises(ParameterError, match="sum to"):
        split_stratified(pd.DataFrame({"y": [0, 1] * 10}), "y", shares)


def test_scores_do_not_depend_on_who_else_competes(heart):
    pool = candidates(heart.prepare, strengths=[0.1, 1.0], trees=[(2, 0.1, 20)])
    together = cross_validate(pool, heart.X, heart.y, folds=3).drop(columns="fit_seconds")
    for candidate in pool:
        alone = cross_validate([candidate], heart.X, heart.y, folds=3).drop(columns="fit_seconds")
        pd.testing.assert_frame_equal(alone, together.loc[[candidate.name]], check_exact=True)


def test_candidates_stay_unfitted(heart):
    from sklearn.exceptions import NotFittedError

    (candidate,) = candidates(heart.prepare, strengths=[1.0], trees=[])
    fit(candidate, heart.X, heart.y)
    cross_validate([candidate], heart.X, heart.y, folds=2)
    with pytest.raises(NotFittedError):
        candidate.estimator.predict(heart.X)


def test_results_are_told_one_by_one(heart):
    told = []
    pool = candidates(heart.prepare, strengths=[0.1, 1.0], trees=[])
    table = cross_validate(pool, heart.X, heart.y, folds=2, on_result=lambda one, row: told.append((one.name, row)))
    assert [name for name, _ in told] == [one.name for one in pool]
    assert dict(told)[table.index[0]] == table.iloc[0].to_dict()


def test_an_error_of_the_callback_is_its_own(heart):
    def fails(candidate, row):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cross_validate(candidates(heart.prepare, trees=[]), heart.X, heart.y, folds=2, on_result=fails)


def test_failing_candidates_are_named(heart):
    from xgboost import XGBClassifier

    X = heart.X.drop(columns="famhist")
    with pytest.raises(ParameterError, match=r"candidate deep \(max_depth=-5\)"):
        fit(Candidate("deep", XGBClassifier(max_depth=-5), {"max_depth": -5}), X, heart.y)
    infinite = X.assign(ldl=np.inf)
    for candidate in candidates(strengths=[1.0], trees=[(2, 0.1, 5)]):
        with pytest.raises((DataError, ParameterError), match=candidate.name):
            fit(candidate, infinite, heart.y)


def test_the_same_in_another_process(heart, tmp_path):
    "Hash seeds and thread counts of the other process do not matter."
    heart.df.drop(columns="famhist").to_csv(tmp_path / "rows.csv", index=False)
    code = """
import sys, numpy as np, pandas as pd
from mlops_nb.model.train import candidates, cross_validate, fit, split_stratified
train, test = split_stratified(pd.read_csv(sys.argv[1]), "chd", (0.8, 0.2), seed=3)
X, y = train.drop(columns="chd"), train["chd"]
pool = candidates(seed=3, strengths=[], trees=[(3, 0.1, 60)])
scores = cross_validate(pool, X, y, folds=3, seed=3).drop(columns="fit_seconds")
print(scores.to_numpy().tobytes().hex(), fit(pool[0], X, y).predict_proba(test.drop(columns="chd")).tobytes().hex())
"""
    outputs = set()
    for threads in ("1", "2"):
        environment = {"PYTHONHASHSEED": threads, "OMP_NUM_THREADS": threads, "PATH": ""}
        command = [sys.executable, "-c", code, str(tmp_path / "rows.csv")]
        outputs.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(outputs) == 1


@pytest.mark.parametrize("target", ["chd", "ldl"])
def test_training_again_in_another_process_gives_the_same_model_to_the_bit(heart, tmp_path, target):
    heart.df.to_csv(tmp_path / "rows.csv", index=False)
    code = """
import sys, joblib, pandas as pd
from mlops_nb.model.split import split
from mlops_nb.model.train import train
splits = split(pd.read_csv(sys.argv[1]), sys.argv[2], seed=3)
found = train(splits, candidates=["linear", "forest", "boosting", "xgboost"], early_stopping=5, seed=3, progress=False)
X = splits.valid[list(found.features)]
print(found.scores.drop(columns="fit_seconds").to_numpy().tobytes().hex())
print((found.model.predict_proba(X) if found.task == "binary" else found.model.predict(X)).tobytes().hex())
"""
    outputs = set()
    for threads in ("1", "2"):
        environment = {"PYTHONHASHSEED": threads, "OMP_NUM_THREADS": threads, "PATH": ""}
        command = [sys.executable, "-c", code, str(tmp_path / "rows.csv"), target]
        outputs.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(outputs) == 1


def test_early_stopping_looks_at_no_row_outside_the_training_part(heart, monkeypatch):
    from xgboost import XGBClassifier

    seen, fit_xgboost = [], XGBClassifier.fit

    def watched(self, X, y, **more):
        seen.extend([len(X), *(len(A) for A, _ in more.get("eval_set", []))])
        return fit_xgboost(self, X, y, **more)

    monkeypatch.setattr(XGBClassifier, "fit", watched)
    splits = split(heart.df, "chd")
    train(splits, candidates="xgboost", folds=0, early_stopping=5)
    learnt, stopped, last = seen
    assert learnt + stopped == last == len(splits.train)
    assert 0.13 < stopped / last < 0.17


def test_a_calibrated_model_is_fitted_on_other_rows_than_its_curve(heart):
    found = train(heart.df, "chd", "xgboost", folds=0, calibrate="sigmoid")
    inner = found.model.estimator.estimator.named_steps["learn"]
    assert inner.get_booster().num_boosted_rounds() == 200
    probability = found.model.predict_proba(heart.df[list(found.features)])
    assert np.allclose(probability.sum(axis=1), 1)


def test_balanced_weights_are_those_of_the_rows_at_hand(heart):
    from sklearn.linear_model import LogisticRegression

    X = heart.X.drop(columns="famhist")
    ours = fit(Candidate("one", LogisticRegression(max_iter=5000)), X, heart.y, weights="balanced")
    theirs = LogisticRegression(max_iter=5000, class_weight="balanced").fit(X, heart.y)
    assert np.allclose(ours.coef_, theirs.coef_, rtol=1e-4)


def test_columns_of_groups_times_and_weights_are_no_features(heart):
    n = len(heart.df)
    df = heart.df.assign(clinic=np.arange(n) // 3, day=np.arange(n) // 2, count=1.0)
    found = train(df, "chd", "linear", group="clinic", time="day", weights="count", folds=3)
    assert found.features == tuple(heart.X)


def test_classes_with_names_stay_what_they_are_called(heart):
    df = heart.df.assign(chd=heart.df.chd.map({0: "well", 1: "ill"}))
    for name in ("linear", "forest", "boosting", "xgboost"):
        found = train(df, "chd", name, folds=0)
        assert set(found.model.predict(heart.X)) == {"ill", "well"}


def test_a_target_with_three_classes_and_one_of_numbers_take_the_same_call(heart):
    grade = pd.cut(heart.df.age, 3, labels=["young", "middle", "old"])
    df = heart.df.drop(columns="age").assign(grade=grade)
    assert train(df, "grade", ["dummy", "linear", "xgboost"], folds=3).winner.name != "dummy"
    assert train(heart.df, "age", ["dummy", "linear", "boosting"], folds=3).task == "regression"
