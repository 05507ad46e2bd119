"""The command line: exit codes, what it prints for whom, and how quickly it answers."""

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).parent / "mlops-nb"
USE = "from mlops_nb import step"


def call(*words, cwd, env=None):
    return subprocess.run([COMMAND, *words], cwd=cwd, env=env, capture_output=True, text=True)


@pytest.fixture
def twice(root, write):
    "A pipeline of one step that says what it does, and one that may fail."
    code = "step.log(twice=2 * number)\nstep.note('**done**')\nassert number < 10, 'too large'"
    write(root / "pipelines" / "twice" / "01_twice.ipynb", USE, code, parameters="number: int = 1  # below 10")
    return root


def test_help_answers_at_once():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = call("--help", cwd=".")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.3  # the bar of the design [CPU s]


def test_the_command_imports_nothing_heavy():
    heavy = [
        "mlflow",
        "deltalake",
        "duckdb",
        "pyarrow",
        "pandas",
        "sklearn",
        "papermill",
        "pydantic",
        "rich",
        "xgboost",
        "pandera",
    ]
    code = f"import mlops_nb.cli, sys; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


HOUSE = ["cache", "cache ls", "cache gc", "cache verify"]
HOUSE += ["data", "data ls", "data show", "data diff", "data tag", "data gc"]
COMMANDS = ["run", "resume", "cancel", "steps", "runs", "show", "diff", "reproduce", "sync", "ui", *HOUSE]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command):
    done = call(*command.split(), "--help", cwd=".")
    assert done.returncode == 0
    assert f"mlops-nb {command}" in done.stdout.partition("Example")[2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rnu"], "did you mean `run`"),
        (["run", "twcie"], "did you mean `twice`"),
        (["run", "twice", "-p", "nubmer=1"], "did you mean `number`"),
        (["run", "twice", "-p", "number=one"], "number=1  # below 10"),
        (["run", "twice", "-p", "number"], "-p name=value"),
        (["run", "twice", "-p", "=1"], "no name before the `=`"),
        (["run", "twice", "--params", "gone.yaml"], "check the name of the file"),
        (["run", "pipelines/twice/01_twice.ipynb"], "name the folder: pipelines/twice"),
        (["runs", "-n", "0"], "is not in the range"),
        (["cache", "ls", "-n", "-1"], "is not in the range"),
        (["data", "ls", "heart"], "there is no snapshot of `heart`"),
        (["data", "show", "../heart"], "is no name for a data set"),
        (["data", "gc", "--keep", "0"], "is not in the range"),
        (["run", "twice", "--to", "thrice"], "did you mean `twice`"),
        (["show", "ffff"], "there is no run `ffff`"),
        (["ui", "--port", "99999999"], "port"),
    ],
)
def test_a_wrong_call_is_exit_code_2_and_names_the_fix(twice, words, said):
    done = call(*words, cwd=twice)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (twice / ".mlops_nb" / "runs").exists()


def test_a_run_is_told_in_plain_lines_and_found_again(twice):
    done = call("run", "twice", "-p", "number=4", cwd=twice)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "twice=8" in done.stdout
    name = re.search(r"run (\w{8}) of pipelines/twice", done.stdout)[1]
    assert name in call("runs", cwd=twice).stdout
    shown = call("show", name[:4], cwd=twice)
    assert "finished" in shown.stdout
    assert "twice=8" in shown.stdout
    (listed,) = json.loads(call("runs", "--json", cwd=twice).stdout)
    assert listed["manifests"][0]["metrics"] == {"twice": 8}


def test_a_failing_cell_is_exit_code_1_and_quoted(twice):
    done = call("run", "twice", "-p", "number=40", cwd=twice)
    assert done.returncode == 1
    assert "assert number < 10" in done.stderr
    assert "AssertionError: too large" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    report = json.loads(call("run", "twice", "-p", "number=40", "--json", cwd=twice).stdout)
    assert (report["status"], report["manifests"][0]["failure"]["cell"]) == ("FAILED", 4)
    assert "too large" in report["error"]["what"]


