"""Pipelines: what is refused before anything starts, and what a run leaves behind when it does not end well."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mlops_nb.config import settings
from mlops_nb.errors import ConfigError, NotebookError, ParameterError, StepError
from mlops_nb.run.execute import run_pipeline
from mlops_nb.run.pipeline import make_plan, read_pipeline
from mlops_nb.run.record import list_runs

USE = "from mlops_nb import step"


@pytest.fixture
def sums(root, write):
    "Three notebooks: draw numbers, add them up, report."
    folder = root / "pipelines" / "sums"
    write(folder / "01_draw.ipynb", USE, "step.save('numbers', list(range(rows)))", parameters="rows: int = 4")
    write(
        folder / "02_total.ipynb",
        USE,
        "step.save('total', factor * sum(step.load('numbers')))",
        parameters="factor: int = 1",
    )
    write(folder / "03_report.ipynb", USE, "step.log(total=step.load('total'))")
    return folder


def test_the_parent_run_has_a_child_a_step_and_all_their_metrics(root, sums):
    run = run_pipeline(read_pipeline(sums), {"rows": "5", "total.factor": "2"})
    client = MlflowClient(settings(root).tracking_uri)
    parent = client.get_run(run.tracked()[""])
    assert parent.info.status == run.status == "FINISHED"
    assert parent.data.tags["mlops_nb.run"] == run.id
    assert parent.data.params == {"rows": "5", "factor": "2"}
    assert parent.data.metrics["report/total"] == 20
    children = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert sorted(c.info.run_name for c in children) == ["draw", "report", "total"]
    assert client.get_experiment(parent.info.experiment_id).name == "sums"


def test_a_failing_step_stops_those_after_it_and_leaves_no_output_behind(root, sums, write):
    run_pipeline(read_pipeline(sums))
    write(
        sums / "02_total.ipynb", USE, "step.save('total', -1)", "raise ValueError('no')", parameters="factor: int = 1"
    )
    run = run_pipeline(read_pipeline(sums))
    assert run.status == "FAILED"
    assert [m.step for m in run.manifests()] == ["draw", "total"]
    with pytest.raises(StepError, match="raise ValueError"):
        run.raise_if_failed()
    later = run_pipeline(read_pipeline(sums), first="report")  # takes the total of the run that ended well
    assert later.manifests()[0].metrics["total"] == 6


WRONG = {
    "01_draw.ipynb untagged": (["step.save('numbers', 1)"], "no cell is tagged"),
    "03_report.ipynb misspelled": (["step.load('totl')"], "did you mean `total`"),
    "04_more.ipynb clash": (["step.save('total', 1)"], "saved by 02_total.ipynb and by 04"),
    "01_draw.ipynb circle": (["step.save('numbers', step.load('total'))"], "wait for each other"),
    "05_total.ipynb twin": (["1"], "both the step `total`"),
    "03_report.ipynb computed": (["name = 'total'\nstep.load(name)"], "not a plain string"),
    "03_report.ipynb syntax": (["x = = 1"], "03_report.ipynb, cell 3, line 1"),
    "03_report.ipynb kernel": (["1"], "did you mean `python3`"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_notebook_is_refused_before_anything_starts(root, sums, write, case):
    (file, what), (cells, words) = case.split(), WRONG[case]
    tag, kernel = None if what == "untagged" else "", "pyhton3" if what == "kernel" else "python3"
    write(sums / file, USE, *cells, parameters=tag, kernel=kernel)
    with pytest.raises(NotebookError, match=words):
        run_pipeline(read_pipeline(sums))
    assert list_runs(root) == []


@pytest.mark.parametrize(
    ("file", "text", "error", "words"),
    [
        ("03_report.ipynb", "{", NotebookError, "is not JSON"),
        ("pipeline.toml", "experment = 'x'", ConfigError, "did you mean `experiment`"),
        ("pipeline.toml", "[parameters]\nrow = 1", ParameterError, "did you mean `rows`"),
        ("pipeline.toml", "[parameters\n", ConfigError, "pipeline.toml"),
    ],
)
def test_a_wrong_file_is_refused_before_anything_starts(root, sums, file, text, error, words):
    (sums / file).write_text(text)
    with pytest.raises(error, match=words):
        run_pipeline(read_pipeline(sums))
    assert list_runs(root) == []


def test_parameters_come_from_the_toml_and_the_call_wins(root, sums):
    (sums / "pipeline.toml").write_text("experiment = 'adding'\n[parameters]\nrows = 7\n'total.factor' = 3\n")
    pipeline = read_pipeline(sums)
    assert pipeline.experiment == "adding"
    assert [p.parameters for p in make_plan(pipeline)] == [{"rows": 7}, {"factor": 3}, {}]
    assert make_plan(pipeline, {"rows": 2})[0].parameters == {"rows": 2}


def test_a_notebook_runs_in_its_own_folder(root, write):
    folder = root / "here"
    write(folder / "01_look.ipynb", USE, "from pathlib import Path\nstep.note(Path('data.txt').read_text())")
    (folder / "data.txt").write_text("found")
    before = os.getcwd()
    run = run_pipeline(read_pipeline(folder))
    assert run.manifests()[0].notes == ("found",)
    assert os.getcwd() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_the_command_ends_the_run_killed_and_leaves_no_kernel(root, sums, write, number):
    mark = root / "kernel.pid"
    wait = f"import os, time\nopen({str(mark)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)"
    write(sums / "02_total.ipynb", USE, wait, "step.save('total', step.load('numbers'))")
    command = [Path(sys.executable).parent / "mlops-nb", "run", "sums"]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (mark.exists() and mark.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    (run,) = list_runs(root)
    assert (run.status, [m.status for m in run.manifests()]) == ("KILLED", ["FINISHED", "KILLED"])
    assert MlflowClient(settings(root).tracking_uri).get_run(run.tracked()[""]).info.status == "KILLED"
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)
