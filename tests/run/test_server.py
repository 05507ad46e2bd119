"""A tracking server in place of the local database: `MLFLOW_TRACKING_URI` is all that changes."""

import shutil

import pytest
from mlflow import MlflowClient
from servers import tracking_server

from mlops_nb.run.execute import run_pipeline
from mlops_nb.run.pipeline import read_pipeline


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
