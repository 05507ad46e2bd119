import numpy as np
import pytest
from sklearn import metrics as reference

from mlops_nb.errors import DataError
from mlops_nb.model.evaluation import choose_threshold, compare_models, evaluate
from mlops_nb.model.gate import Gate
from mlops_nb.model.metrics import BinaryScorer
from mlops_nb.model.train import candidates, fit


class Scores:
    "A classifier that answers with the first column."

    classes_ = (0, 1)

    def predict_proba(self, X):
        return np.column_stack([1 - X[:, 0], X[:, 0]])


def judged(probability, y, **options):
    return evaluate(Scores(), np.asarray(probability)[:, None], y, **options)


@pytest.mark.parametrize("digits", [1, 2, 16])  # many ties, some, none
@pytest.mark.parametrize("seed", range(5))
def test_metrics_equal_those_of_sklearn(seed, digits):
    generator = np.random.default_rng(seed)
    size = int(generator.integers(5, 300))
    y = np.append([True, False], generator.random(size) < 0.3)
    probability = (generator.random(size + 2) * 0.8 + 0.1).round(digits)
    count = generator.integers(1, 5, size + 2).astype(float)
    scorer = BinaryScorer(y, probability, 0.45)
    ours = dict(zip(scorer.names, scorer(count), strict=True))
    called = probability >= 0.45
    options = {"sample_weight": count}
    theirs = {
        "roc_auc": reference.roc_auc_score(y, probability, **options),
        "pr_auc": reference.average_precision_score(y, probability, **options),
        "log_loss": reference.log_loss(y, probability, **options),
        "brier": reference.brier_score_loss(y, probability, **options),
        "accuracy": reference.accuracy_score(y, called, **options),
        "precision": reference.precision_score(y, called, zero_division=0, **options),
        "recall": reference.recall_score(y, called, **options),
        "f1": reference.f1_score(y, called, zero_division=0, **options),
        "false_positive_rate": 1 - reference.recall_score(~y, ~called, **options),
        "selection_rate": np.average(called, weights=count),
    }
    np.testing.assert_allclose([ours[k] for k in theirs], list(theirs.values()), rtol=1e-9)


def test_extreme_scores_stay_finite():
    evaluation = judged([0.0, 1.0, 0.0, 1.0], [1, 0, 0, 1], draws=100)
    assert np.isfinite(list(evaluation.flat().values())).all()
    assert judged([0.5] * 4, [1, 0, 0, 1], threshold=0.9, draws=100)["precision"].value == 0


def test_intervals_cover_the_truth():
    "Two normal classes one standard deviation apart: the ROC AUC is Phi(1 / sqrt 2)."
    from scipy.stats import norm

    truth, covered = norm.cdf(1 / np.sqrt(2)), 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        y = np.arange(200) % 3 == 0
        interval = judged(norm.cdf(generator.normal(size=200) + y), y, draws=300, seed=seed)["roc_auc"]
        covered += interval.low <= truth <= interval.high
    assert 0.90 <= covered / 200 <= 0.99


def test_a_worse_challenger_is_found_and_an_equal_one_is_not_called_better():
    from scipy.stats import norm

    worse = better = 0
    strict, ahead = Gate(["roc_auc.low vs champion >= -0.01"]), Gate(["roc_auc.low vs champion > 0"])
    for seed in range(50):
        generator = np.random.default_rng(seed)
        y = np.arange(2000) % 2 == 0
        signal = generator.normal(size=2000) + y

        def noisy(deviation, generator=generator, signal=signal, y=y):
            return judged(norm.cdf(signal + deviation * generator.normal(size=2000)), y, draws=100)

        champion, equal, poor = noisy(0.4), noisy(0.4), noisy(0.9)  # expected ROC AUC 0.744, 0.744, 0.700
        worse += not strict.check(poor, differences={"champion": compare_models(poor, champion, draws=200)}).passed
        better += ahead.check(equal, differences={"champion": compare_models(equal, champion, draws=200)}).passed
    assert worse >= 46
    assert better <= 4


def test_evaluation_is_deterministic_and_seed_matters(heart, models):
    once, twice, other = (evaluate(models[1], heart.X_test, heart.y_test, seed=seed) for seed in (1, 1, 2))
    assert once.flat() == twice.flat()
    assert once["roc_auc"].low != other["roc_auc"].low
    assert once["roc_auc"].value == other["roc_auc"].value


def test_words_as_classes(heart):
    words = heart.y.map({0: "healthy", 1: "ill"})
    (linear,) = candidates(heart.prepare, strengths=[0.1], trees=[])
    by_word = evaluate(fit(linear, heart.X, words), heart.X_test, heart.y_test.map({0: "healthy", 1: "ill"}))
    by_number = evaluate(fit(linear, heart.X, heart.y), heart.X_test, heart.y_test)
    assert by_word.flat() == by_number.flat()


def test_nulls_are_named(heart, models):
    with pytest.raises(DataError, match="nan"):
        evaluate(models[0], heart.X_test, heart.y_test.where(heart.y_test.index > 20))
    with pytest.raises(DataError, match="1 of 3 probabilities"):
        judged([0.1, np.nan, 0.2], [0, 1, 0])


def test_threshold_is_the_cheapest_one():
    for seed in range(20):
        generator = np.random.default_rng(seed)
        y, probability = generator.random(60) < 0.4, generator.random(60).round(2)
        costs = generator.random(2) + 0.1

        def price(cut, y=y, probability=probability, costs=costs):
            return costs[0] * ((probability >= cut) & ~y).sum() + costs[1] * ((probability < cut) & y).sum()

        chosen = choose_threshold(y, probability, *costs)
        assert 0 <= chosen <= 1
        assert price(chosen) == pytest.approx(min(price(cut) for cut in np.linspace(0, 1, 1001)))
