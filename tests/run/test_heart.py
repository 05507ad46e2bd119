"""The heart pipeline as its users meet it: what a run leaves in MLflow, that it can be repeated, and what stops it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from mlflow import MlflowClient
from projects import HEART, VARIABLES, make_project, run_by_hand
from quick import quickly

from mlops_nb.config import settings
from mlops_nb.data.versions import find_version
from mlops_nb.run.execute import run_pipeline
from mlops_nb.run.pipeline import read_pipeline
from mlops_nb.run.record import list_runs
from mlops_nb.run.store import Store

STEPS = ["ingest", "validate", "profile", "prepare", "train", "evaluate", "register", "batch_score"]
PLAIN_GIT = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull}
COMMAND = Path(sys.executable).parent / "mlops-nb"


@pytest.fixture(scope="module")
def first(tmp_path_factory, empty_store):
    "A project in git in which the pipeline was run once, by the command, and what the command printed."
    root = make_project(tmp_path_factory.mktemp("heart"), empty_store)
    shutil.copytree(HEART, root / "nbs" / "pipelines" / "heart")
    (root / ".gitignore").write_text(".mlops_nb\nmlflow.db*\nmlartifacts\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "Begin"]):
        subprocess.run(
            ["git", "-c", "user.name=A", "-c", "user.email=a@b.c", *words], cwd=root, check=True, env=PLAIN_GIT
        )
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        done = subprocess.run([COMMAND, "run", "heart"], cwd=root, capture_output=True, text=True)
    return root, done


def client_of(root: Path) -> MlflowClient:
    "An unmodified client, of this project's tracking store and registry."
    uri = settings(root).tracking_uri
    return MlflowClient(uri, uri)


def values(run) -> dict[str, object]:
    "What a run computed: its metrics and the digests of its outputs, without what counts versions of models."
    found = {f"{m.step}/{k}": v for m in run.manifests() for k, v in m.metrics.items() if k != "model_version"}
    return found | {f"{m.step}:{o.name}": o.digest for m in run.manifests() for o in m.outputs}


def test_the_command_ends_well_and_says_what_matters(first):
    _, done = first
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert not re.search(r"Traceback|Warning|WARNING|INFO", done.stdout)
    for words in (
        "batch_score  finished",
        "roc_auc=",
        "rules kept",
        "heart version 1 is the champion",
        "mlops-nb ui",
    ):
        assert words in done.stdout


def test_an_unmodified_client_finds_everything_in_mlflow(first):
    root, _ = first
    client = client_of(root)
    (run,) = list_runs(root)
    tracked = run.tracked()[""]
    parent = client.get_run(tracked)
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["evaluate/roc_auc"] > 0.6
    assert "environment/requirements.txt" in [f.path for f in client.list_artifacts(tracked, "environment")]
    below = f"tags.`mlflow.parentRunId` = '{tracked}'"
    children = {r.info.run_name: r for r in client.search_runs([parent.info.experiment_id], below)}
    assert sorted(children) == sorted(STEPS)
    for name, child in children.items():
        files = {f.path for f in client.list_artifacts(child.info.run_id, "notebook")}
        assert any(re.fullmatch(rf"notebook/\d\d_{name}\.ipynb", f) for f in files), files
        assert any(f.endswith(".html") for f in files)
        assert child.data.metrics["seconds"] > 0
    data = {(d.tags[0].value, d.dataset.name): d.dataset.digest for d in children["train"].inputs.dataset_inputs}
    assert {("input", "train"), ("input", "valid")} <= set(data)
    made = {d.dataset.name: d.dataset.digest for d in children["ingest"].inputs.dataset_inputs}
    assert data["input", "train"] == made["train"]
    (kept,) = (d for d in children["ingest"].inputs.dataset_inputs if d.dataset.source_type == "delta_table")
    version = find_version("heart", home=settings(root).home)
    assert (kept.dataset.name, kept.dataset.digest) == ("heart", version.digest[:36])
    assert {t.key: t.value for t in kept.tags} == {"mlflow.data.context": "output", "mlops_nb.version": "1"}
    assert json.loads(kept.dataset.source) == {"path": version.path, "delta_table_version": 1}
    assert json.loads(kept.dataset.profile)["num_rows"] == version.rows == 462
    assert len(json.loads(kept.dataset.schema)["mlflow_colspec"]) == 10
    assert version.run == run.id
    trials = client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{children['train'].info.run_id}'"
    )
    assert len(trials) == 6
    assert all("roc_auc_mean" in t.data.metrics for t in trials)
    reports = {f.path for f in client.list_artifacts(children["profile"].info.run_id)}
    assert "profile.html" in reports


def test_the_champion_predicts_in_a_fresh_process(first):
    root, _ = first
    client = client_of(root)
    version = client.get_model_version_by_alias("heart", "champion")
    assert str(version.version) == "1"
    code = (
        "import mlflow, pandas as pd\n"
        f"model = mlflow.pyfunc.load_model('models:/heart@champion')\n"
        f"df = pd.read_csv({str(HEART / 'data' / 'saheart.csv')!r}).drop(columns='chd')\n"
        "print(len(model.predict(df)))"
    )
    uri = settings(root).tracking_uri
    done = subprocess.run([sys.executable, "-c", code], env={"MLFLOW_TRACKING_URI": uri, "PATH": "/usr/bin:/bin"},
                          capture_output=True, text=True)  # fmt: skip
    assert done.stdout.strip().endswith("462"), done.stderr


def test_predictions_name_the_version_that_made_them(first):
    root, _ = first
    (run,) = list_runs(root)
    (output,) = run.manifests()[-1].outputs
    predictions = Store(settings(root).home).get(output)
    assert len(predictions) == 462
    assert set(predictions["model_version"]) == {"1"}
    assert predictions["probability"].between(0, 1).all()


def test_a_repetition_from_a_second_clone_is_equal_to_the_last_bit(first, tmp_path):
    root, _ = first
    (run,) = list_runs(root)
    subprocess.run(["git", "clone", "-q", str(root), str(tmp_path / "two")], check=True)
    shared = {"MLFLOW_TRACKING_URI": settings(root).tracking_uri, "MLOPS_NB_HOME": str(settings(root).home)}
    done = subprocess.run([COMMAND, "reproduce", run.id[:8], "--json"], cwd=tmp_path / "two", env=os.environ | shared,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    names = {row["name"] for row in found["rows"] if row["verdict"] == "equal"}
    assert {"evaluate/roc_auc", "train:model", "register:registration", "batch_score:predictions"} <= names
    assert len(names) == len(found["rows"]) > 50
    assert len(client_of(root).search_model_versions("name='heart'")) == 1


def test_a_second_run_with_the_same_seed_is_equal_to_the_last_bit(first):
    root, _ = first
    run = list_runs(root)[-1]
    before = values(run)
    pipeline = read_pipeline(root / "nbs" / "pipelines" / "heart")
    again = run_pipeline(pipeline, {"ingest.source": "sql"}, cache=False)  # the same rows
    again.raise_if_failed()
    after = values(again)
    differing = {name for name in before if before[name] != after[name]}
    assert differing <= {
        "evaluate:verdict",
        "evaluate:card",
        "register:registration",
        "batch_score:predictions",
    }  # these name the champion
    store = Store(settings(root).home)
    old, new = (store.get(r.manifests()[-1].outputs[0]) for r in (run, again))
    assert set(new["model_version"]) == {"2"}
    pd.testing.assert_frame_equal(
        old.drop(columns="model_version"), new.drop(columns="model_version"), check_exact=True
    )


def test_an_unchanged_run_takes_everything_from_the_cache(first):
    root, _ = first
    before = list_runs(root)[0]
    done = subprocess.run(
        [COMMAND, "run", "heart", "-p", "ingest.source=sql"], cwd=root, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    again = list_runs(root)[0]
    assert {m.cached for m in again.manifests()} == {before.id}
    assert values(again) == values(before)


def test_a_model_that_the_gate_refuses_is_kept_and_is_no_challenger(first):
    root, _ = first
    client = client_of(root)
    champion = client.get_model_version_by_alias("heart", "champion").version
    done = subprocess.run([COMMAND, "run", "heart", "--from", "evaluate", "-p", "least_roc_auc=0.99", "--json"],
                          cwd=root, capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert [m["status"] for m in report["manifests"]] == ["FINISHED", "FAILED"]
    assert "roc_auc >= 0.99" in report["error"]["what"]
    assert client.get_model_version_by_alias("heart", "champion").version == champion
    newest = client.search_model_versions("name='heart'", order_by=["version_number DESC"])[0]
    assert "roc_auc >= 0.99" in newest.tags["mlops_nb.verdict"]
    assert "challenger" not in client.get_registered_model("heart").aliases


def edited(change):
    "A function that writes the heart data, changed, to a file."

    def make(path: Path) -> None:
        df = pd.read_csv(HEART / "data" / "saheart.csv")
        change(df).to_csv(path, index=False)

    return make


def put(df, column, row, value):
    return df.astype({column: object}).assign(**{column: df[column].astype(object).where(df.index != row, value)})


BAD = {
    "missing column": (edited(lambda df: df.drop(columns="ldl")), ["ldl", "missing"]),
    "text among numbers": (edited(lambda df: put(df, "sbp", 7, "high")), ["sbp", "7", "high"]),
    "all null": (edited(lambda df: df.assign(tobacco=None)), ["tobacco", "462"]),
    "unknown category": (edited(lambda df: put(df, "famhist", 3, "Maybe")), ["famhist", "Maybe", "3"]),
    "empty file": (lambda path: path.write_bytes(b""), ["empty"]),
    "not a CSV": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256))), ["PNG"]),
    "duplicated rows": (edited(lambda df: pd.concat([df, df.head(5)])), ["duplicate", "5"]),
    "negative age": (edited(lambda df: put(df, "age", 11, -4)), ["age", "11", "-4"]),
    "single class": (edited(lambda df: df.assign(chd=0)), ["chd", "class"]),
    "nulls in the target": (edited(lambda df: put(df, "chd", 5, None)), ["chd", "null", "5"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data_stop_the_run_before_anything_is_learnt(heart, root, name):
    make, words = BAD[name]
    make(root / "bad.csv")
    with quickly():
        run = run_pipeline(read_pipeline(heart), {"ingest.path": str(root / "bad.csv")})
    assert run.status == "FAILED"
    last = run.manifests()[-1]
    assert last.step in ("ingest", "validate")
    try:
        run.raise_if_failed()
    except Exception as error:
        message, code = error.what, error.exit_code
    assert code in (1, 2)
    for word in words:
        assert word in message, message
    assert client_of(root).search_registered_models() == []


def test_every_notebook_runs_by_hand_cell_by_cell_without_the_runner(heart, root):
    for path in sorted(heart.glob("*.ipynb")):
        notebook = nbformat.read(path, 4)
        run_by_hand(notebook, heart)
        stderr = [o.text for c in notebook.cells for o in c.get("outputs", []) if o.get("name") == "stderr"]
        assert stderr == [], path.name
    assert list_runs(root) == []
    version = client_of(root).get_model_version_by_alias("heart", "champion")
    assert str(version.version) == "1"
