"""How often the gate errs: labels that mean nothing, a copy of the target, worse and equal challengers."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.datasets import load_breast_cancer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.peers import ROOT
from benchmarks.report import Report
from mlops_nb.model.evaluation import Evaluation, compare_models, evaluate
from mlops_nb.model.gate import Gate
from mlops_nb.model.train import candidates, fit, split_stratified

HEART = ROOT / "nbs" / "pipelines" / "heart"
STRICT = Gate(["vs champion: not worse by 0.01 at 95 %"])
AHEAD = Gate(["vs champion: better at 97.5 %"])
ROWS, DRAWS = 4000, 100


def data_sets() -> dict[str, pd.DataFrame]:
    "Binary targets, in the column `target`, with columns of numbers."
    heart = pd.read_csv(HEART / "data" / "saheart.csv").rename(columns={"chd": "target"})
    tumours = load_breast_cancer(as_frame=True).frame
    return {"heart": heart.drop(columns="famhist"), "breast cancer": tumours}


def passes(gate: Gate, df: pd.DataFrame, seed: int) -> bool:
    "Whether a model of these rows passes: a linear one for an even seed, boosted trees for an odd one."
    train, test = split_stratified(df, "target", (0.7, 0.3), seed=seed)
    X, y = train.drop(columns="target"), train["target"]
    linear, trees = candidates(make_pipeline(SimpleImputer(), StandardScaler()), strengths=[0.1], trees=[(3, 0.1, 50)])
    model = fit(trees if seed % 2 else linear, X, y)
    judgement = gate.judge(
        model, test.drop(columns="target"), test["target"], rivals={"champion": None}, training=(X, y), draws=200
    )
    return judgement.verdict.passed


def permuted(df: pd.DataFrame, seed: int) -> pd.DataFrame:
    "Labels that were shuffled: there is nothing to learn."
    return df.assign(target=np.random.default_rng(seed).permutation(df["target"]))


def leaked(df: pd.DataFrame, seed: int) -> pd.DataFrame:
    "With a copy of the target, scaled and with a little noise."
    copy = df["target"] * 3 - 1 + np.random.default_rng(seed).normal(size=len(df)) * 0.05
    return df.assign(copy=copy)


class Scores:
    "A model that answers with the only column."

    classes_ = (0, 1)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return np.column_stack([1 - X[:, 0], X[:, 0]])


def contest(seed: int, lost: float) -> tuple[Evaluation, Evaluation]:
    "A challenger whose true ROC AUC is lower by `lost`, and the champion, on the same rows; both see a common signal."
    generator = np.random.default_rng(seed)
    y = np.arange(ROWS) % 2 == 0
    signal = generator.normal(size=ROWS) + y  # two normal classes a distance d apart: ROC AUC = Phi(d / sqrt 2)

    def answer(auc: float) -> Evaluation:
        deviation = np.sqrt(max((1 / (np.sqrt(2) * norm.ppf(auc))) ** 2 - 1, 0))
        noisy = signal + deviation * generator.normal(size=ROWS)
        return evaluate(Scores(), norm.cdf(noisy)[:, None], y, draws=100)

    return answer(0.74 - lost), answer(0.74)


def judge(gate: Gate, seed: int, lost: float) -> bool:
    "Whether the challenger of a contest passes."
    challenger, champion = contest(seed, lost)
    return gate.check(challenger, differences={"champion": compare_models(challenger, champion, draws=400)}).passed


def run(report: Report, folder: Path, trials: int) -> None:
    "Count the mistakes, and hold them against the bars."
    shipped, rows = Gate.read(HEART / "gate.toml").plus("roc_auc >= 0.65"), []
    shipped.rules = [rule for rule in shipped.rules if rule.kind not in ("slice", "fairness")]  # they hold numbers only
    for name, df in data_sets().items():
        for case, spoil, draws, bar in (
            ("as it is", lambda df, seed: df, 10, ""),
            ("shuffled labels", permuted, DRAWS, 0),
            ("a copy of the target", leaked, 20, 0),
        ):
            passed = sum(passes(shipped, spoil(df, seed), seed) for seed in range(draws))
            rows.append({"case": f"{name}: {case}", "draws": draws, "passed": passed, "at most": bar})
    worse = sum(judge(STRICT, seed, 0.05) for seed in range(DRAWS))
    better = sum(judge(AHEAD, seed, 0.0) for seed in range(DRAWS))
    rows.append({"case": "challenger worse by 0.05 AUC", "draws": DRAWS, "passed": worse, "at most": 5})
    rows.append({"case": "equal challenger called better", "draws": DRAWS, "passed": better, "at most": 5})
    report.table("gate", rows)
    assert all(row["passed"] for row in rows if row["at most"] == ""), "a gate that refuses everything shows nothing"
    refused = [1 - row["passed"] / row["draws"] for row in rows if row["at most"] == 0]
    report.ratio("nonsense_refused", min(refused), 1.0)
    report.ratio("worse_refused", 1 - worse / DRAWS, 0.95)
    report.ratio("equal_not_better", 1 - better / DRAWS, 0.95)
