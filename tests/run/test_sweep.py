"""Sweeps: what runs once, what runs side by side, and what is left when one is stopped, killed or cut off."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from projects import VARIABLES
from servers import TrackingServer

from mlops_nb.cli import main
from mlops_nb.config import settings
from mlops_nb.run.pipeline import read_pipeline
from mlops_nb.run.record import list_runs, outbox, read_run
from mlops_nb.run.sweep import resume_sweep, sweep
from mlops_nb.run.sweeps import list_sweeps

COMMAND = Path(sys.executable).parent / "mlops-nb"
USE = "from mlops_nb import step"
LOSS = "step.log(loss=(depth - 5) ** 2 + len(step.load('numbers')))"


def start(root: Path, *words: str, **environment: str) -> subprocess.Popen:
    clean = {k: v for k, v in os.environ.items() if k not in VARIABLES}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return subprocess.Popen([COMMAND, *words], cwd=root, env=clean | environment, **pipes)


def call(root: Path, *words: str, **environment: str) -> tuple[int, str, str]:
    process = start(root, *words, **environment)
    return *process.communicate(timeout=200), process.returncode


@pytest.fixture
def fit(root, write):
    "A pipeline of two steps, of which the second has a depth; it is best at 5."
    folder = root / "pipelines" / "fit"
    write(folder / "01_draw.ipynb", USE, "step.save('numbers', list(range(rows)))", parameters="rows: int = 4")
    write(folder / "02_fit.ipynb", USE, LOSS, parameters="depth: int = 3")
    return folder


def all_is_delivered(root: Path) -> None:
    "Wait until MLflow has the pages of notebooks, too, which come last."
    deadline = time.monotonic() + 60
    while outbox(settings(root).home) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert outbox(settings(root).home) == []


def tracked(root: Path, uri: str | None = None) -> tuple[list, list]:
    "What MLflow has: the runs that stand for sweeps, and those of members."
    uri = uri or settings(root).tracking_uri
    client = MlflowClient(uri, uri)
    found = client.search_runs([e.experiment_id for e in client.search_experiments()], max_results=1000)
    kinds = {kind: [r for r in found if r.data.tags.get("mlops_nb.kind") == kind] for kind in ("sweep", "pipeline")}
    return kinds["sweep"], kinds["pipeline"]


def test_what_does_not_depend_on_the_swept_parameter_runs_once(root, fit):
    done = sweep(read_pipeline(fit), {"depth": "2,4,5,8"}, metric="loss", maximize=False)
    runs = [read_run(m.run, root) for m in done.members]
    assert done.record.status == "FINISHED"
    assert [sum(not r.manifests()[i].cached for r in runs) for i in (0, 1)] == [1, 4]
    assert done.comparison().best["parameters"] == {"depth": 5}


def test_mlflow_has_the_members_below_one_run_that_holds_the_comparison(root, fit):
    done = sweep(read_pipeline(fit), {"depth": "2,5", "rows": 6}, metric="loss", maximize=False)
    (parent,), members = tracked(root)
    assert {m.data.tags["mlflow.parentRunId"] for m in members} == {parent.info.run_id}
    assert {m.data.params["depth"]: m.data.metrics["fit/loss"] for m in members} == {"2": 15.0, "5": 6.0}
    assert (parent.data.params["depth"], parent.data.params["rows"]) == ("2,5", "6")
    assert parent.data.tags["mlops_nb.best"] == done.members[1].run
    assert parent.info.status == "FINISHED"
    all_is_delivered(root)
    client = MlflowClient(settings(root).tracking_uri)
    history = client.get_metric_history(parent.info.run_id, "fit/loss")
    assert {(m.step, m.value) for m in history} == {(1, 15.0), (2, 6.0)}
    files = {f.path for f in client.list_artifacts(parent.info.run_id)}
    assert {"comparison.html", "comparison.csv", "comparison.json", "sweep.json"} <= files


LIMITS = {  # how many jobs, pipeline.toml, whether the members meet
    "two places": (2, "", True),
    "one place": (1, "", False),
    "one of a resource": (2, "[resources]\ndb = 1\n[steps.meet]\nresources = {db = 1}\n", False),
}


@pytest.mark.parametrize("name", LIMITS)
def test_members_run_at_once_unless_a_place_or_a_resource_is_short(root, write, tmp_path, name):
    jobs, toml, together = LIMITS[name]
    folder, patience = root / "pipelines" / "fan", 120 if together else 3
    wait = (
        f"import time\nfrom pathlib import Path\nplace = Path({str(tmp_path)!r})\n(place / str(me)).touch()\n"
        f"deadline = time.monotonic() + {patience}\nother = place / str(3 - me)\n"
        "while not other.exists() and time.monotonic() < deadline:\n    time.sleep(0.05)\n"
        "step.log(met=other.exists())"
    )
    write(folder / "01_meet.ipynb", USE, wait, parameters="me: int = 1")
    (folder / "pipeline.toml").write_text(toml)
    done = sweep(read_pipeline(folder), {"me": "1,2"}, jobs=jobs)
    assert sorted(m.metrics["meet/met"] for m in done.members) == ([1, 1] if together else [0, 1])


def test_a_member_that_fails_does_not_stop_the_others_and_goes_on_when_the_cause_is_mended(root, write, fit):
    write(fit / "02_fit.ipynb", USE, "1 / (depth - 4)", LOSS, parameters="depth: int = 3")
    said, _, code = call(root, "sweep", "fit", "-p", "depth=2,4,5", "--metric", "loss", "--minimize")
    assert code == 1
    assert "2: depth=4 failed: step `fit` failed in cell 4" in said
    assert "ZeroDivisionError" in said
    assert "mlops-nb run fit -p depth=5" in said
    (found,) = list_sweeps(root)
    assert [m.status for m in found.members] == ["FINISHED", "FAILED", "FINISHED"]
    kept = found.members[0].run
    write(fit / "02_fit.ipynb", USE, LOSS, parameters="depth: int = 3")
    said, _, code = call(root, "sweep", "--resume", found.id[:8])
    assert code == 0, said
    assert "the notebooks have changed" in said
    (again,) = list_sweeps(root)
    assert ([m.status for m in again.members], again.members[0].run) == (["FINISHED"] * 3, kept)


def when(root: Path, condition, seconds: float = 120) -> None:
    "Wait until something is true of the members of the only sweep."
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if list(root.glob(".mlops_nb/sweeps/*/sweep.json")) and condition(list_sweeps(root)[0].members):
            return
        time.sleep(0.05)
    raise TimeoutError("it did not come to that")


def slow(write, fit: Path) -> None:
    write(fit / "02_fit.ipynb", USE, "import time\ntime.sleep(0.7)", LOSS, parameters="depth: int = 3")


def enough(members: list) -> bool:
    "Whether two have finished, and another one runs."
    return sum(m.status == "FINISHED" for m in members) >= 2 and any(m.status == "RUNNING" for m in members)


def test_a_sweep_that_is_killed_goes_on_and_nothing_is_in_mlflow_twice(root, write, fit):
    slow(write, fit)
    process = start(root, "sweep", "fit", "-p", "depth=range(1,7)", "--metric", "loss", "--minimize", "--jobs", "2")
    when(root, enough)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    (found,) = list_sweeps(root)
    assert found.record.status == "KILLED"
    kept = {m.number: m.run for m in found.members if m.status == "FINISHED"}
    said, error, code = call(root, "sweep", "--resume", found.id[:6])
    assert code == 0, said + error
    (again,) = list_sweeps(root)
    assert [m.parameters["depth"] for m in again.members] == list(range(1, 7))
    assert {n: m.run for n in kept for m in again.members if m.number == n} == kept
    (parent,), members = tracked(root)
    finished = [m.data.tags["mlops_nb.member"] for m in members if m.info.status == "FINISHED"]
    assert sorted(finished) == list("123456")
    assert {m.data.tags["mlflow.parentRunId"] for m in members} == {parent.info.run_id}
    assert parent.info.status == "FINISHED"
    history = MlflowClient(settings(root).tracking_uri).get_metric_history(parent.info.run_id, "fit/loss")
    assert sorted(m.step for m in history) == list(range(1, 7))
    drawn = [m for r in list_runs(root) for m in r.manifests() if (m.step, m.status) == ("draw", "FINISHED")]
    assert sum(not m.cached for m in drawn) == 1


def test_ctrl_c_stops_the_members_in_order_and_shows_what_there_is(root, write, fit):
    slow(write, fit)
    process = start(root, "sweep", "fit", "-p", "depth=range(1,7)", "--metric", "loss", "--minimize", "--jobs", "2")
    when(root, enough)
    process.send_signal(signal.SIGINT)
    said, error = process.communicate(timeout=60)
    assert process.returncode == 130, said + error
    assert re.search(r"^✓ +(\d) +\1 +\d+ ", said, re.MULTILINE)  # number, depth and loss, in the table
    (found,) = list_sweeps(root)
    assert found.record.status == "KILLED"
    assert {m.status for m in found.members} == {"FINISHED", "KILLED"}
    assert {r.status for r in list_runs(root)} == {"FINISHED", "KILLED"}
    all_is_delivered(root)
    said, error, code = call(root, "sweep", "--resume", found.id)
    assert code == 0, said + error
    assert [m.status for m in list_sweeps(root)[0].members] == ["FINISHED"] * 6


def test_a_sweep_stops_early_when_asked_and_goes_on_when_asked_for_more(root, fit):
    how = {"metric": "loss", "maximize": False, "jobs": 1}
    done = sweep(read_pipeline(fit), {"depth": "range(1,9)"}, stop_when="loss <= 5", **how)
    assert (len(done.members), done.record.status) == (4, "FINISHED")
    assert "stopped early" in done.record.note
    same = resume_sweep(read_pipeline(fit), list_sweeps(root)[0])
    assert len(same.members) == 4
    more = resume_sweep(read_pipeline(fit), same, stop_when="")
    assert len(more.members) == 8


def test_optuna_comes_near_the_optimum_and_does_the_same_with_the_same_seed(root, fit):
    how = {"trials": 15, "seed": 3, "metric": "loss", "maximize": False, "jobs": 1}
    one, two = (sweep(read_pipeline(fit), {"depth": "lin(1,40)"}, "optuna", **how) for _ in range(2))
    assert [m.parameters for m in one.members] == [m.parameters for m in two.members]
    assert abs(one.comparison().best["parameters"]["depth"] - 5) <= 2
    assert (
        one.members[0].parameters
        != sweep(read_pipeline(fit), {"depth": "lin(1,40)"}, "optuna", **how | {"seed": 4, "trials": 1})
        .members[0]
        .parameters
    )


def test_a_server_that_is_away_does_not_stop_a_sweep_and_gets_it_once_later(root, fit, tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()
    server = TrackingServer(folder)
    said, error, code = call(root, "sweep", "fit", "-p", "depth=2,5", MLFLOW_TRACKING_URI=server.address)
    assert code == 0, said + error
    assert "mlops-nb sync" in said
    assert len(outbox(settings(root).home)) == 3
    try:
        server.start()
        for _ in range(2):
            said, error, code = call(root, "sync", MLFLOW_TRACKING_URI=server.address)
            assert code == 0, said + error
        (parent,), members = tracked(root, server.address)
        assert [m.data.tags["mlflow.parentRunId"] for m in members] == [parent.info.run_id] * 2
    finally:
        server.kill()
    all_is_delivered(root)


@pytest.fixture
def typed(root, fit, monkeypatch):
    "The command in this process, for what starts nothing."
    monkeypatch.chdir(root)
    return lambda *words: CliRunner().invoke(main, ["sweep", "fit", *words])


def test_all_that_is_wrong_is_said_before_anything_starts(root, typed):
    done = typed("-p", "depth=2,x", "-p", "rows=log(0,1,3)", "-p", "dept=1,2")
    assert done.exit_code == 2
    for part in ("'x' was given", "rows=log(0,1,3): it does not rise from above 0", "no step has the parameter `dept`"):
        assert part in done.output
    assert not (root / ".mlops_nb" / "sweeps").exists()


WRONG = {
    "no range": (("-p", "depth=2"), "no parameter has several values"),
    "no end": (("-p", "depth=lin(1,9)"), "has no number of values"),
    "no number of trials": (("-p", "depth=2,4", "--search", "random"), "does not know how many"),
    "no aim": (("-p", "depth=2,4", "--search", "optuna", "--trials", "2"), "--metric"),
    "no such search": (("-p", "depth=2,4", "--search", "rendom"), "did you mean `random`"),
    "no rule": (("-p", "depth=2,4", "--stop-when", "loss is low"), "makes no sense"),
    "not among the steps": (("-p", "depth=2,4", "--to", "draw"), "none of the steps that run"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_sweep_that_makes_no_sense_is_refused(typed, name):
    words, message = WRONG[name]
    done = typed(*words)
    assert (done.exit_code, message in done.output) == (2, True), done.output


def test_an_unknown_metric_ends_the_sweep_and_names_those_that_there_are(root, fit):
    _, error, code = call(root, "sweep", "fit", "-p", "depth=range(1,9)", "--metric", "auc", "--jobs", "1")
    assert code == 2
    assert "fit/loss" in error
    (found,) = list_sweeps(root)
    assert len(found.members) == 1
    said, error, code = call(root, "sweep", "--resume", found.id, "--metric", "loss", "--minimize")
    assert code == 0, said + error
    assert list_sweeps(root)[0].comparison().best["parameters"] == {"depth": 5}


def test_a_dry_run_says_what_runs_once_and_runs_nothing(root, typed):
    done = typed("-p", "depth=2,4", "--dry-run")
    assert done.exit_code == 0
    for said in ("2: depth=4", "draw runs once, for all", "fit runs for each: its parameter depth"):
        assert said in done.output
    assert list_runs(root) == []


def test_a_second_ctrl_c_ends_a_member_that_does_not_listen(root, write, fit):
    deaf = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(300)"
    write(fit / "02_fit.ipynb", USE, deaf, LOSS, parameters="depth: int = 3")
    process = start(root, "sweep", "fit", "-p", "depth=2,4", "--jobs", "2")
    when(root, lambda members: len(list(root.glob(".mlops_nb/runs/*/fit/context.json"))) == 2)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    said, error = process.communicate(timeout=60)
    assert process.returncode == 130, said + error
    assert [m.status for m in list_sweeps(root)[0].members] == ["KILLED"] * 2


def test_a_sweep_is_shown_ended_and_not_taken_for_a_run(root, write, fit):
    slow(write, fit)
    process = start(root, "sweep", "fit", "-p", "depth=range(1,7)", "--jobs", "1")
    when(root, lambda members: members and members[0].run)
    (found,) = list_sweeps(root)
    _, error, code = call(root, "cancel", found.members[0].run)
    assert (code, f"mlops-nb cancel {found.id[:8]}" in error) == (2, True), error
    _, error, code = call(root, "sweep", "--resume", found.id)
    assert (code, "is going on" in error) == (2, True), error
    assert call(root, "cancel", found.id)[2] == 0
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert "killed in" in call(root, "show", found.id)[0]
    assert "is a sweep" in call(root, "reproduce", found.id)[1]
    assert f"sweep --resume {found.id[:8]}" in call(root, "resume", found.id)[1]
