"""`mlops-nb reproduce`: the same run again, beside a clone that must not notice; and what makes it impossible."""

import json
import shutil
import signal
import subprocess
import time

import pytest
from clones import COMMAND, USE, Sums
from mlflow import MlflowClient

from mlops_nb.errors import ConfigError
from mlops_nb.run.packages import build_environment
from mlops_nb.run.record import Run


def pipeline(project: Sums) -> None:
    "A step that reads a file and uses a module, one that counts, and one that acts on the world."
    project.notebook("01_draw.ipynb", USE + "\nfrom feats import clean", "df = clean(pd.read_csv('raw/numbers.csv'))",
                     "step.save('numbers', df)", "print('at', id(df) and object())")  # fmt: skip
    project.notebook("02_total.ipynb", USE, "total = factor * float(step.load('numbers')['value'].sum())",
                     "step.save('total', total)\nstep.log(total=total)", parameters="factor: float = 1.0")  # fmt: skip
    project.notebook("03_mail.ipynb", USE, "step.load('total')\nopen(path, 'a').write('a mail\\n')",
                     "step.save('sent', 1)", parameters="path: str = ''")  # fmt: skip
    project.notebook("04_report.ipynb", USE, "step.log(reported=step.load('total') + step.load('sent'))")
    mails = project.folder / "mails"
    project.write("pipeline.toml", f"[parameters]\n\"mail.path\" = '{mails}'\n[steps.mail]\ncache = false\n")
    project.write("feats.py", "def clean(df):\n    return df.dropna()\n")
    project.write("raw/numbers.csv", "id,value\n1,10\n2,20\n3,30\n")
    (project.root / ".gitignore").write_text("raw/\n")


@pytest.fixture(scope="module")
def sums(tmp_path_factory, empty_store):
    project = Sums(tmp_path_factory.mktemp("reproduce"), empty_store)
    pipeline(project)
    project.begin()
    return project


@pytest.fixture(scope="module")
def run(sums):
    "A run of code that was never committed, since when the clone has gone on."
    sums.write("feats.py", "def clean(df):\n    return df.dropna() * 2\n")
    made = sums.run("-p", "factor=2")
    sums.git("clone", "-q", str(sums.root), str(sums.folder / "two"))
    sums.write("feats.py", "raise SystemExit('not this code')\n")
    return made


def leftovers(project: Sums) -> list:
    "What an ended repetition has left behind."
    trees = project.git("worktree", "list").splitlines()[1:]
    return [*trees, *project.temporary.iterdir()]


def test_the_run_is_made_again_from_commit_patch_and_data(sums, run):
    lock = sums.folder / "home" / "runs" / run / "environment" / "requirements.txt"
    text = lock.read_text()
    lock.write_text(text.replace("\nnumpy==", "\nnumpy==0.0.1+then."))
    newest = {p: p.read_text() for p in (sums.folder / "home" / "newest").rglob("*.json")}
    status = sums.git("status", "--short")
    done = sums.call("reproduce", run[:8])
    lock.write_text(text)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "numpy 0.0.1+then." in done.stdout
    assert "4 of 4 metrics and outputs are equal" in done.stdout
    assert "mail has cache = false" in done.stdout
    assert (sums.folder / "mails").read_text() == "a mail\n"
    assert {p: p.read_text() for p in (sums.folder / "home" / "newest").rglob("*.json")} == newest
    assert sums.git("status", "--short") == status
    assert leftovers(sums) == []


def test_mlflow_says_what_the_new_run_repeats(sums, run):
    client = MlflowClient(sums.environment["MLFLOW_TRACKING_URI"])
    (home,) = [e.experiment_id for e in client.search_experiments() if e.name == "sums"]
    (again,) = client.search_runs([home], f"tags.`mlops_nb.reproduces` = '{run}'")
    assert again.data.tags["mlops_nb.kind"] == "pipeline"
    assert again.data.metrics["total/total"] == 240.0


