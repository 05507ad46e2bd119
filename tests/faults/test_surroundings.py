"""What fails around a run: the tracking server, the disk, the cache, the clock, the notebooks themselves."""

import json
import os
import resource
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from scene import MARK, Scene, forget, summary, wait_for
from servers import TrackingServer, broken_server, free_port, hanging_server

from mlops_nb.run.cache import StepCache, entries
from mlops_nb.run.manifest import read_journal, record
from mlops_nb.run.record import list_runs, outbox
from mlops_nb.run.store import Store


@pytest.fixture
def server(tmp_path, empty_store):
    "A tracking server that is not started yet."
    folder = tmp_path / "server"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    found = TrackingServer(folder)
    yield found
    found.kill()


def expect_waiting(scene: Scene, done, address: str, undisturbed, runs: int = 1, **environment: str) -> None:
    "A run has finished that MLflow does not have; to ask for it now is in vain, and does not take long."
    assert (done.code, scene.newest().status) == (0, "FINISHED"), done
    assert summary(scene.newest().manifests()) == undisturbed.summary
    assert done.says("MLflow does not have this run yet"), done
    assert done.says("when it is back: mlops-nb sync"), done
    assert len(outbox(scene.home)) == runs
    scene.expect_in_order()
    before = time.monotonic()
    done = scene.call("sync", **environment)
    assert (done.code, address in done.said) == (3, True), done
    assert time.monotonic() - before < 60
    assert len(outbox(scene.home)) == runs


@contextmanager
def absent_server():
    "An address at which nobody listens."
    yield f"http://127.0.0.1:{free_port()}"


SERVERS = {"refuses": absent_server, "answers 500": broken_server, "hangs": hanging_server}


@pytest.mark.parametrize("how", SERVERS)
def test_no_run_waits_for_a_server(scene, undisturbed, how):
    with SERVERS[how]() as address:
        bad = {"MLFLOW_TRACKING_URI": address, "MLFLOW_HTTP_REQUEST_TIMEOUT": "3"}  # [s]
        done = scene.start("run", "sums", courier=True, **bad).end()
        expect_waiting(scene, done, address, undisturbed, **bad)
    scene.expect_finished(done, undisturbed)  # with a server that works


def test_a_server_that_dies_in_the_middle_gets_each_run_once_when_it_is_back(scene, undisturbed, server):
    assert scene.call("run", "sums", "--to", "draw").code == 0  # two runs wait in the end
    there = {"MLFLOW_TRACKING_URI": server.address}
    server.start()
    scene.fault("total", MARK + "time.sleep(2)")
    runner = scene.start("run", "sums", courier=True, **there)
    scene.begun()
    server.kill()
    done = runner.end()
    assert done.says(server.address), done
    expect_waiting(scene, done, server.address, undisturbed, 2, **there)
    server.start()
    sync = scene.start("sync", **there)
    wait_for(lambda: any(run.tracked() for run in list_runs(scene.root)[1:]))
    sync.kill()
    assert outbox(scene.home)
    scene.uri = server.address
    done = scene.call("sync", **there)
    scene.expect_finished(done, undisturbed)


def test_a_folder_of_artifacts_that_cannot_be_written_keeps_the_run_waiting(known, undisturbed):
    blocked = known.root / "mlartifacts"
    blocked.write_text("no folder")
    done = known.start("run", "sums", "--wait", courier=True).end()
    expect_waiting(known, done, "mlflow.db", undisturbed)
    blocked.unlink()
    known.expect_finished(done, undisturbed)


@contextmanager
def small_disk(folder: Path, size: str):
    "A disk of its own for a folder."
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.getuid() or not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small disk takes the right to mount one")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


FILL = """
import shutil
free = shutil.disk_usage(step.context().home).free
open(step.context().home / "filler", "wb").write(bytes(max(free - {left}, 0)))
step.save("total", list(range(10**6)))
"""
FULL = {  # how much is left [bytes]: enough for the records of the run, or for nothing
    "the notebook": ("10**6", 1, "No space left on device"),
    "the runner": ("0", 3, "see that it can be written, and that the disk is not full"),
}


@pytest.mark.parametrize("who", FULL)
def test_a_full_disk_is_named_and_the_run_goes_on_when_there_is_room(bare, undisturbed, who):
    left, code, words = FULL[who]
    with small_disk(bare.home, "16m"):
        shutil.copytree(undisturbed.home, bare.home, dirs_exist_ok=True)
        forget(bare, "total")
        bare.fault("total", FILL.format(left=left))
        done = bare.start("run", "sums").end()
        assert (done.code, done.says(words)) == (code, True), done
        bare.expect_no_orphans()
        (bare.home / "filler").unlink()
        run = bare.newest()
        assert run.status == ("FAILED" if code == 1 else "KILLED")
        assert bare.statuses(run)["draw"] == "FINISHED"
        bare.expect_goes_on(run, undisturbed)


