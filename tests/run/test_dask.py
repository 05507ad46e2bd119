"""The same pipelines on a Dask cluster, whose machines come, go, and do not see our disk."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from clusters import cluster
from mlflow import MlflowClient
from projects import make_project
from quick import quickly

from mlops_nb.cli import main
from mlops_nb.config import settings
from mlops_nb.data.versions import versions
from mlops_nb.errors import ConfigError, ExecutorError
from mlops_nb.run import dask_cluster, dask_executor
from mlops_nb.run.control import resume
from mlops_nb.run.delivery import deliver
from mlops_nb.run.execute import run_pipeline
from mlops_nb.run.executors import open_executor
from mlops_nb.run.pipeline import read_pipeline
from mlops_nb.run.record import list_runs
from mlops_nb.run.store import Store

USE = "from mlops_nb import step"


@pytest.fixture(scope="module")
def dask(tmp_path_factory):
    "A scheduler and three workers, of which one has a gpu."
    with cluster(tmp_path_factory.mktemp("cluster"), {"one": [], "two": [], "gpu": ["--resources", "gpu=1"]}) as made:
        yield made


@pytest.fixture
def far(dask, empty_store, tmp_path, monkeypatch):
    "The folder of a project that no machine of the cluster can open, with a store that all can."
    monkeypatch.setenv("MLOPS_NB_CACHE", f"file://{tmp_path}/bucket")
    place = dask.hidden / tmp_path.name
    place.mkdir(parents=True)
    yield make_project(place, empty_store)
    shutil.rmtree(place)


@pytest.fixture
def sums(write):
    "Write two notebooks into a project: one draws numbers, the other adds them up."

    def make(root: Path, *cells: str) -> Path:
        folder = root / "pipelines" / "sums"
        write(folder / "01_draw.ipynb", USE, "step.save('numbers', list(range(rows)))", parameters="rows: int = 4")
        write(folder / "02_total.ipynb", USE, "step.save('total', sum(step.load('numbers')))", *cells)
        return folder

    return make


def outputs(run) -> dict[str, str]:
    return {o.name: o.digest for m in run.manifests() for o in m.outputs}


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int, seconds: float = 10) -> bool:
    "Whether a process ends soon."
    deadline = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_alive(pid)


def test_where_the_folder_is_shared_steps_run_in_place(root, sums, dask):
    folder = sums(root, "import os", "step.note(os.getcwd())", "step.attach('a.txt', 'hello')")
    told = []
    with quickly():
        run = run_pipeline(
            read_pipeline(folder), executor=dask.address, watch=lambda event, **facts: told.append((event, facts))
        )
        local = run_pipeline(read_pipeline(folder), cache=False)
    total = run.manifests()[1]
    assert (run.status, total.notes) == ("FINISHED", (str(folder),))
    assert (run.folder / "total" / "attachments" / "a.txt").read_text() == "hello"
    assert sorted(p.name for p in (run.folder / "total").iterdir()) == sorted(
        p.name for p in (local.folder / "total").iterdir()
    )
    assert not (run.folder / ".started").exists()
    assert outputs(run) == outputs(local)
    assert run.runner["executor"]["scheduler"] == dask.address
    assert [facts["cell"] for event, facts in told if event == "cell" and facts["step"] == "total"] == [
        1,
        2,
        3,
        4,
        5,
        6,
    ]
    assert any("watch them at http://127.0.0.1" in facts["text"] for event, facts in told if event == "note")


def test_the_cache_of_a_local_run_serves_one_on_the_cluster(root, sums, dask):
    folder = sums(root)
    with quickly():
        local = run_pipeline(read_pipeline(folder))
        run = run_pipeline(read_pipeline(folder), executor=dask.address)
    assert [m.cached for m in run.manifests()] == [local.id] * 2


def test_of_a_fan_of_64_with_a_worker_killed_all_are_done_once_and_as_they_are_locally(far, dask, write):
    folder = far / "pipelines" / "fan"
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "__init__.py").touch()
    (folder / "lib" / "feats.py").write_text("from .deep import factor\ndef scale(x): return factor() * x\n")
    (folder / "lib" / "deep.py").write_text("def factor(): return 3\n")
    (folder / "rows.csv").write_text("5\n6\n")
    for i in range(64):
        cells = ["from lib.feats import scale", f"step.save('part_{i}', scale({i}) + int(next(open('rows.csv'))))"]
        write(folder / f"{i:02}_part{i}.ipynb", USE, *cells)
    done = []

    def watch(event, **facts):
        if event == "done":
            done.append(facts["step"])
        if event == "cell" and len(done) >= 20 and "one" in dask.workers:
            dask.kill("one")

    with quickly():
        run = run_pipeline(read_pipeline(folder), executor=dask.address, watch=watch)
        dask.add("four")
        shutil.rmtree(far / ".mlops_nb" / "cache")
        os.environ.pop("MLOPS_NB_CACHE")
        local = run_pipeline(read_pipeline(folder))
    assert "one" not in dask.workers
    assert len(done) == 64
    assert run.status == "FINISHED"
    assert outputs(run) == outputs(local)
    assert not any(m.cached for m in local.manifests())
    store = Store(settings(far).home)
    assert [store.get(m.outputs[0]) for m in run.manifests()] == [3 * i + 5 for i in range(64)]
    deliver(run.id, far)
    client = MlflowClient(settings(far).tracking_uri)
    parent = run.tracked()[""]
    experiment = client.get_run(parent).info.experiment_id
    found = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'", max_results=1000)
    assert sorted(r.info.run_name for r in found) == sorted(f"part{i}" for i in range(64))
    assert {r.info.status for r in found} == {"FINISHED"}


def test_snapshots_and_attachments_come_back_from_afar(far, dask, write):
    folder = far / "pipelines" / "snap"
    write(
        folder / "01_take.ipynb",
        "import os\nimport pandas as pd\nfrom mlops_nb import step\nfrom mlops_nb.data.versions import snapshot",
        "version = snapshot(pd.DataFrame({'x': [1, 2]}), 'points')\nstep.note(version.digest)",
        "step.attach('deep/a.txt', os.getcwd())",
    )
    told = []
    with quickly():
        run = run_pipeline(
            read_pipeline(folder), executor=dask.address, watch=lambda event, **facts: told.append(facts.get("text"))
        )
    assert "cells that talk to MLflow themselves will not reach it from there: it needs a server" in told

    (version,) = versions("points", settings(far).home)
    assert run.manifests()[0].notes == (version.digest,)
    assert version.run == run.id
    (told,) = run.manifests()[0].versions
    assert (told["role"], told["version"], told["path"]) == ("output", version.version, version.path)
    assert version.read()["x"].tolist() == [1, 2]
    assert str(far) not in (run.folder / "take" / "attachments" / "deep" / "a.txt").read_text()


def test_a_step_that_takes_a_gpu_runs_where_there_is_one(far, dask, write):
    folder = far / "pipelines" / "gpu"
    for i in range(4):
        write(folder / f"{i:02}_fit{i}.ipynb", USE, f"import os\nstep.save('place{i}', os.getcwd())")
    limits = "[resources]\ngpu = 1\ndb = 1\n"
    (folder / "pipeline.toml").write_text(
        limits + "".join(f"[steps.fit{i}]\nresources = {{gpu = 1, db = 1}}\n" for i in range(4))
    )
    told = []
    with quickly():
        run = run_pipeline(
            read_pipeline(folder), executor=dask.address, watch=lambda event, **facts: told.append(facts.get("text"))
        )
    store = Store(settings(far).home)
    places = {str(store.get(m.outputs[0])).split(str(dask.folder))[1].split("/")[1] for m in run.manifests()}
    assert places == {"gpu"}
    assert "no Dask worker declares `db`: it is counted, and does not decide where a step runs" in told
    (folder / "pipeline.toml").write_text("[resources]\ngpu = 2\n[steps.fit0]\nresources = {gpu = 2}\n")
    with pytest.raises(ConfigError, match="`fit0` takes 2 of `gpu`, and no Dask worker has more than 1"):
        run_pipeline(read_pipeline(folder), executor=dask.address)


BOOST = """
import dask.dataframe as dd, numpy as np, pandas as pd, xgboost as xgb
from dask.distributed import Client, wait
from mlops_nb import step
from xgboost import dask as far_xgb
client = Client()
rng = np.random.default_rng(0)
df = pd.DataFrame(rng.normal(size=(3000, 4)), columns=list("abcd"))
df["y"] = ((df.a + df.b * df.c + rng.normal(scale=0.3, size=3000)) > 0).astype(int)
parts = dd.from_pandas(df, npartitions=6).persist()
wait(parts)
how = {"objective": "binary:logistic", "tree_method": "hist", "max_depth": 3, "nthread": 1}
given = far_xgb.DaskDMatrix(client, parts.drop(columns="y"), parts["y"])
far = far_xgb.train(client, how, given, num_boost_round=20)["booster"]
near = xgb.train(how, xgb.DMatrix(df.drop(columns="y"), df["y"]), num_boost_round=20)
own = xgb.DMatrix(df.drop(columns="y"))
right = {name: float(((model.predict(own) > 0.5) == df["y"]).mean()) for name, model in (("far", far), ("near", near))}
step.log(workers=len(client.nthreads()), **right)
"""
SEARCH = """
import joblib
from dask.distributed import Client
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from mlops_nb import step
client = Client()
search = GridSearchCV(LogisticRegression(max_iter=500), {"C": [0.01, 0.1, 1.0]}, cv=3)
X, y = load_iris(return_X_y=True)
with joblib.parallel_backend("dask"):
    far = search.fit(X, y).cv_results_["mean_test_score"].tolist()
