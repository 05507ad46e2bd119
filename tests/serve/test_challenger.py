"""Champion and challenger online: a shadow that nobody sees, a canary for some, and its end when it is bad."""

import json
import os
import re
import signal
import time

import psutil
import pytest
from endpoints import Load, Running, classifier, patients, register, until
from projects import make_project

from mlops_nb.serve.keeper import read_events, read_status
from mlops_nb.serve.predictions import read_predictions

X, Y = patients()
RECORDS = json.loads(patients(200, seed=7)[0].to_json(orient="records"))
CANARY = """
model = "heart@champion"
port = 0
poll = 0.2
workers = 2
[traffic]
mode = "canary"
share = 0.3
minimum = 30
max_slowdown = 100
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory, empty_store):
    "A project with a champion, and a challenger that is as good."
    root = make_project(tmp_path_factory.mktemp("challenger"), empty_store)
    for number, strength in enumerate((1.0, 0.1)):
        register(root, classifier(strength).fit(X, Y), X, champion=not number)
    return root


def by_version(endpoint: Running, keys: list[str]) -> dict[str, int]:
    "Who answered for each key."
    return {
        key: endpoint.post("/predict", json={"records": [RECORDS[0]], "entity": [key]}).json()["version"]
        for key in keys
    }


def test_a_canary_answers_its_share_and_the_same_callers_each_time(place, start, tmp_path):
    (tmp_path / "serve.toml").write_text(CANARY)
    endpoint = start("-c", str(tmp_path / "serve.toml"))
    until(lambda: endpoint.get("/model").json()["mode"] == "canary", 60, endpoint.log)
    keys = [f"patient {i}" for i in range(300)]
    first = by_version(endpoint, keys)
    share = sum(version == 2 for version in first.values()) / len(keys)
    assert 0.2 < share < 0.4
    assert by_version(endpoint, keys[:100]) == {key: first[key] for key in keys[:100]}
    log = read_predictions(endpoint.home / "log")
    assert set(log.groupby("role")["version"].unique().map(tuple).items()) == {("champion", (1,)), ("canary", (2,))}
    assert not read_status(endpoint.home)["stopped"]


def test_a_canary_that_fails_is_stopped_and_no_caller_notices(place, start, tmp_path):
    north = X["ward"] != "west"
    picky = classifier(unknown="error").fit(X[north], Y[north])  # fails for a ward that it has never seen
    bad = register(place, picky, X[north], champion=False)
    (tmp_path / "serve.toml").write_text(CANARY)
    endpoint = start("-c", str(tmp_path / "serve.toml"))
    until(lambda: endpoint.get("/model").json()["challenger"] == bad, 60, endpoint.log)
    west = next(record for record in RECORDS if record["ward"] == "west")
    with Load(endpoint, west) as load:
        until(lambda: str(bad) in read_status(endpoint.home)["stopped"], 60, endpoint.log)
        until(lambda: endpoint.get("/model").json()["mode"] == "off", 60, endpoint.log)
        time.sleep(1)  # it is not taken up again
    assert not load.failures
    assert {row[3] for row in load.answers} == {1}
    assert endpoint.get("/model").json()["challenger"] is None
    event = next(each for each in read_events(endpoint.home) if each["what"] == "canary stopped")
    assert event["version"] == bad
    assert "answers failed" in event["why"]


def test_a_shadow_answers_all_and_nobody_sees_it(place, start):
    endpoint = start("heart@champion", "--port", "0", "--poll", "0.2", "--shadow")
    until(lambda: endpoint.get("/model").json()["mode"] == "shadow", 60, endpoint.log)
    until(lambda: "shadow answers" in endpoint.log.read_text(), 60, endpoint.log)
    asked = [endpoint.predict(record).json() for record in RECORDS[:50]]
    assert {told["version"] for told in asked} == {1}

    def shadowed():
        return read_predictions(endpoint.home / "log", role="shadow")

    def dropped() -> int:  # the socket has room for a few only
        return int(float(re.search(r"mlops_nb_shadow_dropped_total ([\d.]+)", endpoint.get("/metrics").text)[1]))

    until(lambda: len(shadowed()) + dropped() == 50, 30, endpoint.log)
    assert len(shadowed()) >= 10
    found = read_predictions(endpoint.home / "log").pivot(index="request_id", columns="role", values="probability")
    assert set(found.index) == {told["request_id"] for told in asked}
    found = found.dropna()
    assert (found["champion"] != found["shadow"]).any()
    assert found["champion"].corr(found["shadow"]) > 0.9


def command_of(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:  # it is no more
        return ""


def test_a_shadow_that_hangs_or_dies_keeps_nobody_waiting(place, start):
    endpoint = start("heart@champion", "--port", "0", "--poll", "0.2", "--shadow")
    until(lambda: "shadow answers" in endpoint.log.read_text(), 60, endpoint.log)

    def shadows() -> list[int]:
        return [pid for pid in endpoint.children() if "serve.shadow" in command_of(pid)]

    (pid,) = shadows()
    os.kill(pid, signal.SIGSTOP)
    body = {"records": RECORDS}
    for _ in range(100):  # more than the socket has room for
        assert endpoint.post("/predict", json=body).status_code == 200
    os.kill(pid, signal.SIGKILL)

    def dropped() -> bool:  # what had waited for room; the next question counts it
        assert endpoint.predict(RECORDS[0]).status_code == 200
        return "mlops_nb_shadow_dropped_total 0.0" not in endpoint.get("/metrics").text

    until(dropped, 30, endpoint.log)
    until(lambda: shadows() not in ([], [pid]), 30, endpoint.log)
    assert endpoint.predict(RECORDS[0]).status_code == 200


def test_labels_come_back_and_meet_their_answers(place, start):
    from mlops_nb.serve.labels import labelled

    endpoint = start("heart@champion", "--port", "0")
    told = endpoint.post("/predict", json={"records": RECORDS[:2], "entity": ["anna", "ben"]}).json()
    sent = {"labels": [{"request_id": told["request_id"], "row": 0, "label": 1}, {"entity": "ben", "label": 0}]}
    assert endpoint.post("/feedback", json=sent).json() == {"taken": 2}
    assert endpoint.post("/feedback", json={"label": 1}).status_code == 400
    found = labelled(endpoint.home / "log")
    assert dict(zip(found["entity"], found["label"], strict=True)) == {"anna": 1, "ben": 0}
