"Models of many makes, registered and read back, for tests of what serves them."

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from projects import HEART
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import ElasticNet, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)
from xgboost import XGBClassifier, XGBRegressor

from mlops_nb.data.features import DateParts, make_features
from mlops_nb.model.candidates import pick
from mlops_nb.model.loading import fetch_files
from mlops_nb.model.registration import register
from mlops_nb.serve.served import ServedModel

warnings.filterwarnings("ignore", message="Hint: Inferred schema contains integer column")


def patients(holes: bool = True) -> tuple[pd.DataFrame, pd.Series]:
    "The heart patients with columns of every kind, some values missing if wanted; whether they fell ill."
    df = pd.read_csv(HEART / "data" / "saheart.csv")
    X, chance = df.drop(columns="chd"), np.random.default_rng(0)
    regions = chance.choice(["north", "south", "east", "west", "é"], len(X), p=[0.4, 0.3, 0.2, 0.09, 0.01])
    X = X.assign(smokes=X.tobacco > 0, region=regions.astype(object))
    if holes:
        X["ldl"] = X.ldl.mask(chance.random(len(X)) < 0.1)
        X.loc[chance.random(len(X)) < 0.1, "region"] = None
    return X, df.chd


X, y = patients()
WHOLE, _ = patients(holes=False)
PLAIN = [name for name in X if name != "smokes"]
DATED = WHOLE[PLAIN].assign(seen=pd.date_range("2020-01-01 08:30", periods=len(WHOLE), freq="7h"))
WORDS = ["famhist", "region"]
NUMBERS = [name for name in X if name not in WORDS]
FLOATS = ["tobacco", "adiposity", "obesity", "alcohol"]


def columns(words, numbers=None, **options) -> ColumnTransformer:
    return ColumnTransformer([("number", numbers or StandardScaler(), NUMBERS), ("word", words, WORDS)], **options)


def ready(name: str, target=y):
    return lambda: (pick(name, X, target)[0].estimator.fit(X, target), X)


def fitted(make, frame=X, target=y):
    return lambda: (make().fit(frame, target), frame)


named, ages = y.map({0: "well", 1: "ill"}), X.age // 20
sparse = OneHotEncoder(handle_unknown="ignore")
dense = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
dropped = OneHotEncoder(drop="first", handle_unknown="ignore", sparse_output=False)
strict = OneHotEncoder(sparse_output=False)
ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)
MODELS = {  # and the way that each has to take
    "logistic": (ready("logistic"), "numpy"),
    "forest": (ready("forest"), "numpy"),
    "boosting": (ready("boosting"), "numpy"),
    "xgboost": (ready("xgboost"), "numpy"),
    "named classes": (ready("xgboost", named), "numpy"),
    "three classes, lines": (ready("logistic", ages), "numpy"),
    "three classes, boosting": (ready("boosting", ages), "numpy"),
    "three classes, xgboost": (ready("xgboost", ages), "numpy"),
    "numbers, lines": (ready("linear", X.obesity), "numpy"),
    "numbers, forest": (ready("forest", X.obesity), "numpy"),
    "numbers, xgboost": (ready("xgboost", X.obesity), "numpy"),
    "calibrated": (
        fitted(lambda: CalibratedClassifierCV(FrozenEstimator(ready("xgboost")()[0]), method="isotonic")),
        "numpy",
    ),
    "calibrated lines": (fitted(lambda: CalibratedClassifierCV(ready("logistic")()[0], cv=3)), "numpy"),
    "sparse for xgboost": (
        fitted(lambda: make_pipeline(columns(sparse, sparse_threshold=1.0), XGBClassifier(n_estimators=30))),
        "numpy",
    ),
    "sparse for lines": (
        fitted(lambda: make_pipeline(columns(sparse, sparse_threshold=1.0), LogisticRegression()), WHOLE),
        "numpy",
    ),
    "stacked for lines": (fitted(lambda: make_pipeline(columns(dense), LogisticRegression()), WHOLE), "numpy"),
    "dropped levels": (
        fitted(
            lambda: make_pipeline(columns(dropped), HistGradientBoostingRegressor(max_iter=20)),
            target=X.obesity,
        ),
        "numpy",
    ),
    "codes": (fitted(lambda: make_pipeline(columns(ordinal, "passthrough"), XGBRegressor(n_estimators=20))), "numpy"),
    "means of the target": (
        fitted(lambda: make_pipeline(columns(TargetEncoder(), RobustScaler()), XGBClassifier(n_estimators=20))),
        "numpy",
    ),
    "a strict encoder": (
        fitted(
            lambda: make_pipeline(columns(strict, SimpleImputer(add_indicator=True)), ExtraTreesClassifier(20)),
            WHOLE,
        ),
        "numpy",
    ),
    "one column after the other": (
        fitted(
            lambda: make_pipeline(SimpleImputer(), MinMaxScaler(), StandardScaler(), LogisticRegression()),
            X[NUMBERS],
        ),
        "numpy",
    ),
    "no preparation": (fitted(ElasticNet, WHOLE[FLOATS]), "numpy"),
    "no preparation, forest": (fitted(lambda: RandomForestClassifier(20), X[FLOATS]), "numpy"),
    "features": (
        fitted(lambda: make_pipeline(make_features(X[PLAIN]), XGBClassifier(n_estimators=20)), X[PLAIN]),
        "numpy",
    ),
    "products of columns": (
        fitted(lambda: make_pipeline(columns(sparse), PolynomialFeatures(), XGBClassifier(n_estimators=10)), WHOLE),
        "native",
    ),
    "principal components": (fitted(lambda: make_pipeline(PCA(2), LogisticRegression()), WHOLE[FLOATS]), "native"),
    "neighbours": (fitted(lambda: KNeighborsClassifier(algorithm="brute"), WHOLE[FLOATS]), "native"),
    "dates": (
        fitted(lambda: make_pipeline(make_features(DATED), XGBClassifier(n_estimators=20)), DATED),
        "native",
    ),
    "dates and a strict encoder": (
        fitted(
            lambda: make_pipeline(
                ColumnTransformer([("time", DateParts(), ["seen"]), ("word", strict, WORDS)]),
                XGBClassifier(n_estimators=20),
            ),
            DATED,
        ),
        "native",
    ),
}


def serve(model, frame: pd.DataFrame, folder: Path, **settings) -> ServedModel:
    "Register a model, read it back, and load it as the endpoint does."
    version = register(model, "served", frame, allow_pickle=settings.get("allow_pickle", False))
    return ServedModel.load(fetch_files(version, folder / f"version {version.version}"), version, **settings)


def plain(frame: pd.DataFrame) -> list[dict]:
    "Rows as JSON has them."
    times = {name: frame[name].map(pd.Timestamp.isoformat) for name in frame if frame[name].dtype.kind == "M"}
    frame = frame.assign(**times)
    return frame.astype(object).where(frame.notna(), None).to_dict("records")
