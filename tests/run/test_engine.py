"""papermill's engine: what a lone run leaves behind, and what it says when a notebook ends badly."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import papermill
import psutil
import pytest
from mlflow import MlflowClient

from mlops_nb.config import settings
from mlops_nb.errors import NotebookError, ParameterError

USE = "from mlops_nb import step"


def client(root: Path) -> MlflowClient:
    return MlflowClient(settings(root).tracking_uri)


def only_run(root: Path):
    found = client(root).search_runs([e.experiment_id for e in client(root).search_experiments()])
    assert len(found) == 1, [r.info.run_name for r in found]
    return found[0]


def kernels() -> list[psutil.Process]:
    "The kernels that descend from this process."
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "ipykernel" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_papermill_command_line_gives_a_tracked_run(root, write):
    notebook = write(
        root / "sums" / "01_total.ipynb", USE, "step.log(total=x + y)", parameters="x: int = 1\ny: float = 2.0"
    )
    command = [sys.executable, "-m", "papermill", "--engine", "mlops_nb", "--no-progress-bar"]
    done = subprocess.run(
        [*command, str(notebook), str(root / "out.ipynb"), "-p", "x", "40"], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    run = only_run(root)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"x": "40", "y": "2.0"}
    assert run.data.metrics["total"] == 42
    files = {f.path for f in client(root).list_artifacts(run.info.run_id, "notebook")}
    assert files == {"notebook/01_total.ipynb", "notebook/01_total.html"}
    assert nbformat.read(root / "out.ipynb", 4).cells[-1].execution_count == 4


def test_a_cell_that_is_not_python_fails_when_it_is_its_turn(root, write):
    notebook = write(root / "old" / "01_old.ipynb", "before = 1", "print 'of Python 2'", parameters=None)
    with pytest.raises(papermill.PapermillExecutionError, match="SyntaxError"):
        papermill.execute_notebook(notebook, root / "out.ipynb", engine_name="mlops_nb", progress_bar=False)
    cells = [cell for cell in nbformat.read(root / "out.ipynb", 4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == [1, 2]
    assert only_run(root).info.status == "FAILED"


def test_what_a_cell_logs_with_mlflow_lands_in_the_same_run(root, write):
    notebook = write(
        root / "own" / "log.ipynb", "import mlflow", "mlflow.log_metric('mine', 7)\nmlflow.log_param('how', 'x')"
    )
    papermill.execute_notebook(notebook, None, engine_name="mlops_nb", progress_bar=False)
    run = only_run(root)
    assert (run.data.metrics["mine"], run.data.params["how"], run.info.status) == (7, "x", "FINISHED")


def test_a_failing_cell_is_quoted_and_the_partial_notebook_is_kept(root, write):
    notebook = write(root / "bad" / "01_bad.ipynb", "before = 1", "boom = 1 / 0", "after = 2")
    with pytest.raises(papermill.PapermillExecutionError):
        papermill.execute_notebook(notebook, root / "out.ipynb", engine_name="mlops_nb", progress_bar=False)
    run = only_run(root)
    assert run.info.status == "FAILED"
    assert "boom = 1 / 0" in run.data.tags["mlops_nb.error"]
    assert "boom = 1 / 0" in run.data.tags["mlflow.note.content"]
    kept = client(root).download_artifacts(run.info.run_id, "notebook/01_bad.ipynb", str(root))
    statuses = [c.metadata.papermill.status for c in nbformat.read(kept, 4).cells]
    assert statuses == ["completed", "completed", "failed", "pending"]
    assert not kernels()


@pytest.mark.parametrize(("code", "status"), [("raise SystemExit", "FINISHED"), ("raise SystemExit(3)", "FAILED")])
def test_system_exit_ends_a_step_as_its_code_says(root, write, code, status):
    notebook = write(root / "exit" / "01_exit.ipynb", code)
    try:
        papermill.execute_notebook(notebook, None, engine_name="mlops_nb", progress_bar=False)
    except papermill.PapermillExecutionError:
        assert status == "FAILED"
    assert only_run(root).info.status == status


def test_a_kernel_that_dies_fails_the_run_and_says_where(root, write):
    notebook = write(
        root / "die" / "01_die.ipynb", "import os, signal", "os.kill(os.getpid(), signal.SIGKILL)", "after = 1"
    )
    with pytest.raises(Exception, match="died"):
        papermill.execute_notebook(notebook, root / "out.ipynb", engine_name="mlops_nb", progress_bar=False)
    run = only_run(root)
    assert run.info.status == "FAILED"
    assert "SIGKILL" in run.data.tags["mlops_nb.error"]
    statuses = [c.metadata.papermill.status for c in nbformat.read(root / "out.ipynb", 4).cells]
    assert statuses[-2:] == ["failed", "pending"]


def test_unknown_and_mistyped_parameters_are_refused_before_a_kernel_starts(root, write):
    notebook = write(root / "typed" / "01_typed.ipynb", "1", parameters="seed: int = 1\nlimit: int | None = None")
    with pytest.raises(ParameterError, match="did you mean `seed`"):
        papermill.execute_notebook(notebook, None, {"sead": 1}, engine_name="mlops_nb", progress_bar=False)
    with pytest.raises(ParameterError, match="`int`, but 'abc'"):
        papermill.execute_notebook(notebook, None, {"seed": "abc"}, engine_name="mlops_nb", progress_bar=False)
    untagged = write(root / "typed" / "02_untagged.ipynb", "seed = 1", parameters=None)
    with pytest.raises(NotebookError, match="no cell is tagged"):
        papermill.execute_notebook(untagged, None, {"seed": 1}, engine_name="mlops_nb", progress_bar=False)
    assert client(root).search_experiments(filter_string="name = 'typed'") == []


def test_ctrl_c_keeps_the_notebook_and_ends_the_kernel(root, write):
    notebook = write(root / "slow" / "01_slow.ipynb", "first = 1", "import time\ntime.sleep(60)", "last = 1")
    out = root / "out.ipynb"

    def interrupt():
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if nbformat.read(out, 4).cells[2].metadata.papermill.status == "running":
                    break
            except (OSError, nbformat.reader.NotJSONError, KeyError, AttributeError):
                pass
            time.sleep(0.1)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        papermill.execute_notebook(notebook, out, engine_name="mlops_nb", progress_bar=False)
    assert only_run(root).info.status == "KILLED"
    assert [c.metadata.papermill.status for c in nbformat.read(out, 4).cells][-2:] == ["failed", "pending"]
    assert not kernels()


def test_outputs_become_datasets_with_their_digest_and_columns(root, write):
    make = "import pandas as pd\nstep.save('people', pd.DataFrame({'age': [52, 63], 'name': ['a', 'b']}))"
    papermill.execute_notebook(
        write(root / "p" / "01_a.ipynb", USE, make), None, engine_name="mlops_nb", progress_bar=False
    )
    run = only_run(root)
    (found,) = run.inputs.dataset_inputs
    assert found.dataset.name == "people"
    assert found.tags[0].value == "output"
    assert {c["name"]: c["type"] for c in json.loads(found.dataset.schema)["mlflow_colspec"]} == {
        "age": "long",
        "name": "string",
    }
    assert json.loads(found.dataset.profile)["num_rows"] == 2


def test_importing_papermill_does_not_drag_the_library_in():
    code = "import papermill, sys; print([m for m in ('mlflow', 'pandera', 'sklearn', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "ending", ["os.write(1, secret)", "os.write(1, secret); 1 / 0", "atexit.register(os.write, 1, secret)"]
)
def test_what_a_kernel_writes_by_itself_keeps_no_secret_of_its_last_cell(root, write, monkeypatch, ending):
    monkeypatch.setenv("LAST_TOKEN", "hunter2-of-the-last-cell")
    monkeypatch.setattr("mlops_nb.run.outcome.SAVING", 1e-6)  # so that no save looks for secrets while cells run
    asked = "secret = step.secret('secret://env/LAST_TOKEN').get_secret_value().encode()"
    notebook = write(root / "sums" / "01_ends.ipynb", f"import atexit, os\n{USE}", f"{asked}\n{ending}")
    try:
        papermill.execute_notebook(notebook, root / "out.ipynb", engine_name="mlops_nb", progress_bar=False)
    except papermill.PapermillExecutionError:
        assert "1 / 0" in ending
    log = next((root / ".mlops_nb" / "runs").glob("*/ends/kernel.log"))
    delivered = Path(client(root).download_artifacts(only_run(root).info.run_id, "notebook/kernel.log"))
    for kept in (log.read_text(), delivered.read_text()):
        assert "hunter2" not in kept
        assert "***" in kept