def test_a_file_that_is_missing_stops_it_before_it_starts(sums, run):
    done = sums.call("reproduce", run, cwd=sums.folder / "two")
    assert done.returncode == 2
    assert "raw/numbers.csv (step `draw`" in done.stderr
    assert "✓" not in done.stdout
    assert leftovers(sums) == []


def test_a_file_that_has_changed_is_told_and_so_is_what_comes_of_it(sums, run):
    raw = sums.folder / "two" / "pipelines" / "sums" / "raw"
    raw.mkdir()
    (raw / "numbers.csv").write_text("id,value\n1,10\n2,20\n3,31\n")
    done = sums.call("reproduce", run, "--json", cwd=sums.folder / "two")
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert any("raw/numbers.csv is not the file that step `draw` read" in note for note in found["notes"])
    verdicts = {row["name"]: row["verdict"] for row in found["rows"]}
    assert verdicts["total/total"] == "+4, +1.67%"
    assert "value differs in 1 row" in verdicts["draw:numbers"]
    assert found["equal"] is False


def test_a_run_that_only_mlflow_knows(sums, run):
    "As a colleague would, with a store of her own; the last two steps need outputs that her store does not hold."
    clone = sums.folder / "two"
    shutil.copytree(sums.root / "pipelines" / "sums" / "raw", clone / "pipelines" / "sums" / "raw", dirs_exist_ok=True)
    done = sums.call("reproduce", run, cwd=clone, MLOPS_NB_HOME=str(sums.folder / "hers"))
    assert done.returncode == 2
    assert "`sent`" in done.stderr
    done = sums.call("reproduce", run, "--all", "--json", cwd=clone, MLOPS_NB_HOME=str(sums.folder / "hers"))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert all(row["verdict"] == "equal" for row in found["rows"])
    assert "they are as they are here" in found["notes"][0]
    assert (sums.folder / "mails").read_text() == "a mail\n" * 2


def test_a_commit_that_is_not_in_this_clone(sums, run):
    stranger = sums.folder / "stranger"
    stranger.mkdir()
    sums.git("init", "-q", cwd=stranger)
    done = sums.call("reproduce", run, cwd=stranger)
    assert done.returncode == 2
    assert "which is not in this clone\n  fix: git fetch --all" in done.stderr


def test_ctrl_c_leaves_nothing_behind(sums, run):
    with open(sums.folder / "said", "w") as said:
        process = subprocess.Popen([COMMAND, "reproduce", run], cwd=sums.root, env=sums.environment,
                                   stdout=said, stderr=said)  # fmt: skip
    deadline = time.monotonic() + 60
    while len(sums.git("worktree", "list").splitlines()) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130, (sums.folder / "said").read_text()
    assert leftovers(sums) == []


def test_an_environment_that_cannot_be_had(tmp_path, monkeypatch):
    for name in ("UV_OFFLINE", "PIP_NO_INDEX"):
        monkeypatch.setenv(name, "1")
    run = Run("1" * 32, "", "", "FINISHED", "", folder=tmp_path)
    with pytest.raises(ConfigError, match="no record of its environment"):
        build_environment(run, tmp_path)
    (tmp_path / "environment").mkdir()
    (tmp_path / "environment" / "requirements.txt").write_text("# Python 3.11.2 on Linux x86_64\nnumpy==0.0.1\n")
    with pytest.raises(ConfigError, match="cannot be built"):
        build_environment(run, tmp_path)


def test_outside_git_the_present_files_will_do_while_they_are_the_same(tmp_path, empty_store):
    project = Sums(tmp_path, empty_store)
    project.notebook("01_total.ipynb", USE + "\nfrom feats import add", "step.log(total=add(1, 2))")
    project.write("feats.py", "def add(x, y):\n    return x + y\n")
    (project.root / "settings.ini").touch()
    run = project.run()
    done = project.call("reproduce", run)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 metrics and outputs are equal" in done.stdout
    project.write("feats.py", "def add(x, y):\n    return x - y\n")
    done = project.call("reproduce", run)
    assert done.returncode == 2
    assert "the code of step `total` has changed since" in done.stderr
