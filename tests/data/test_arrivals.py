"What is new is taken once: while files are written, while rows come late, and whoever is killed."

import contextlib
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import pytest

from mlops_nb.config import Lock
from mlops_nb.data.arrivals import read_new
from mlops_nb.data.files import FileSource
from mlops_nb.data.sources import CallableSource, SqlSource
from mlops_nb.errors import DataError


@pytest.fixture
def inbox(tmp_path):
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


def arrive(inbox, name, *patients, age=60):
    (inbox / name).write_text("patient\n" + "".join(f"{p}\n" for p in patients))
    os.utime(inbox / name, (time.time() - age,) * 2)


def take(source, state, **given):
    "The patients that are new, and the id of their batch."
    with read_new(source, state, **given) as batch:
        return (None, None) if batch is None else (batch.read()["patient"].tolist(), batch.id)


def fail_with(source, state):
    "Begin with what is new, and fail; the id of the batch."
    with contextlib.suppress(ZeroDivisionError), read_new(source, state) as batch:
        raise ZeroDivisionError
    return batch.id


@pytest.mark.parametrize("mode", ["files", "rows"])
def test_killed_at_every_line(tmp_path, mode):
    script = Path(__file__).with_name("killed.py")
    done = subprocess.run([sys.executable, script, mode, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *wrong, places = done.stdout.splitlines()
    assert not wrong, done.stdout
    assert int(places.split()[0]) > 80, "so many lines there must be at least, or nothing was tried"


def test_a_file_that_is_being_written_waits(inbox, tmp_path):
    arrive(inbox, "done.csv", 1)
    arrive(inbox, "growing.csv", 2, age=0)
    assert take(f"{inbox}/*.csv", tmp_path / "state")[0] == [1]
    assert take(f"{inbox}/*.csv", tmp_path / "state")[0] is None
    arrive(inbox, "growing.csv", 2, 3)
    assert take(f"{inbox}/*.csv", tmp_path / "state")[0] == [2, 3]


def test_the_same_batch_comes_again_until_it_is_done(inbox, tmp_path):
    arrive(inbox, "a.csv", 1)
    ids = set()
    for _ in range(3):
        ids.add(fail_with(f"{inbox}/*.csv", tmp_path / "state"))
        arrive(inbox, "b.csv", 2)
    assert len(ids) == 1
    assert take(f"{inbox}/*.csv", tmp_path / "state") == ([1], *ids)
    assert take(f"{inbox}/*.csv", tmp_path / "state")[0] == [2]


def test_two_batches_with_the_same_content_are_two(inbox, tmp_path):
    database = sqlite3.connect(tmp_path / "x.db")
    database.execute("CREATE TABLE t (patient, at)")
    source, ids = SqlSource(f"sqlite:///{tmp_path}/x.db", table="t"), set()
    for _ in range(3):
        database.execute("INSERT INTO t VALUES (1, 5)")
        database.commit()
        patients, batch = take(source, tmp_path / "state", watermark="at")
        assert patients == [1]
        ids.add(batch)
    assert len(ids) == 3


def test_what_was_taken_may_not_change(inbox, tmp_path):
    arrive(inbox, "a.csv", 1)
    take(f"{inbox}/*.csv", tmp_path / "state")
    arrive(inbox, "a.csv", 1, 2)
    with pytest.raises(DataError, match=r"a\.csv has changed since it was taken"):
        take(f"{inbox}/*.csv", tmp_path / "state")
    (inbox / "a.csv").unlink()  # taken, and tidied up
    assert take(f"{inbox}/*.csv", tmp_path / "state")[0] is None


def test_what_is_about_to_be_taken_may_not_change(inbox, tmp_path):
    arrive(inbox, "a.csv", 1)
    fail_with(f"{inbox}/*.csv", tmp_path / "state")
    arrive(inbox, "a.csv", 1, 2, age=99)
    with pytest.raises(DataError, match=r"a\.csv has changed since batch"):
        take(f"{inbox}/*.csv", tmp_path / "state")
    (inbox / "a.csv").unlink()
    with pytest.raises(DataError, match=r"a\.csv is gone"):
        take(f"{inbox}/*.csv", tmp_path / "state")


def test_a_store_that_fills(tmp_path):
    for i in range(2):
        with fsspec.open(f"memory://arrivals/{i}.csv", "w") as file:
            file.write(f"patient\n{i}\n")
        assert take("memory://arrivals/*.csv", tmp_path / "state")[0] == [i]
    assert take("memory://arrivals/*.csv", tmp_path / "state")[0] is None


def test_bad_rows_of_a_batch_are_set_aside(inbox, tmp_path):
    arrive(inbox, "a.csv", 1, "2,3", 4)
    source = FileSource(f"{inbox}/*.csv", on_bad="quarantine", quarantine=tmp_path / "bad.jsonl")
    with read_new(source, tmp_path / "state") as batch:
        assert batch.read()["patient"].tolist() == [1, 4]
        assert batch.describe()["bad_rows"] == 1
        assert batch.describe()["batch"] == batch.id
    assert (tmp_path / "bad.jsonl").exists()


def test_a_query_is_watched_too(tmp_path):
    database = sqlite3.connect(tmp_path / "x.db")
    database.executescript(
        "CREATE TABLE t (patient, at, ward); INSERT INTO t VALUES (1, 1, 'a'), (2, 1, 'b'), (3, 2, 'a')"
    )
    source = SqlSource(f"sqlite:///{tmp_path}/x.db", query="SELECT * FROM t WHERE ward = :w", params={"w": "a"})
    assert take(source, tmp_path / "state", watermark="at")[0] == [1, 3]
    database.executescript("INSERT INTO t VALUES (4, 2, 'a'), (5, 2, 'b'), (6, 1, 'a')")
    assert take(source, tmp_path / "state", watermark="at")[0] == [
        4
    ]  # 6 is late below the watermark, as the lesson says


def test_a_state_that_does_not_fit(inbox, tmp_path):
    arrive(inbox, "a.csv", 1)
    state = tmp_path / "state"
    take(f"{inbox}/*.csv", state)
    with pytest.raises(DataError, match="belongs to"):
        take(f"{inbox}/b*.csv", state)
    for content in ("", "{}", "[1]", '{"source": 1'):
        state.write_text(content)
        with pytest.raises(DataError, match="is damaged"):
            take(f"{inbox}/*.csv", state)


def test_only_one_may_take(inbox, tmp_path):
    arrive(inbox, "a.csv", 1)
    other = Lock(tmp_path / "state.lock")
    assert other.acquire()
    with pytest.raises(DataError, match="somebody else is reading"):
        take(f"{inbox}/*.csv", tmp_path / "state")
    other.release()
    assert take(f"{inbox}/*.csv", tmp_path / "state")[0] == [1]


def test_what_cannot_be_watched(inbox, tmp_path):
    for source, given in [
        (CallableSource(dict), {}),
        (f"{inbox}/*.csv", {"watermark": "at"}),
        (SqlSource("sqlite://", table="t"), {}),
    ]:
        with pytest.raises(DataError, match="bit by bit"):
            take(source, tmp_path / "state", **given)
