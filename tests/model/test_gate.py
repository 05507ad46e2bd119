import numpy as np
import pytest

from mlops_nb.errors import ConfigError, GateError
from mlops_nb.model.evaluation import Evaluation, evaluate
from mlops_nb.model.gate import Gate
from mlops_nb.model.metrics import METRICS, Interval
from mlops_nb.model.train import candidates, fit

RULES = ["roc_auc >= 0.70", "roc_auc.low >= 0.6", "brier <= 0.25", "log_loss < dummy"]


def test_permuted_labels_do_not_pass(heart):
    from sklearn.dummy import DummyClassifier

    gate, (linear,) = Gate(RULES), candidates(heart.prepare, strengths=[0.1], trees=[])
    passed = []
    for seed in range(50):
        generator = np.random.default_rng(seed)
        y, y_test = generator.permutation(heart.y), generator.permutation(heart.y_test)
        dummy = evaluate(DummyClassifier().fit(heart.X, y), heart.X_test, y_test, draws=100)
        evaluation = evaluate(fit(linear, heart.X, y), heart.X_test, y_test, draws=200)
        passed.append(gate.check(evaluation, {"dummy": dummy}).passed)
    assert not any(passed)


def test_real_labels_pass(heart, models):
    from sklearn.dummy import DummyClassifier

    dummy = evaluate(DummyClassifier().fit(heart.X, heart.y), heart.X_test, heart.y_test)
    verdict = Gate(RULES).check(evaluate(models[0], heart.X_test, heart.y_test), {"dummy": dummy})
    assert verdict.passed, str(verdict)


def test_a_missing_number_never_passes():
    nothing = {metric: Interval(np.nan, np.nan, np.nan) for metric in METRICS["binary"]}
    nothing = Evaluation("binary", nothing, np.array([True]), np.array([0.5]), 0.5)
    for sign in (">=", "<=", ">", "<"):
        with pytest.raises(GateError):
            Gate([f"roc_auc {sign} 0.5"]).check(nothing).raise_if_refused()


@pytest.mark.parametrize("rule", ["", "roc_auc", "roc_auc >= ", "roc_auc == 0.5", "0.7 <= roc_auc", "roc_auc >= 70%",
                                  "roc_auc >= inf", "roc_auc vs >= 0", "roc_auc >= 0.7 or brier < 1"])  # fmt: skip
def test_bad_rules_are_told(rule):
    with pytest.raises(ConfigError):
        Gate([rule])
