"""A tracking server in place of the local database: `MLFLOW_TRACKING_URI` is all that changes."""

import shutil

import pytest
from mlflow import MlflowClient
from servers import tracking_server

from mlops_nb.run.delivery import sync
from mlops_nb.run.execute import run_pipeline
from mlops_nb.run.pipeline import read_pipeline
from mlops_nb.run.record import outbox


@pytest.fixture
def server(tmp_path, empty_store, monkeypatch):
    "An MLflow server with a store of its own, to which the project's runs go."
    folder = tmp_path / "server"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    with tracking_server(folder) as found:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", found.address)
        yield found


def test_a_run_goes_to_the_server_with_its_artifacts(root, write, server):
    save = "from mlops_nb import step\nstep.save('numbers', list(range(rows)))\nstep.log(rows=rows)"
    write(root / "pipelines" / "draw" / "01_draw.ipynb", save, parameters="rows: int = 4")
    run = run_pipeline(read_pipeline(root / "pipelines" / "draw"))
    assert run.status == "FINISHED"
    client = MlflowClient(server.address, server.address)
    parent = client.get_run(run.tracked()[""])
    assert parent.data.metrics["draw/rows"] == 4
    (child,) = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    files = {f.path for f in client.list_artifacts(child.info.run_id, "notebook")}
    assert {"notebook/01_draw.ipynb", "notebook/01_draw.html"} <= files


def test_a_server_that_dies_in_mid_run_fails_nothing_and_gets_the_run_later(root, write, server):
    folder = root / "pipelines" / "two"
    write(folder / "01_first.ipynb", "from mlops_nb import step\nstep.save('first', 1)")
    write(folder / "02_second.ipynb", "from mlops_nb import step\nstep.log(second=step.load('first'))")
    ended = []

    def watch(event, **facts):
        if event == "cell" and facts["step"] == "second":
            server.kill()
        if event == "end":
            ended.append(facts["trouble"])

    run = run_pipeline(read_pipeline(folder), watch=watch)
    assert [(m.step, m.status) for m in run.manifests()] == [("first", "FINISHED"), ("second", "FINISHED")]
    assert server.address in ended[0]
    assert outbox(root / ".mlops_nb") == [run.id]
    server.start()
    assert sync(root) == [run.id]
    client = MlflowClient(server.address, server.address)
    parent = client.get_run(run.tracked()[""])
    assert (parent.info.status, parent.data.metrics["second/second"]) == ("FINISHED", 1)
    children = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert sorted((c.info.run_name, c.info.status) for c in children) == [
        ("first", "FINISHED"),
        ("second", "FINISHED"),
    ]
