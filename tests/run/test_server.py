"""A tracking server in place of the local database: `MLFLOW_TRACKING_URI` is all that changes."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from mlflow import MlflowClient

from mlops_nb.errors import TrackingError
from mlops_nb.run.delivery import sync
from mlops_nb.run.execute import run_pipeline
from mlops_nb.run.pipeline import read_pipeline
from mlops_nb.run.record import outbox


@pytest.fixture
def server(tmp_path):
    "An MLflow server on a free port, with a store of its own, ended with all its processes."
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db"]
    command += ["--artifacts-destination", f"{tmp_path}/artifacts"]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    said = tmp_path / "server.log"
    with said.open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=os.environ | quiet)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=1)
                break
            except OSError:
                time.sleep(0.2)
        else:
            pytest.fail(said.read_text())
        yield address, lambda: os.killpg(process.pid, signal.SIGKILL)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def test_a_run_goes_to_the_server_with_its_artifacts(root, write, server, monkeypatch):
    save = "from mlops_nb import step\nstep.save('numbers', list(range(rows)))\nstep.log(rows=rows)"
    write(root / "pipelines" / "draw" / "01_draw.ipynb", save, parameters="rows: int = 4")
    address, _ = server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    run = run_pipeline(read_pipeline(root / "pipelines" / "draw"))
    assert run.status == "FINISHED"
    client = MlflowClient(address, address)
    parent = client.get_run(run.tracked()[""])
    assert parent.data.metrics["draw/rows"] == 4
    (child,) = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    files = {f.path for f in client.list_artifacts(child.info.run_id, "notebook")}
    assert {"notebook/01_draw.ipynb", "notebook/01_draw.html"} <= files


@pytest.mark.parametrize("last", ["first", "second"])
def test_a_server_that_dies_in_mid_run_is_named_and_the_work_is_kept(root, write, server, monkeypatch, last):
    folder = root / "pipelines" / "two"
    write(folder / "01_first.ipynb", "from mlops_nb import step\nstep.save('first', 1)")
    write(folder / "02_second.ipynb", "from mlops_nb import step\nstep.save('second', step.load('first'))")
    address, kill = server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    ended = []

    def watch(event, **facts):
        ended.extend([event] if event == "end" else [])
        if event == "cell" and facts["step"] == last:
            kill()

    with pytest.raises(TrackingError, match=r"127\.0\.0\.1"):
        run_pipeline(read_pipeline(folder), watch=watch)
    (run,) = list_runs(root)
    assert run.status == "FAILED"
    done = ["first"] if last == "first" else ["first", "second"]
    assert [(m.step, m.status) for m in run.manifests()] == [(name, "FINISHED") for name in done]
    assert ended == ["end"]
