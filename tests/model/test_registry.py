import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops_nb.errors import DataError, GateError, RegistryError, TrackingError
from mlops_nb.model import registration, registry, store
from mlops_nb.model.evaluation import evaluate
from mlops_nb.model.gate import Check, Verdict
from mlops_nb.model.train import candidates, fit

PASSED = Verdict((Check("roc_auc >= 0.7", 0.8, 0.7, True, "roc_auc 0.800 on 139 rows"),))
REFUSED = Verdict((Check("roc_auc >= 0.7", 0.6, 0.7, False, "roc_auc 0.600 on 139 rows"),))


def python(code: str, cwd, **environment: str) -> subprocess.CompletedProcess:
    "Run code in a fresh interpreter, as a user's shell would."
    env = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")} | environment
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, env=env, capture_output=True, text=True)


def weights(version: registry.ModelVersion):
    "The folder in which the files of a version lie."
    model_id = store.current_client().get_model_version(version.name, str(version.version)).source.rpartition("/")[2]
    location = store.current_client().get_logged_model(model_id).artifact_location
    from mlflow.utils.file_utils import local_file_uri_to_path

    return Path(local_file_uri_to_path(location))


def test_anyone_loads_the_champion_in_a_fresh_process(project, heart, models, tmp_path):
    model = models[1]
    version = registry.register(model, "heart", heart.X, PASSED)
    registry.promote("heart", version.version, PASSED)
    heart.X_test.to_csv(tmp_path / "rows.csv", index=False)
    code = (
        "import mlflow, numpy as np, pandas as pd\n"
        "model = mlflow.pyfunc.load_model('models:/heart@champion')\n"
        "np.save('answer.npy', model.predict(pd.read_csv('rows.csv')))"
    )
    store = f"sqlite:///{project}/mlflow.db"
    done = python(code, tmp_path, MLFLOW_TRACKING_URI=store, MLFLOW_DISABLE_TELEMETRY="true")
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "answer.npy"), model.predict_proba(heart.X_test))