def test_runs_of_a_pipeline_outside_any_project_are_found_where_they_were_started(tmp_path, write):
    write(tmp_path / "work" / "sums" / "01_sum.ipynb", USE, "step.log(total=3)")
    assert call("run", "sums", cwd=tmp_path / "work").returncode == 0
    (found,) = json.loads(call("runs", "--json", cwd=tmp_path / "work").stdout)
    assert found["pipeline"] == "sums"


def test_a_run_goes_on_when_nobody_reads_what_it_prints(root, write):
    write(root / "pipelines" / "two" / "01_one.ipynb", USE, "step.save('one', 1)")
    write(root / "pipelines" / "two" / "02_two.ipynb", USE, "step.log(two=2 * step.load('one'))")
    run = subprocess.Popen([COMMAND, "run", "two"], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    run.stdout.readline()
    run.stdout.close()  # as `head -1` does
    assert (run.wait(120), run.stderr.read()) == (0, "")
    (found,) = json.loads(call("runs", "--json", cwd=root).stdout)
    assert (found["status"], found["manifests"][1]["metrics"]) == ("FINISHED", {"two": 2})


def test_a_long_answer_that_nobody_reads_is_no_fault(root, write):
    for i in range(40):
        write(root / "pipelines" / "many" / f"{i:02}_step{i}.ipynb", USE, parameters=f"text: str = {'x' * 4000!r}")
    steps = subprocess.Popen(
        [COMMAND, "steps", "many", "--json"], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    steps.stdout.read(1)
    steps.stdout.close()
    assert (steps.wait(60), steps.stderr.read()) == (0, "")


def test_names_with_brackets_are_shown_as_they_are(root, write):
    write(root / "pipelines" / "[red] x" / "01_a[b].ipynb", USE, "step.log(rows=3)")
    done = call("run", "pipelines/[red] x", cwd=root)
    assert (done.returncode, done.stderr) == (0, "")
    assert "of pipelines/[red] x" in done.stdout
    assert "✓ a[b]" in done.stdout
    assert "pipelines/[red] x" in call("runs", cwd=root).stdout


def test_a_dry_run_starts_nothing(twice):
    done = call("run", "twice", "--dry-run", "-p", "number=3", cwd=twice)
    assert "number=3" in done.stdout
    (planned,) = json.loads(call("run", "twice", "--dry-run", "--json", cwd=twice).stdout)
    assert planned["parameters"] == {"number": 1}
    assert not (twice / ".mlops_nb").exists()


def test_steps_shows_the_contract(twice):
    done = call("steps", "twice", cwd=twice)
    assert "number: int = 1" in done.stdout
    (step,) = json.loads(call("steps", "twice", "--json", cwd=twice).stdout)
    assert step["parameters"]["number"] == {"type": "int", "default": "1", "help": "below 10"}


def test_a_dead_tracking_server_fails_no_run_and_is_named_by_sync(twice):
    environment = os.environ | {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    done = call("run", "twice", cwd=twice, env=environment)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())  # its lines are broken anywhere
    assert "MLflow does not have this run yet" in said
    assert "mlops-nb sync" in said
    done = call("sync", cwd=twice, env=environment)
    assert done.returncode == 3, done.stderr
    assert "127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


def test_ui_serves_the_runs_and_ends_with_sigterm(twice):
    import socket
    import time
    import urllib.request

    import psutil

    call("run", "twice", cwd=twice)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [COMMAND, "ui", "--port", str(port)]
    server = subprocess.Popen(command, cwd=twice, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                page = urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).read()
                break
            except OSError:
                time.sleep(0.2)
        assert page == b"OK"
        helpers = psutil.Process(server.pid).children(recursive=True)
    finally:
        server.terminate()
        server.wait(30)
    assert psutil.wait_procs(helpers, timeout=10)[1] == []
