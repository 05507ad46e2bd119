"A night of scoring: killed, begun again, shared, interrupted by another champion; each row is there once."

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest
from clusters import cluster
from projects import HEART
from servers import QUIET

from mlops_nb.config import Lock
from mlops_nb.data.sources import open_source
from mlops_nb.data.versions import find_version, snapshot, versions
from mlops_nb.errors import DataError, ExecutorError, RegistryError
from mlops_nb.model import registry
from mlops_nb.serve.batch import score

NIGHT = Path(__file__).with_name("night.py")
COLUMNS = ["age", "ldl", "tobacco"]


@pytest.fixture
def night(root, monkeypatch):
    "A project with a champion, and a table of patients to score."
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    registry.connect(root)
    monkeypatch.chdir(root)
    df = pd.read_csv(HEART / "data" / "saheart.csv")
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(df[COLUMNS], df["chd"])
    for _ in range(2):
        registry.register(model, "heart", df[COLUMNS])
    registry.promote("heart", 1, force=True, reason="the first one")
    patients = pd.concat([df] * 12, ignore_index=True).drop(columns="chd")
    patients.insert(0, "patient", range(len(patients)))
    patients.to_parquet(root / "patients.parquet")
    return root


def scores(to: Path) -> pd.DataFrame:
    return pq.read_table(to).to_pandas()


def whole(night: Path) -> pd.DataFrame:
    "What a night without trouble gives."
    score("heart", night / "patients.parquet", night / "whole")
    return scores(night / "whole")


def start(night: Path, workers: int = 1) -> subprocess.Popen:
    words = [
        sys.executable,
        str(NIGHT),
        str(night),
        str(night / "patients.parquet"),
        str(night / "scores"),
        str(workers),
    ]
    return subprocess.Popen(words, cwd=night, env=os.environ | QUIET, stdout=subprocess.PIPE, start_new_session=True)


@pytest.mark.parametrize(("workers", "kills"), [(1, 2), (2, 1)])
def test_a_killed_night_goes_on_and_doubles_nothing(night, workers, kills):
    chance, folder, seen = random.Random(workers), night / "scores", 0
    for _ in range(kills):
        process = start(night, workers)
        while process.poll() is None and len(list(folder.glob("part-*.parquet"))) <= seen:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.1))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        seen = len(list(folder.glob("part-*.parquet")))
        found = scores(folder)
        assert found["patient"].is_unique
        if process.returncode == 0:
            break
        assert not json.loads((folder / "_scores.json").read_bytes())["complete"]
    process = start(night, workers)
    told = process.communicate(timeout=120)[0].decode()
    assert process.returncode == 0
    reused = int(told.split("; ")[1].split()[0])
    assert 0 < reused <= seen
    assert json.loads((folder / "_scores.json").read_bytes())["complete"]
    pd.testing.assert_frame_equal(scores(folder), whole(night))
    assert [path.name for path in folder.glob(".part*")] == [".parts"]


def test_processes_and_a_cluster_give_the_same_rows(night, tmp_path):
    expected = whole(night)
    two = score("heart", night / "patients.parquet", night / "two", rows=500, workers=2)
    assert (two.rows, two.parts) == (len(expected), 12)
    pd.testing.assert_frame_equal(scores(night / "two"), expected)
    with cluster(tmp_path / "cluster", {"one": []}) as found:
        score("heart", night / "patients.parquet", night / "dask", rows=500, workers=found.address)
    pd.testing.assert_frame_equal(scores(night / "dask"), expected)


def command_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it is no more
        return ""


def test_a_worker_that_dies_is_told_and_what_is_there_stays(night):
    def kill_one():
        while len(list((night / "scores").glob("part-*.parquet"))) < 5:
            time.sleep(0.01)
        workers = [each for each in psutil.Process().children() if "loky" in command_of(each)]
        max(workers, key=lambda each: each.cpu_times().user).kill()

    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(ExecutorError, match="it goes on from there"):
        score("heart", night / "patients.parquet", night / "scores", rows=80, workers=2)
    killer.join()
    done = score("heart", night / "patients.parquet", night / "scores", rows=80, workers=2)
    assert done.reused >= 5
    pd.testing.assert_frame_equal(scores(night / "scores"), whole(night))


def test_all_kinds_of_sources_are_scored_alike(night):
    expected = whole(night)
    df = pd.read_parquet(night / "patients.parquet")
    with sqlite3.connect(night / "patients.db") as connection:
        df.to_sql("patients", connection, index=False)
    version = snapshot(df, "patients")
    sql = open_source(f"sqlite:///{night / 'patients.db'}", query="SELECT * FROM patients ORDER BY patient")
    df.to_csv(night / "patients.csv", index=False)
    for number, source in enumerate((df, sql, version, night / "patients.csv")):
        score("heart", source, night / f"to{number}", rows=1000)
        found = scores(night / f"to{number}")
        pd.testing.assert_frame_equal(found, expected, check_dtype=False)
        np.testing.assert_array_equal(found["probability"], expected["probability"])


