from types import SimpleNamespace

import pandas as pd
import pytest
from projects import HEART

from mlops_nb.model.train import candidates, fit, split_stratified


@pytest.fixture(scope="session")
def heart():
    "The heart data, split, with the preparation that the models below share."
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    df = pd.read_csv(HEART / "data" / "saheart.csv")
    train, test = split_stratified(df, "chd", shares=(0.7, 0.3), seed=0)
    X, y, X_test, y_test = train.drop(columns="chd"), train["chd"], test.drop(columns="chd"), test["chd"]
    numbers = X.columns.drop("famhist").tolist()
    prepare = ColumnTransformer(
        [("number", StandardScaler(), numbers), ("category", OneHotEncoder(handle_unknown="ignore"), ["famhist"])]
    )
    return SimpleNamespace(df=df, X=X, y=y, X_test=X_test, y_test=y_test, prepare=prepare)


@pytest.fixture(scope="session")
def models(heart):
    "A fitted logistic regression and a fitted xgboost."
    pool = candidates(heart.prepare, strengths=[0.1], trees=[(2, 0.1, 50)])
    return [fit(candidate, heart.X, heart.y) for candidate in pool]


@pytest.fixture
def project(root):
    "The folder of an empty project, and the registry connected to it."
    from mlops_nb.model.store import connect

    connect(root)
    return root
