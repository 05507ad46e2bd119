"""An endpoint as its callers see it: MLflow's clients, our own protocol, those who run it."""

import http.client
import io
import json
import signal
import socket
import time
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
import requests
from endpoints import Running, classifier, patients, register, until
from projects import make_project

from mlops_nb.serve.predictions import read_predictions


@pytest.fixture(scope="module")
def place(tmp_path_factory, empty_store):
    "A project with a champion, and a second version that fits as well."
    root = make_project(tmp_path_factory.mktemp("endpoint"), empty_store)
    X, y = patients()
    register(root, classifier().fit(X, y), X)
    return root


@pytest.fixture(scope="module")
def endpoint(place, tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "endpoint.log"
    running = Running(place, "heart@champion", "--port", "0", "--poll", "0.2", log=log).wait()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def records():
    X, _ = patients(20, seed=7)
    return json.loads(X.to_json(orient="records"))


def test_mlflows_own_client_gets_what_mlflow_would_say(endpoint, place):
    import mlflow.pyfunc
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    from mlops_nb.model.registry import connect

    X, _ = patients(50, seed=3)
    parts = urlsplit(endpoint.address)
    client = ScoringServerClient(parts.hostname, parts.port)
    client.wait_server_ready(timeout=10)
    answered = np.array(client.invoke(X).get_predictions())
    connect(place)
    expected = mlflow.pyfunc.load_model("models:/heart@champion").predict(X)
    np.testing.assert_array_equal(answered, expected)


def test_a_prediction_comes_with_its_probabilities_and_where_it_is_from(endpoint, records):
    answer = endpoint.predict(*records[:3])
    told = answer.json()
    assert answer.status_code == 200
    assert len(told["predictions"]) == 3
    for row in told["predictions"]:
        assert set(row["probability"]) == {"0", "1"}
        assert abs(sum(row["probability"].values()) - 1) < 1e-9
        assert row["prediction"] == int(row["probability"]["1"] > 0.5)
    assert told["model"] == "heart"
    assert told["version"] == 1
    assert len(told["run_id"]) == 32
    assert answer.headers["x-request-id"] == told["request_id"]
    assert answer.headers["x-model-version"] == "1"


def test_every_answer_is_in_the_log_before_it_is_sent(endpoint, records):
    told = endpoint.post("/predict", json={"records": records[:2], "entity": ["anna", 17]}).json()
    found = read_predictions(endpoint.home / "log").query("request_id == @told['request_id']")
    assert found["entity"].tolist() == ["anna", "17"]
    assert found["age"].tolist() == [r["age"] for r in records[:2]]
    assert found["probability"].tolist() == [row["probability"]["1"] for row in told["predictions"]]


def test_a_trace_is_taken_over_and_handed_back(endpoint, records):
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert endpoint.predict(records[0], headers={"traceparent": parent}).headers["traceparent"] == parent
    assert "traceparent" not in endpoint.predict(records[0], headers={"traceparent": "nonsense"}).headers


def test_probes_tell_whether_it_lives_and_answers(endpoint):
    assert endpoint.get("/ping").status_code == endpoint.get("/health").status_code == 200
    assert endpoint.get("/ready").json() == {"ready": True, "version": 1}
    assert requests.head(f"{endpoint.address}/ping", timeout=10).status_code == 200


def test_openapi_describes_the_columns_of_the_model(endpoint):
    found = endpoint.get("/openapi.json").json()
    record = found["components"]["schemas"]["Record"]
    assert record["properties"]["age"]["type"] == "integer"
    assert set(record["required"]) >= {"age", "pressure"}
    asked = found["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert endpoint.post("/predict", json=asked).status_code == 200


def test_the_page_shows_the_model_and_asks_no_other_machine(endpoint):
    page = endpoint.get("/")
    assert 'name="pressure"' in page.text
    assert "heart" in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_prometheus_reads_what_was_counted(endpoint, records):
    from prometheus_client.parser import text_string_to_metric_families

    def count(name: str, **labels: str) -> float:
        families = text_string_to_metric_families(endpoint.get("/metrics").text)
        found = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(s.value for s in found if labels.items() <= s.labels.items())

    before = count("mlops_nb_requests_total", route="/predict", status="200")
    endpoint.predict(records[0])
    endpoint.predict({"age": "old"})
    assert count("mlops_nb_requests_total", route="/predict", status="200") == before + 1
    assert count("mlops_nb_errors_total", code="MISSING_COLUMNS") >= 1
    assert count("mlops_nb_model_version", role="champion") == 1
    assert count("mlops_nb_registry_up") == 1


def test_who_says_nothing_is_not_waited_for(place, tmp_path, records):
    config = tmp_path / "serve.toml"
    config.write_text('model = "heart/1"\nport = 0\n[limits]\nseconds = 1\n')
    running = Running(place, "-c", str(config), "--folder", str(tmp_path / "slow"), log=tmp_path / "log").wait()
    try:
        parts = urlsplit(running.address)
        begun = time.monotonic()
        with socket.create_connection((parts.hostname, parts.port)) as line:
            line.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\n")  # and the rest of the head never comes
            line.settimeout(30)
            assert line.recv(100) == b""
            assert time.monotonic() - begun < 20
        with socket.create_connection((parts.hostname, parts.port)) as line:
            line.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[")
            line.settimeout(30)
            assert b"408" in line.recv(1000)
        assert running.predict(records[0]).status_code == 200
    finally:
        running.stop()


def test_keys_are_asked_for_and_callers_are_kept_to_their_rate(place, tmp_path, records):
    from mlops_nb.serve.access import add_key, revoke_key

    key, other = add_key(tmp_path / "keys.json", "billing"), add_key(tmp_path / "keys.json", "ward")
    config = tmp_path / "serve.toml"
    config.write_text('model = "heart/1"\nport = 0\n[access]\nkeys = "keys.json"\nrate = 0.2\nburst = 3\n')
    running = Running(place, "-c", str(config), "--folder", str(tmp_path / "locked"), log=tmp_path / "log").wait()
    try:
        assert running.predict(records[0]).status_code == 401
        assert running.get("/ready").status_code == 200  # probes carry no key
        ask = {"headers": {"authorization": f"Bearer {key}"}}
        statuses = [running.predict(records[0], **ask).status_code for _ in range(8)]
        assert statuses[:3] == [200] * 3
        assert 429 in statuses
        assert running.predict(records[0], headers={"x-api-key": other}).status_code == 200
        assert running.get("/", auth=("anna", other)).status_code == 200
        callers = set(read_predictions(tmp_path / "locked" / "log")["caller"])
        assert callers == {"billing", "ward"}
        revoke_key(tmp_path / "keys.json", "ward")
        until(lambda: running.predict(records[0], headers={"x-api-key": other}).status_code == 401, 10, running.log)
        assert key not in running.log.read_text()
    finally:
        running.stop()


def test_sigterm_lets_a_request_finish(place, tmp_path):
    running = Running(place, "heart/1", "--port", "0", "--folder", str(tmp_path / "end"), log=tmp_path / "log").wait()
    X, _ = patients(9000, seed=1)
    body = json.dumps({"dataframe_records": json.loads(X.to_json(orient="records"))}).encode()
    parts = urlsplit(running.address)
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as line:
        head = "POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        line.sendall(f"{head}Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n".encode())
        assert b"100 Continue" in line.recv(1000)  # it has begun
        running.process.send_signal(signal.SIGTERM)
        time.sleep(1)
        line.sendall(body)
        answer = http.client.HTTPResponse(line)
        answer.begin()
        assert answer.status == 200
        assert len(json.loads(answer.read())["predictions"]) == 9000
    assert running.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    {
        "no such model": (("liver",), "the registry has no model `liver`"),
        "no such version": (("heart/9",), "`heart` has no version 9"),
        "no such alias": (("heart@chmpion",), "champion"),
        "nothing named": ((), "name the model"),
        "a port that is taken": (("heart/1", "--port", "{port}"), "cannot be opened"),
        "a folder in use": (("heart", "--port", "0"), "an endpoint is running in"),
    }.values(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_served_is_told_with_exit_code_2(endpoint, place, tmp_path, arguments, told):
    port = str(urlsplit(endpoint.address).port)
    arguments = [argument.format(port=port) for argument in arguments]
    folder = [] if "running in" in told else ["--folder", str(tmp_path / "other")]
    running = Running(place, *arguments, *folder, log=tmp_path / "log")
    try:
        assert running.process.wait(120) == 2
        assert told in running.log.read_text()
        assert "Traceback" not in running.log.read_text()
    finally:
        running.stop()


def test_a_frame_in_csv_is_answered_like_one_in_json(endpoint):
    X, _ = patients(30, seed=5)
    X = X.dropna()
    csv = endpoint.post("/invocations", data=X.to_csv(index=False), headers={"content-type": "text/csv"}).json()
    split = {"dataframe_split": json.loads(X.to_json(orient="split", double_precision=15))}
    read = pd.read_csv(io.StringIO(X.to_csv(index=False)))  # as MLflow reads it: not each number to its last bit
    exact = {"dataframe_split": {"columns": list(X), "data": read.to_numpy(object).tolist()}}
    assert csv == endpoint.post("/invocations", json=exact).json()
    assert len(endpoint.post("/invocations", json=split).json()["predictions"]) == len(X)