def test_a_store_that_cannot_be_written_is_named_before_anything_starts(bare, undisturbed):
    with small_disk(bare.home, "16m"):
        shutil.copytree(undisturbed.home, bare.home, dirs_exist_ok=True)
        subprocess.run(["mount", "-o", "remount,ro", str(bare.home)], check=True)
        done = bare.start("run", "sums").end()
        assert (done.code, done.says("Read-only file system")) == (3, True), done
        assert done.says("see that it can be written"), done
        bare.expect_no_orphans()
        assert bare.call("cache", "verify").code == 0
        assert list_runs(bare.root) == []
        subprocess.run(["mount", "-o", "remount,rw", str(bare.home)], check=True)
        bare.expect_finished(bare.call("run", "sums"), undisturbed)


def test_a_line_of_the_journal_that_a_full_disk_cuts_off_is_an_error_and_is_taken_back(tmp_path):
    record(tmp_path, "note", text="first")
    held, (soft, hard) = (tmp_path / "journal.jsonl").stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (held + 10, hard))  # room for the beginning of a line
    try:
        with pytest.raises(OSError, match="File too large"):
            record(tmp_path, "save", output={"name": "model"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    record(tmp_path, "note", text="last")
    assert [event["text"] for event in read_journal(tmp_path)] == ["first", "last"]


def test_what_a_power_cut_leaves_half_written_disturbs_nobody(scene, undisturbed):
    scene.fault("total", "assert False")
    assert scene.call("run", "sums").code == 1
    run = scene.newest()
    entry = next(scene.home.glob("cache/entries/*/*.json"))
    half = ["objects/.new-abc/object.json", f"{entry.parent.relative_to(scene.home)}/.{entry.stem}-x1.json"]
    half += [f"runs/{run.id}/.run-x1.json", f"runs/{run.id}/draw/.step-x1.json", f"runs/{run.id}/.tracked-x1.json"]
    half += ["newest/pipelines/sums/.numbers-x1.json", f"runs/{'0' * 32}/.run-x1.json"]
    for name in half:
        (scene.home / name).parent.mkdir(parents=True, exist_ok=True)
        (scene.home / name).write_text('{"half": "wri')
    assert scene.call("runs").code == scene.call("show", run.id).code == 0
    assert len(list_runs(scene.root)) == 1
    assert scene.call("cache", "gc", "--days", "0").code == 0
    scene.expect_goes_on(run, undisturbed)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def test_what_is_damaged_in_the_cache_is_said_and_made_anew(known, undisturbed):
    cache = StepCache(Store(known.home))
    kept = {entry.manifest.step: entry for entry, _ in entries(cache)}
    cut(cache.path(kept["draw"].key))
    cut(known.home / kept["total"].manifest.outputs[0].file)
    next(known.home / file.file for file in kept["report"].files if file.name == "03_report.ipynb").unlink()
    done = known.call("cache", "verify")
    assert (done.code, done.says("3 things are wrong; their steps will run again")) == (1, True), done
    done = known.call("run", "sums", "--why")
    assert done.says("draw runs: the cache entry is damaged"), done
    assert done.says("total runs: total is damaged in the cache"), done
    assert done.says("report runs: 03_report.ipynb is missing in the cache"), done
    known.expect_finished(done, undisturbed)


def test_a_damaged_record_of_an_old_run_is_named_and_holds_up_no_other(scene, undisturbed):
    scene.fault("total", "assert False")
    assert scene.call("run", "sums").code == 1
    old = scene.newest()
    other = scene.call("run", "sums", "--to", "draw")
    assert other.code == 0
    kept = (old.folder / "draw" / "step.json").read_bytes()
    cut(old.folder / "draw" / "step.json")
    for command in (["runs"], ["show", old.id], ["resume", old.id], ["sync"]):
        done = scene.call(*command)
        assert (done.code, done.says(f"{old.id}/draw/step.json is damaged")) == (2, True), done
    assert outbox(scene.home) == [old.id]
    assert len(list(scene.home.glob("runs/*/run.json"))) == 2  # the resume began nothing
    (old.folder / "draw" / "step.json").write_bytes(kept)
    scene.expect_goes_on(old, undisturbed)


JUMPS = """
from datetime import datetime, timedelta
from itertools import cycle
from mlops_nb.run import manifest
now, hours = manifest.now, cycle([0, -1, 24])
def jump():
    return (datetime.fromisoformat(now()) + timedelta(hours=next(hours))).isoformat(timespec="milliseconds")
manifest.now = jump
"""


def test_a_clock_that_jumps_lengthens_nothing(scene, undisturbed, tmp_path):
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(JUMPS)  # in every process of the run
    done = scene.start("run", "sums", path=(tmp_path / "clock",)).end()
    run = scene.expect_finished(done, undisturbed)
    assert len({m.started[:13] for m in run.manifests()}) > 1
    assert all(0 <= seconds < 120 for seconds in [run.seconds, *(m.seconds for m in run.manifests())])


CELLS = [
    {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": ["n: int = 1\n", "m: int = 2"]},
    {"cell_type": "code", "metadata": {}, "source": "from mlops_nb import step\nstep.log(n=n + m)"},
]
CELLS = [cell | {"outputs": [], "execution_count": None} for cell in CELLS]
SPEC = {"name": "python3", "display_name": "Python 3", "language": "python"}
WHOLE = {"nbformat": 4, "nbformat_minor": 4, "metadata": {"kernelspec": SPEC}, "cells": CELLS}  # 4.4 knows no ids


def spec(**facts: object) -> dict:
    return WHOLE | {"metadata": {"kernelspec": facts}}


def more(**cell: object) -> dict:
    return WHOLE | {"cells": [*CELLS, CELLS[1] | cell]}


REFUSED = {
    "cut off": (json.dumps(WHOLE)[:100], "is not JSON"),
    "empty": ("", "is not JSON"),
    "another encoding": (b"\xff\xfe{", "is not JSON"),
    "null": (None, "no list of cells"),
    "a list": ([], "no list of cells"),
    "format 3": ({"worksheets": [], "nbformat": 3, "metadata": {}}, "format 3"),
    "format 5": (WHOLE | {"nbformat": 5}, "`nbformat` is not 4"),
    "no format": ({"cells": CELLS, "metadata": {}}, "`nbformat` is not 4"),
    "no metadata": ({k: v for k, v in WHOLE.items() if k != "metadata"}, "`metadata` is missing"),
    "metadata null": (WHOLE | {"metadata": None}, "`metadata` is missing"),
    "kernel null": (WHOLE | {"metadata": {"kernelspec": None}}, "`kernelspec` needs"),
    "kernel a text": (WHOLE | {"metadata": {"kernelspec": "python3"}}, "`kernelspec` needs"),
    "a language only": (spec(language="R"), "`kernelspec` needs a `name`"),
    "another language": (spec(name="ir", display_name="R", language="R"), "wants the kernel `ir`"),
    "unknown kernel": (spec(name="pyhton3", display_name="Python"), "did you mean `python3`"),
    "language null": (spec(name="python3", display_name="Python", language=None), "`language`"),
    "cells numbers": (WHOLE | {"cells": [1]}, "cell 1 is of no type"),
    "cells null": (WHOLE | {"cells": None}, "no list of cells"),
    "unknown cell": (more(cell_type="weird"), "cell 3 is of no type"),
    "cell without metadata": (more(metadata=None), "cell 3 has no `metadata`"),
    "source null": (more(source=None), "cell 3 has no text"),
    "source numbers": (more(source=[5]), "cell 3 has no text"),
    "tags a text": (more(metadata={"tags": "parameters"}), "the `tags` of cell 3"),
    "nested too deeply": ("[" * 100_000, "is not JSON"),
    "code nested too deeply": (more(source="x = " + "-" * 100_000 + "1"), "is not Python"),
    "null bytes": (more(source="x = 1\0"), "null bytes"),
    "no tag": (WHOLE | {"cells": CELLS[1:]}, "no cell is tagged `parameters`"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_malformed_notebook_is_refused_before_anything_starts(bare, what):
    content, words = REFUSED[what]
    content = content if isinstance(content, str | bytes) else json.dumps(content)
    notebook = bare.root / "pipelines" / "sums" / "04_odd.ipynb"
    notebook.write_bytes(content if isinstance(content, bytes) else content.encode())
    done = bare.call("run", "sums")
    assert (done.code, done.says(words), "04_odd.ipynb" in done.said) == (2, True, True), done
    assert not (bare.home / "runs").exists()


def test_a_folder_named_like_a_notebook_is_refused(bare):
    (bare.root / "pipelines" / "sums" / "04_odd.ipynb").mkdir()
    done = bare.call("run", "sums")
    assert (done.code, done.says("04_odd.ipynb cannot be read: Is a directory")) == (2, True), done


def test_an_unusual_notebook_just_runs(root):
    folder = root / "pipelines" / "odd"
    folder.mkdir(parents=True)
    unusual = {
        "01_old": WHOLE,  # lines as a list and as a text, no ids
        "02_plain": WHOLE | {"metadata": {}},  # no kernel is named
        "03_new": WHOLE | {"nbformat_minor": 5},  # ids are missing
    }
    for name, notebook in unusual.items():
        (folder / f"{name}.ipynb").write_text(json.dumps(notebook))
    scene = Scene(root)
    done = scene.call("run", "odd")
    assert done.code == 0, done
    assert [m.metrics for m in scene.newest().manifests()] == [{"n": 3}] * 3
    scene.expect_in_order()
    scene.expect_delivered()
