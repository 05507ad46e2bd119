"From an answer back to its sources, through a real run; and what is said when one of them is gone."

import json
import subprocess
import time
from contextlib import closing
from types import SimpleNamespace

import pandas as pd
import pytest
from projects import HEART

from mlops_nb.data.tags import remove_old
from mlops_nb.data.versions import snapshot
from mlops_nb.errors import DataError
from mlops_nb.model import registry
from mlops_nb.run.execute import run_pipeline
from mlops_nb.run.pipeline import read_pipeline
from mlops_nb.serve.predictions import Logged, PredictionLog, compact
from mlops_nb.serve.trace import trace

FIT = """
from sklearn.linear_model import LogisticRegression
from mlops_nb.model.gate import Check, Verdict
from mlops_nb.model.registry import register
from mlops_nb.data.versions import load_version

heart = load_version("patients")
verdict = Verdict((Check("roc_auc >= 0.7", 0.8, 0.7, True, "0.800 on 139 rows"),))
register(LogisticRegression().fit(heart[["age"]], heart["chd"]), "heart", heart[["age"]], verdict)
step.log(rows=len(heart))
"""


def git(root, *words):
    subprocess.run(["git", "-C", root, "-c", "user.name=Ann", "-c", "user.email=a@b.c", *words], check=True)


def ask(root, name="r1", version=1, role="champion"):
    table = SimpleNamespace(signature=SimpleNamespace(names=["age"]), values=[[52.0]])
    with closing(PredictionLog(root / "log")) as log:
        log.write_now([Logged(name, time.time(), "heart", version, role, 1.0, "web", table, [[0.25, 0.75]],
                              classes=[0, 1])])  # fmt: skip


@pytest.fixture
def asked(root, write, monkeypatch):
    "A project whose champion was made by a pipeline, and that has answered once."
    monkeypatch.chdir(root)
    registry.connect(root)
    snapshot(pd.read_csv(HEART / "data" / "saheart.csv"), "patients", {"kind": "file", "address": "saheart.csv"})
    write(root / "pipelines" / "fit" / "01_fit.ipynb", "from mlops_nb import step", FIT)
    (root / ".gitignore").write_text("mlflow.db\nmlartifacts\n.mlops_nb\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "Fit on age alone")
    run = run_pipeline(read_pipeline(root / "pipelines" / "fit"))
    run.raise_if_failed()
    registry.promote("heart", 1, reason="it passed")
    ask(root)
    return root


def behind(found, *path):
    for what in path:
        found = next(each for each in found.behind if each.what.startswith(what))
    return found


def test_the_way_back_is_whole_and_gaps_are_named(asked):
    found = trace("r1", asked / "log")
    assert found.gaps() == []
    version = behind(found, "answer", "model version")
    assert "probability 0.75" in behind(found, "answer").told
    assert behind(found, "answer").facts == {"inputs": "age=52.0"}
    assert behind(version, "promotion").facts["why"] == "it passed"
    assert "passed: 1 of 1" in behind(version, "verdict").told
    assert behind(version, "run").facts["step"] == "fit"
    assert behind(version, "run").facts["metrics"]["rows"] == 462
    assert behind(version, "run", "notebook").told == "notebook/01_fit.ipynb"
    assert "Ann" in behind(version, "code").told
    assert "Fit on age alone" in behind(version, "code").told
    assert behind(version, "data").told.startswith("patients version 1, 462 rows")
    assert behind(version, "data", "source").told == "saheart.csv"
    assert json.loads(json.dumps(found.to_dict()))["what"] == "request"
    compact(asked / "log")
    assert str(trace("r1", asked / "log")) == str(found)

    snapshot(pd.read_csv(HEART / "data" / "saheart.csv").head(50), "patients")  # a newer one, so that the old may go
    remove_old("patients", keep=1, dry=False, runs=False)
    gone = trace("r1", asked / "log")
    assert [gap.what for gap in gone.gaps()] == ["rows"]
    assert "removed" in gone.gaps()[0].told

    client = registry.connect(asked)
    run = client.get_model_version("heart", "1").run_id
    client.delete_run(run)
    assert "deleted" in behind(trace("r1", asked / "log"), "answer", "model version", "run").told
    git(asked, "commit", "-q", "--amend", "-m", "Rewrite history")
    git(asked, "-c", "gc.reflogExpire=now", "reflog", "expire", "--expire=now", "--all")
    git(asked, "gc", "-q", "--prune=now")
    assert [gap.what for gap in trace("r1", asked / "log").gaps()] == ["code", "rows"]

    ask(asked, version=7, role="shadow")
    found = trace("r1", asked / "log")
    assert [each.what for each in found.behind] == ["answer of the champion", "answer of the shadow"]
    assert "has no version 7" in behind(found, "answer of the shadow", "model version").told
    with pytest.raises(DataError, match="no answer with the request id 'r2'"):
        trace("r2", asked / "log")


def test_without_a_registry_the_answer_is_shown_all_the_same(root, monkeypatch):
    monkeypatch.chdir(root)
    registry.connect(root)
    ask(root)
    found = trace("r1", root / "log")
    assert [gap.what for gap in found.gaps()] == ["model version"]
    assert "no model `heart`" in found.gaps()[0].told
