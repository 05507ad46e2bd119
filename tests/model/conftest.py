import shutil
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from mlops_nb.model.train import candidates, fit, split_stratified

DATA = Path(__file__).parents[2] / "nbs" / "pipelines" / "heart" / "data" / "saheart.csv"


@pytest.fixture(scope="session")
def heart():
    "The heart data, split, with the preparation that the models below share."
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    df = pd.read_csv(DATA)
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


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    "An empty MLflow database, made once: that takes seconds."
    from mlops_nb.model.store import connect

    folder = tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        connect(folder)
    return folder / "mlflow.db"


@pytest.fixture
def project(tmp_path, empty_database, monkeypatch):
    "A project of its own, under a name that trips careless paths, and the registry connected to it."
    from mlops_nb.model.store import connect

    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "my project #1 100%"
    folder.mkdir()
    (folder / "settings.ini").touch()
    shutil.copy(empty_database, folder / "mlflow.db")
    connect(folder)
    return folder