step.log(equal=far == search.fit(X, y).cv_results_["mean_test_score"].tolist())
"""


def test_cells_train_xgboost_and_search_with_scikit_learn_on_the_same_cluster(far, dask, write):
    folder = far / "pipelines" / "large"
    write(folder / "01_boost.ipynb", BOOST)
    write(folder / "02_search.ipynb", SEARCH)
    write(folder / "03_again.ipynb", SEARCH)
    with quickly():  # three steps for three places, of which each waits for tasks of its own
        run = run_pipeline(read_pipeline(folder), executor=dask.address, timeout=120)
    assert run.status == "FINISHED", run.error()
    boost, search, again = (m.metrics for m in run.manifests())
    assert boost["workers"] == 3
    assert boost["near"] > 0.88
    assert abs(boost["far"] - boost["near"]) < 0.03  # the cuts depend on who holds which rows
    assert search == again == {"equal": 1}


def test_a_failing_step_quotes_its_cell_and_stops_those_after_it(far, sums, dask):
    folder = sums(far, "1 / 0")
    with quickly():
        run = run_pipeline(read_pipeline(folder), executor=dask.address)
    assert run.status == "FAILED"
    failure = run.manifests()[1].failure
    assert (failure.error, failure.source, failure.cell) == ("ZeroDivisionError", "1 / 0", 4)
    assert "ZeroDivisionError" in (run.folder / "total" / "02_total.ipynb").read_text()


SLOW = "import os, time\nopen(pid, 'w').write(str(os.getpid()))\nfor i in range(600): time.sleep(0.1)"


@pytest.fixture
def slow(root, write, tmp_path):
    "A pipeline of one step that says its process's id and sleeps; and the file where it says so."
    folder, pid = root / "pipelines" / "slow", tmp_path / "pid"
    write(folder / "01_sleep.ipynb", "print('before')", SLOW, parameters=f"pid: str = {str(pid)!r}")
    return folder, pid


def wait_for(path: Path) -> int:
    deadline = time.monotonic() + 30
    while not (path.exists() and path.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return int(path.read_text())


def test_ctrl_c_ends_the_step_in_order_and_keeps_its_notebook(root, slow, dask):
    folder, pid = slow

    def watch(event, **facts):
        if event == "cell" and facts["cell"] == 3:
            wait_for(pid)
            raise KeyboardInterrupt

    with quickly(), pytest.raises(KeyboardInterrupt):
        run_pipeline(read_pipeline(folder), executor=dask.address, watch=watch)
    (run,) = list_runs(root)
    assert (run.status, run.manifests()[0].status) == ("KILLED", "KILLED")
    assert "before" in (run.folder / "sleep" / "01_sleep.ipynb").read_text()
    assert gone(int(pid.read_text()))


def test_a_step_over_its_time_is_interrupted(root, slow, dask):
    folder, pid = slow
    (folder / "pipeline.toml").write_text("[steps.sleep]\ntimeout = 3\n")
    with quickly():
        run = run_pipeline(read_pipeline(folder), executor=dask.address)
    assert run.manifests()[0].failure.error == "TimeLimit"
    assert "before" in (run.folder / "sleep" / "01_sleep.ipynb").read_text()
    assert gone(int(pid.read_text()))


def test_when_the_runner_is_killed_its_steps_end_on_the_cluster(root, slow, dask):
    _folder, pid = slow
    command = f"from quick import begin; import sys; sys.argv = ['x', 'run', 'slow', '--executor', '{dask.address}']"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{command}; begin()"], cwd=root, stdout=subprocess.DEVNULL, start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    kernel = wait_for(pid)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert gone(kernel)
    assert list_runs(root)[0].status == "KILLED"


def test_losses_are_named_and_a_lost_scheduler_leaves_a_run_to_resume(root, slow, tmp_path):
    folder, pid = slow
    strict = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    with cluster(tmp_path / "small", {"only": []}, **strict) as small, quickly():

        def kill(name):
            def watch(event, **facts):
                if event == "cell" and facts["cell"] == 3 and small.scheduler.poll() is None:
                    wait_for(pid)
                    small.kill(name)

            return watch

        run = run_pipeline(read_pipeline(folder), executor=small.address, watch=kill("only"))
        assert run.status == "FAILED"
        assert "each Dask worker that ran it was lost" in run.manifests()[0].failure.message
        assert gone(int(pid.read_text()))
        pid.unlink()
        small.add("next")
        with pytest.raises(ExecutorError, match="the Dask scheduler went away") as caught:
            run_pipeline(read_pipeline(folder), executor=small.address, watch=kill("scheduler"))
        lost = list_runs(root)[0]
        assert caught.value.exit_code == 3
        assert f"mlops-nb resume {lost.id[:8]}" in caught.value.fix
        assert lost.status == "FAILED"
        assert gone(int(pid.read_text()))
        notebook = folder / "01_sleep.ipynb"
        notebook.write_text(notebook.read_text().replace("range(600)", "range(1)"))
        assert resume(read_pipeline(folder), lost).status == "FINISHED"


def test_without_shared_folder_and_store_nothing_starts(far, sums, dask, monkeypatch):
    folder = sums(far)
    monkeypatch.delenv("MLOPS_NB_CACHE")
    with pytest.raises(ConfigError) as caught:
        run_pipeline(read_pipeline(folder), executor=dask.address)
    assert "mount the project" in caught.value.fix
    assert "cache = " in caught.value.fix
    monkeypatch.setenv("MLOPS_NB_CACHE", f"file://{far}/bucket")
    with pytest.raises(ConfigError, match="cannot use the shared store file://"):
        run_pipeline(read_pipeline(folder), executor=dask.address)
    assert list_runs(far) == []


def test_other_versions_are_refused_by_name(dask, monkeypatch):
    own = dask_executor.versions()
    monkeypatch.setattr(dask_executor, "versions", lambda: own | {"mlops_nb": "9.9"})
    with pytest.raises(ExecutorError, match=rf"has mlops_nb {own['mlops_nb']}, and here it is 9.9"):
        open_executor(dask.address)


def test_a_bad_address_is_told_with_the_right_exit_code(root, sums, monkeypatch):
    monkeypatch.setattr(dask_cluster, "TIMEOUT", 0.5)
    sums(root)
    monkeypatch.chdir(root)
    with quickly():
        nobody = CliRunner().invoke(main, ["run", "sums", "--executor", "dask=tcp://127.0.0.1:1"])
        nonsense = CliRunner().invoke(main, ["run", "sums", "--executor", "dusk"])
        held = CliRunner().invoke(main, ["run", "sums", "--executor", "tcp://no.such.host.invalid:1"])
    assert (nobody.exit_code, nonsense.exit_code, held.exit_code) == (3, 2, 3)
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in nobody.output
    assert list_runs(root) == []


def test_without_dask_the_fix_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError) as caught:
        open_executor("dask=tcp://127.0.0.1:1")
    assert caught.value.fix == "pip install mlops_nb[dask]"


def test_a_local_run_does_not_import_dask():
    code = "import sys, mlops_nb.run.execute, mlops_nb.cli; print('distributed' in sys.modules, 'dask' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def is_refused(address: str) -> bool:
    try:
        open_executor(address)[1]()
    except ExecutorError:
        return True
    return bool(time.sleep(0.5))


def test_a_cluster_of_our_own_lives_as_long_as_the_run(root, sums, monkeypatch):
    folder = sums(root, "import os", "step.note(os.environ['DASK_SCHEDULER_ADDRESS'])")
    (folder / "pipeline.toml").write_text('executor = "dask"\n')
    with quickly():
        run = run_pipeline(read_pipeline(folder))
    assert run.status == "FINISHED"
    monkeypatch.setattr(dask_cluster, "TIMEOUT", 0.5)
    address = run.runner["executor"]["scheduler"]
    assert run.manifests()[1].notes == (address,)
    assert any(is_refused(address) for _ in range(20))