def test_scores_may_become_a_version_or_a_file(night):
    expected = whole(night)
    for _ in range(2):
        told = score("heart", night / "patients.parquet", "data://risks")
        assert told.rows == len(expected)
        score("heart", night / "patients.parquet", night / "risks.csv")
    assert len(versions("risks")) == 1
    kept = find_version("risks")
    assert kept.message == "heart version 1"
    assert kept.source["address"].endswith("patients.parquet")
    pd.testing.assert_frame_equal(kept.read(), expected)
    pd.testing.assert_frame_equal(pd.read_csv(night / "risks.csv"), expected)
    assert not [path for path in night.iterdir() if path.name.startswith(".risks")]


def test_another_champion_does_not_mix_with_the_old_one(night):
    score("heart@champion", night / "patients.parquet", night / "scores", rows=1000)
    registry.promote("heart", 2, force=True, reason="the second one")
    with pytest.raises(DataError, match="scores by version 1, not 2"):
        score("heart@champion", night / "patients.parquet", night / "scores", rows=1000)
    assert set(scores(night / "scores")["version"]) == {1}
    done = score("heart@champion", night / "patients.parquet", night / "scores", rows=2000, replace=True)
    assert (done.reused, done.parts) == (0, 3)
    assert set(scores(night / "scores")["version"]) == {2}
    assert len(scores(night / "scores")) == done.rows


def test_fewer_rows_leave_no_old_piece_behind(night):
    df = pd.read_parquet(night / "patients.parquet")
    score("heart", df, night / "scores", rows=1000)
    done = score("heart", df.head(1500), night / "scores", rows=1000)
    assert (done.parts, done.reused) == (2, 1)
    assert scores(night / "scores")["patient"].tolist() == list(range(1500))


def test_a_piece_that_somebody_removed_or_cut_is_scored_again(night):
    score("heart", night / "patients.parquet", night / "scores", rows=1000)
    (night / "scores" / "part-000002.parquet").unlink()
    (night / "scores" / ".parts" / "000004.json").write_text("{")
    assert score("heart", night / "patients.parquet", night / "scores", rows=1000).reused == 4
    pd.testing.assert_frame_equal(scores(night / "scores"), whole(night))


def test_bad_rows_are_set_aside_and_found_again(night):
    text = (night / "patients.parquet", night / "patients.csv")
    df = pd.read_parquet(text[0]).assign(ldl=lambda df: df["ldl"].where(~df.index.isin([3, 1700, 1701])))
    df.to_csv(text[1], index=False)
    with pytest.raises(DataError, match=r"patients\.csv, row 4: heart version 1 .*cannot score it"):
        score("heart", text[1], night / "strict", rows=500)
    for reused in (0, 12):
        done = score("heart", text[1], night / "scores", rows=500, on_bad="quarantine")
        assert (done.bad, done.rows, done.reused) == (3, len(df) - 3, reused)
        bad = [json.loads(line) for line in Path(done.quarantine).read_text().splitlines()]
        assert [row["line"] for row in bad] == [4, 1701, 1702]
        assert "NaN" in bad[0]["reason"]
        assert json.loads(bad[0]["text"])["patient"] == 3
    assert sorted(set(df["patient"]) - set(scores(night / "scores")["patient"])) == [3, 1700, 1701]


def test_a_table_of_which_most_is_bad_is_refused(night):
    df = pd.read_parquet(night / "patients.parquet").head(100)
    df["ldl"] = df["ldl"].where(df.index > 80)
    with pytest.raises(DataError, match="81 of 100 rows cannot be scored"):
        score("heart", df, night / "scores", rows=10, on_bad="quarantine")
    df = pd.concat([df.assign(ldl=np.nan)] * 12)
    with pytest.raises(DataError, match="look at the columns"):
        score("heart", df.reset_index(drop=True), night / "other", on_bad="quarantine")


def test_what_does_not_fit_is_told_before_anything_is_scored(night, tmp_path):
    df = pd.read_parquet(night / "patients.parquet")
    wrong = [
        ({"to": "s3://bucket/scores"}, "cannot be written to s3://"), ({"rows": 0}, "rows=0"),
        ({"on_bad": "ignore"}, "on_bad='ignore'"), ({"keep": ["pateint"]}, "did you mean `patient`"),
        ({"source": df.rename(columns={"patient": "model"})}, "`model` already"), ({"to": night}, "other files"),
        ({"source": df.drop(columns="ldl")}, "missing: ldl"), ({"to": night / "patients.parquet"}, "is a file"),
    ]  # fmt: skip
    for changed, told in wrong:
        with pytest.raises(DataError, match=told):
            score("heart", **({"source": df, "to": tmp_path / "scores"} | changed))
    assert not list(tmp_path.rglob("*.parquet")) or not list((tmp_path / "scores").glob("*"))
    score("heart", df.rename(columns={"patient": "model"}), night / "prefixed", prefix="heart_")
    assert scores(night / "prefixed").columns[-1] == "heart_run_id"


def test_a_changed_model_is_not_used(night):
    registered = next(night.glob("mlartifacts/**/model.skops"))
    registered.write_bytes(registered.read_bytes() + b" ")
    for path in night.glob("mlartifacts/**/model.skops"):
        path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(RegistryError, match="were changed"):
        score("heart", night / "patients.parquet", night / "scores")


def test_two_do_not_score_into_one_folder(night):
    lock = Lock(night / "scores" / ".lock")
    assert lock.acquire()
    with pytest.raises(DataError, match="already"):
        score("heart", night / "patients.parquet", night / "scores")
    lock.release()
