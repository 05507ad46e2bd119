"""The model in production is refreshed on the fly: swaps under load, models that are no good, processes that die."""

import json
import os
import signal
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from endpoints import Load, classifier, patients, register, until
from projects import make_project

from mlops_nb.serve.keeper import read_events, read_status
from mlops_nb.serve.predictions import read_predictions

X, Y = patients()
QUICK = ("--port", "0", "--poll", "0.2")
TWO = ("heart@champion", "--workers", "2", *QUICK)
RECORD = json.loads(patients(1, seed=7)[0].to_json(orient="records"))[0]


@pytest.fixture(scope="module")
def house(tmp_path_factory, empty_store):
    "A project with three versions; the first is the champion."
    root = make_project(tmp_path_factory.mktemp("refresh"), empty_store)
    for number, strength in enumerate((1.0, 0.1, 10.0)):
        register(root, classifier(strength).fit(X, Y), X, champion=not number)
    return root


def promote(root, version: int) -> None:
    from mlops_nb.model.registry import connect
    from mlops_nb.model.registry import promote as put

    connect(root)
    put("heart", version, force=True, reason="a test")


def model_file(root, version: int) -> Path:
    "Where the registry keeps the model itself."
    import mlflow.artifacts

    from mlops_nb.model.registry import connect, find_version

    connect(root)
    return Path(mlflow.artifacts.download_artifacts(find_version(f"heart/{version}").uri)) / "model.skops"


def test_a_new_champion_answers_and_no_request_is_lost(place, start):
    endpoint = start(*TWO)
    with Load(endpoint, RECORD) as load:
        for version in (2, 3, 2, 3, 1):
            promote(place, version)
            endpoint.serves(version)
        time.sleep(0.3)
    assert not load.failures
    assert len(load.answers) > 200
    # whoever began to ask after an answer of a newer deployment had come never gets one of an older
    order = {1: 0, 2: 1, 3: 2}  # of the first change only: 1, then 2
    first = min(ended for _, ended, _, version, _ in load.answers if version == 2)
    second = min(ended for _, ended, _, version, _ in load.answers if version == 3)
    late = [row for row in load.answers if first < row[0] < second]
    assert late
    assert {row[3] for row in late} <= {2, 3}
    assert order[late[0][3]] >= 1


def test_what_was_answered_is_in_the_log_once(place, start):
    endpoint = start(*TWO)
    with Load(endpoint, RECORD) as load:
        promote(place, 2)
        endpoint.serves(2)
    found = read_predictions(endpoint.home / "log")
    answered = [row[4] for row in load.answers if row[2] == 200]
    assert len(answered) == len(set(answered))
    assert set(answered) <= set(found["request_id"])
    assert found["request_id"].is_unique
    assert set(found["version"]) == {1, 2}


def test_a_model_that_is_no_good_never_answers(place, start):
    endpoint = start(*TWO)
    damaged = model_file(place, 2)
    original = damaged.read_bytes()
    keeper = read_status(endpoint.home)["pid"]
    with Load(endpoint, RECORD) as load:
        os.kill(keeper, signal.SIGSTOP)
        promote(place, 2)
        damaged.write_bytes(original + b"!")  # after the registry has looked at it
        os.kill(keeper, signal.SIGCONT)
        until(lambda: "2" in read_status(endpoint.home).get("refused", {}), 60, endpoint.log)
        damaged.write_bytes(original)
        # one that asks for a column that nobody sends
        wide = X.assign(pulse=70.0)
        from sklearn.linear_model import LogisticRegression

        numbers = wide.drop(columns="ward").fillna(0)
        strange = register(place, LogisticRegression(max_iter=500).fit(numbers, Y), numbers)
        until(lambda: str(strange) in read_status(endpoint.home)["refused"], 60, endpoint.log)
    assert not load.failures
    assert {row[3] for row in load.answers} == {1}
    refused = read_status(endpoint.home)["refused"]
    assert "were changed" in refused["2"]["why"]
    assert "`pulse`, which nobody sends" in refused[str(strange)]["why"]
    assert endpoint.get("/model").json()["refused"].keys() == refused.keys()
    assert "mlops_nb_refusals 2" in endpoint.get("/metrics").text.replace(".0", "")
    # when it is mended, it is taken without anybody's doing
    promote(place, 2)
    endpoint.serves(2, 90)


def test_a_pinned_version_stays(place, start):
    endpoint = start("heart/1", *QUICK)
    promote(place, 3)
    time.sleep(1.5)
    assert endpoint.predict(RECORD).json()["version"] == 1


def test_the_registry_may_be_away_even_when_it_starts(place, start):
    endpoint = start(*TWO)
    before = endpoint.predict(RECORD).json()["predictions"]
    endpoint.stop()
    nowhere = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    again = start(*TWO, environment=nowhere)
    assert again.predict(RECORD).json()["predictions"] == before
    until(lambda: read_status(again.home)["trouble"] != "", 60, again.log)
    assert "mlops_nb_registry_up 0" in again.get("/metrics").text
    # and for long: the local copy is taken although nobody confirmed it lately
    again.stop()
    status = json.loads((again.home / "keeper.json").read_text())
    (again.home / "keeper.json").write_text(json.dumps(status | {"heard": "2026-01-01T00:00:00+00:00"}))
    third = start(*TWO, environment=nowhere)
    assert third.predict(RECORD).json()["predictions"] == before
    assert any(event["what"] == "serving the local copy" for event in read_events(third.home))


def test_a_worker_that_is_killed_is_replaced(start):
    endpoint = start(*TWO)
    first = endpoint.workers()
    os.kill(first[0], signal.SIGKILL)
    until(lambda: len(set(endpoint.workers()) - {first[0]}) == 2, 60, endpoint.log)
    for _ in range(20):
        assert endpoint.predict(RECORD).status_code == 200


def test_a_keeper_that_is_killed_is_replaced_and_goes_on(place, start):
    endpoint = start(*TWO)
    os.kill(read_status(endpoint.home)["pid"], signal.SIGKILL)
    promote(place, 2)
    endpoint.serves(2)


def test_when_the_first_process_is_killed_nobody_stays(start):
    endpoint = start(*TWO)
    family = endpoint.children()
    assert len(family) >= 3
    endpoint.process.kill()
    endpoint.process.wait()
    until(lambda: not [pid for pid in family if psutil.pid_exists(pid) and _lives(pid)], 30)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_kill_9_under_load_loses_no_answer(start):
    endpoint = start(*TWO)
    with Load(endpoint, RECORD) as load:
        for _ in range(4):
            time.sleep(1)
            os.kill(endpoint.workers()[0], signal.SIGKILL)
            until(lambda: len(endpoint.workers()) == 2, 60, endpoint.log)
    answered = [row[4] for row in load.answers if row[2] == 200]
    found = read_predictions(endpoint.home / "log")["request_id"]
    assert len(answered) > 100
    assert pd.Series(answered).is_unique
    assert set(answered) <= set(found)
    assert found.is_unique