def test_nothing_is_printed_from_an_empty_project_on(tmp_path, heart):
    heart.df.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "settings.ini").touch()
    code = """
import pandas as pd
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from mlops_nb.model import registry
from mlops_nb.model.gate import Verdict, Check
from mlops_nb.model.train import candidates, fit
df = pd.read_csv("rows.csv").drop(columns="famhist")
verdict = Verdict((Check("brier < 1", 0.2, 1.0, True, ""),))
for candidate in candidates(StandardScaler(), strengths=[1.0], trees=[(2, 0.1, 5)]):
    version = registry.register(fit(candidate, df.drop(columns="chd"), df["chd"]), "heart", df.drop(columns="chd"),
                                verdict, metrics={"brier": 0.2})
    registry.promote("heart", version.version, verdict)
registry.load_model("heart@champion").predict_proba(df)
assert [v.aliases for v in registry.versions("heart")] == [("champion",), ("previous",)]
"""
    done = python(code, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("change", ["weights", "recipe", "added", "removed"])
def test_changed_files_are_refused(project, heart, models, change):
    folder = weights(registry.register(models[1], "heart", heart.X))
    if change == "weights":
        data = bytearray((folder / "model.skops").read_bytes())
        data[len(data) // 2] ^= 1
        (folder / "model.skops").write_bytes(data)
    elif change == "recipe":
        (folder / "MLmodel").write_text((folder / "MLmodel").read_text().replace("predict_proba", "predict"))
    elif change == "added":
        (folder / "model.pkl").write_bytes(b"cos\nsystem\n")
    else:
        (folder / "input_example.json").unlink()
    with pytest.raises(RegistryError, match="were changed"):
        registry.load_model("heart/1")


def test_missing_files_are_told(project, heart, models):
    shutil.rmtree(weights(registry.register(models[0], "heart", heart.X)))
    with pytest.raises(RegistryError, match="heart version 1"):
        registry.load_model("heart@challenger")


def test_a_refused_promotion_leaves_the_champion_alone(project, heart, models):
    registry.promote("heart", registry.register(models[0], "heart", heart.X, PASSED).version, PASSED)
    before = registry.champion("heart")
    second = registry.register(models[1], "heart", heart.X, REFUSED)
    for verdict in (REFUSED, None, Verdict(())):
        with pytest.raises(GateError):
            registry.promote("heart", second.version, verdict)
    assert registry.champion("heart") == before
    assert second.aliases == ()
    with pytest.raises(RegistryError, match="has no challenger"):
        registry.find_version("heart@challenger")
    assert not registry.find_version("heart/2").note("promoted")
    assert [entry.what for entry in registry.history("heart")][2:] == ["registered"] + 4 * ["refused"]


def test_promotion_says_who_when_from_to_and_why(project, heart, models):
    for model in models:
        registry.promote("heart", registry.register(model, "heart", heart.X, PASSED).version, PASSED)
    now = registry.champion("heart")
    assert (now.version, now.aliases) == (2, ("champion",))
    assert registry.find_version("heart@previous").version == 1
    entry = registry.history("heart").entries[-1]
    assert (entry.what, entry.version, entry.before, entry.after) == ("promoted", 2, 1, 2)
    assert entry.by
    assert pd.Timestamp(entry.at).tzinfo is not None
    assert "roc_auc 0.800 on 139 rows" in entry.why
    assert now.verdict == PASSED
    assert "from version 1: roc_auc >= 0.7" in now.note("promoted")
    shown = registry.history("heart").rows()
    assert [row["champion"] for row in shown] == ["1 → 2", "1", "– → 1", "–"]


def test_the_run_that_is_open_gets_the_model(project, heart, models, monkeypatch):
    import mlflow

    client = store.current_client()
    run_id = client.create_run(store.experiment("heart")).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    version = registry.register(models[0], "heart", heart.X, PASSED, metrics={"roc_auc": 0.8})
    run = client.get_run(run_id)
    assert version.run_id == run_id
    assert run.info.status == "RUNNING"  # whoever opened it ends it
    assert run.data.metrics == {"roc_auc": 0.8}
    assert "verdict.json" in [file.path for file in client.list_artifacts(run_id)]
    monkeypatch.delenv("MLFLOW_RUN_ID")
    with mlflow.start_run(experiment_id=store.experiment("heart")) as active:
        assert registry.register(models[0], "heart", heart.X).run_id == active.info.run_id
    assert "" not in [version.run_id for version in registry.versions("heart")]


def test_a_failed_registration_fails_its_run_and_registers_nothing(project, heart, models, monkeypatch):
    def broken(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(registration, "_save", broken)
    with pytest.raises(TrackingError, match="No space left"):
        registry.register(models[0], "heart", heart.X)
    client = store.current_client()
    assert [run.info.status for run in client.search_runs([store.experiment("heart")])] == ["FAILED"]
    assert registry.champion("heart") is None
    with pytest.raises(RegistryError, match="no model `heart`"):
        registry.find_version("heart/1")


def test_same_seed_same_predictions_to_the_bit(project, heart):
    for candidate in candidates(heart.prepare, seed=7, strengths=[1.0], trees=[(3, 0.1, 80)]):
        answers = []
        for _ in range(2):
            version = registry.register(fit(candidate, heart.X, heart.y), "heart", heart.X)
            answers.append(registry.load_model(f"heart/{version.version}").predict_proba(heart.X_test))
        np.testing.assert_array_equal(*answers)


def test_a_loaded_model_is_evaluated_like_the_fitted_one(project, heart, models):
    for model in models:
        version = registry.register(model, "heart", heart.X)
        loaded = registry.load_model(version.uri)
        shuffled = heart.X_test[heart.X_test.columns[::-1]].assign(more=1)  # order and further columns do not matter
        assert evaluate(loaded, shuffled, heart.y_test).flat() == evaluate(model, heart.X_test, heart.y_test).flat()
        with pytest.raises(DataError, match="missing: ldl, age"):
            loaded.predict(heart.X_test.drop(columns=["age", "ldl"]))


def test_types_of_strangers_are_not_loaded(project, heart):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    model = make_pipeline(FunctionTransformer(pd.get_dummies), LogisticRegression(max_iter=5000)).fit(heart.X, heart.y)
    stranger = "pandas.core.reshape.encoding.get_dummies"
    with pytest.raises(RegistryError, match="not trusted: pandas"):
        registry.register(model, "heart", heart.X)
    registry.register(model, "heart", heart.X, trusted=[stranger])
    with pytest.raises(RegistryError, match="get_dummies"):  # what the artifact trusts does not count
        registry.load_model("heart@challenger")
    registry.load_model("heart@challenger", trusted=[stranger]).predict_proba(heart.X_test)


def test_a_model_that_was_not_registered_here_is_not_loaded(project, heart, models):
    import mlflow

    with mlflow.start_run(experiment_id=store.experiment("heart")):
        mlflow.sklearn.log_model(
            models[0],
            name="plain",
            registered_model_name="heart",
            pip_requirements=[],
            skops_trusted_types=["numpy.dtype"],
        )
    with pytest.raises(RegistryError, match="no fingerprint"):
        registry.load_model("heart/1")


def test_our_features_and_every_ready_learner_are_kept_as_data(project, heart):
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from xgboost import XGBRanker

    from mlops_nb.data.features import make_features

    days = pd.date_range("2020-01-01", periods=len(heart.X), tz="UTC")
    X = heart.X.assign(visit=days, ward=[f"w{i % 40}" for i in range(len(heart.X))])
    features, y = make_features(X.assign(chd=heart.y), "chd"), heart.y.to_numpy()
    calibrated = CalibratedClassifierCV(LogisticRegression(max_iter=5000), method="temperature", cv=2)
    for learner in (RandomForestClassifier(5), HistGradientBoostingClassifier(max_iter=5), calibrated):
        model = make_pipeline(features, learner).fit(X, y)
        version = registry.register(model, "heart", X)
        answer = registry.load_model(version.uri).predict_proba(X)
        np.testing.assert_array_equal(answer, model.predict_proba(X))
    X = heart.X.drop(columns="famhist")
    ranker = XGBRanker(n_estimators=3).fit(X, y, qid=np.arange(len(X)) // 20)
    version = registry.register(ranker, "rank", X)
    np.testing.assert_array_equal(registry.load_model(version.uri).predict(X), ranker.predict(X))


def test_more_models_than_one_page(project, heart, models):
    client = store.current_client()
    for i in range(105):
        client.create_registered_model(f"m{i:03}")
    registry.register(models[0], "zebra", heart.X)
    assert registry.load_model("zebra@challenger").version.version == 1
    with pytest.raises(RegistryError, match="did you mean `zebra`"):
        registry.find_version("zebar/1")


def test_missing_values_and_integers_go_through(project, heart):
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    X = heart.X.drop(columns="famhist").astype({"age": "int64"})
    X.loc[X.index[:5], "ldl"] = np.nan
    model = make_pipeline(SimpleImputer(), LogisticRegression(max_iter=5000)).fit(X, heart.y)
    registry.register(model, "heart", X)
    import mlflow

    answer = mlflow.pyfunc.load_model("models:/heart@challenger").predict(X)
    np.testing.assert_array_equal(answer, model.predict_proba(X))


def test_two_projects_do_not_mix(project, heart, models, tmp_path, empty_store):
    registry.register(models[0], "heart", heart.X)
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(empty_store, other / "mlflow.db")
    store.connect(other)
    assert registry.champion("heart") is None
    with pytest.raises(RegistryError, match="no model `heart`"):
        registry.load_model("heart")
    store.connect(project)
    assert registry.load_model("heart/1").version.name == "heart"
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_teams_that_share_a_registry_share_its_decisions(project, heart, models, tmp_path, monkeypatch, empty_store):
    shutil.copy(empty_store, tmp_path / "shared.db")
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(empty_store, other / "mlflow.db")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{tmp_path}/shared.db")
    store.connect(project)
    registry.register(models[0], "heart", heart.X, PASSED)
    store.connect(other)
    registry.promote("heart", 1)
    store.connect(project)
    assert [entry.what for entry in registry.history("heart")] == ["registered", "promoted"]
    assert registry.champion("heart").version == 1


def test_a_store_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/file/mlflow.db")
    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_URI"):
        store.connect(tmp_path)


def test_passwords_are_not_shown():
    from mlflow.exceptions import MlflowException

    with pytest.raises(TrackingError) as caught, store.asking("http://anna:secret@host:5000"):
        raise MlflowException("API request to http://anna:secret@host:5000/api failed")
    assert "secret" not in str(caught.value)
