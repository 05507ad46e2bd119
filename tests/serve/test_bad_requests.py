"""What is sent to an endpoint by mistake, by accident and on purpose: no 5xx, no trace, and it goes on."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from endpoints import Running, classifier, patients, register
from projects import make_project

X, Y = patients()
GOOD = json.loads(patients(1, seed=7)[0].to_json(orient="records"))[0]
JSON = "application/json"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory, empty_store):
    root = make_project(tmp_path_factory.mktemp("bad"), empty_store)
    register(root, classifier().fit(X, Y), X)
    running = Running(root, "heart", "--port", "0", log=tmp_path_factory.mktemp("log") / "endpoint.log").wait()
    yield running
    assert running.stop() == 0


def nested(depth: int, opening: str = "[", closing: str = "]") -> str:
    return opening * depth + closing * depth


def bodies() -> dict[str, tuple[str, bytes]]:
    "Kind of content and body, by what is wrong."
    good = json.dumps(GOOD)
    found: dict[str, tuple[str, bytes]] = {}

    def add(name: str, body: str | bytes, kind: str = JSON) -> None:
        found[f"{name} #{len(found)}"] = kind, body if isinstance(body, bytes) else body.encode()

    for text in (
        "",
        " ",
        "null",
        "true",
        "1",
        '"text"',
        "[]",
        "{}",
        "[[]]",
        "[{}]",
        "[null]",
        "[1]",
        "{",
        "[",
        "}",
        "]",
        "\\",
    ):
        add("no table", text)
    for body in (b"\xff\xfe", b"\x00", b'{"records": "\xed\xa0\x80"}', b"\xef\xbb\xbf{}", b'["\xc3("]', b"\x80" * 100):
        add("no UTF-8", body)
    for depth in (10, 100, 1000, 100_000):
        add("deep", nested(depth))
        add("deep", '{"records": ' + nested(depth) + "}")
        add("deep", "".join('{"a":' for _ in range(depth)) + "1" + "}" * depth)
        add("deep", '{"dataframe_split": {"columns": ' + nested(depth) + ', "data": []}}')
    wrong = ["null", "true", '"x"', "[]", "{}", "[1]", '{"a": 1}', "NaN", "Infinity", "-Infinity", "1e400",
        "9" * 5000, "1.5",
             "-9223372036854775809", '"' + "x" * 200_000 + '"', '"\\ud800"']  # fmt: skip
    for column, value in GOOD.items():
        for bad in wrong:
            if (column == "ward" and bad.startswith('"')) or (
                column == "cholesterol" and bad in ("null", "1.5", "NaN")
            ):
                continue
            if column == "pressure" and bad in ("null", "1.5", "NaN"):
                continue
            if column in ("pressure", "cholesterol") and bad[:4] in ("9999", "-922"):
                continue
            if column == "ward" and bad in ("null", "NaN"):
                continue
            spoiled = good.replace(f'"{column}": {json.dumps(value)}', f'"{column}": {bad}')
            assert spoiled != good, column
            add(f"{column} is {bad[:12]}", f'{{"records": [{spoiled}]}}')
            add(f"{column} is {bad[:12]}", f'{{"dataframe_records": [{spoiled}]}}')
    for column in ("age", "pressure"):
        less = json.dumps({k: v for k, v in GOOD.items() if k != column})
        for body in (
            f"[{less}]",
            f'{{"records": [{good}, {less}]}}',
            f'{{"instances": [{less}]}}',
            f'{{"inputs": {less}}}',
        ):
            add(f"without {column}", body)
    names, row = json.dumps(list(GOOD)), json.dumps(list(GOOD.values()))
    twice = '["age", "age", "age", "age"]'
    for split in (
        "[]",
        "1",
        "null",
        "{}",
        f'{{"columns": {names}}}',
        f'{{"data": [{row}]}}',
        f'{{"columns": {names}, "data": {row}}}',
        f'{{"columns": {names}, "data": [[1]]}}',
        f'{{"columns": {names}, "data": [{row}], "index": 3}}',
        f'{{"columns": {names}, "data": [{row}], "more": 1}}',
        f'{{"columns": [1, 2, 3, 4], "data": [{row}]}}',
        f'{{"columns": [{{}}, [], null, 1], "data": [{row}]}}',
        f'{{"columns": {twice}, "data": [{row}]}}',
        f'{{"columns": {names}, "data": []}}',
        f'{{"columns": {names}, "data": null}}',
        '{"columns": [], "data": [[]]}',
    ):
        add("split", f'{{"dataframe_split": {split}}}')
    for inputs in ('{"age": [1, 2], "pressure": [1]}', '{"age": {}}', "{}", "null", "1", "[[1, 2]]", '{"age": [[1]]}'):
        add("inputs", f'{{"inputs": {inputs}}}')
    add("two forms", f'{{"instances": [{good}], "inputs": {{}}}}')
    add("params", f'{{"instances": [{good}], "params": {{"a": 1}}}}')
    add("unknown field", f'{{"records": [{good}], "entities": ["a"]}}')
    for entity in ('"a"', "[]", '["a", "b"]', "[null]", "[{}]", '[""]', "[true]", "[1.5]"):
        add("entity", f'{{"records": [{good}], "entity": {entity}}}')
    add("many rows", f'{{"records": [{",".join([good] * 10_001)}]}}')
    add("many names", "[{" + ",".join(f'"c{i}": 1' for i in range(200_000)) + "}]")
    add("many records", "[" + ",".join(f'{{"k{i}": 1}}' for i in range(9_000)) + "]")
    add("large", b'["' + b"x" * 11_000_000 + b'"]')
    for kind in ("text/plain", "application/xml", "multipart/form-data", "application/x-parquet", "", "json",
        "a" * 5000,
                 "application/json; charset=latin-1", "application/json; profile=x"):  # fmt: skip
        add("kind", f"[{good}]", kind)
    for text in ("", "age\n", "age,pressure\n1", "a,b\n1,2\n", "age,age\n1,2\n", '"', "\x00",
        "age,pressure,cholesterol,ward\nx,1,2,a\n",
                 "age,pressure,cholesterol,ward\n" + "1,2,3\n",
                 "age,pressure,cholesterol,ward\n1,2,3,a,5\n"):  # fmt: skip
        add("csv", text, "text/csv")
    add("csv", b"age\xff\n1\n", "text/csv")
    return found


BODIES = bodies()


ROUTES = ("/predict", "/invocations")


def test_there_are_more_than_three_hundred_of_them():
    assert len(BODIES) * len(ROUTES) > 300


def test_no_bad_body_gets_more_than_a_4xx_that_says_what_and_where(endpoint):
    for route in ROUTES:
        for name, (kind, body) in BODIES.items():
            answer = endpoint.post(route, data=body, headers={"content-type": kind})
            told = answer.text[:300]
            assert 400 <= answer.status_code < 500, (route, name, answer.status_code, told)
            found = answer.json()
            assert found["error_code"]
            assert found["message"], (name, told)
            assert found["request_id"], (name, told)
            assert "Traceback" not in told
            assert 'File "' not in told
            assert "site-packages" not in told
            if " is " in name or "without" in name:
                # with the form of the other route, it is the form that is wrong
                form = "records" if route == "/predict" else "dataframe_records"
                if f'"{form}"'.encode() in body:
                    assert found["field"], (name, told)
    assert endpoint.predict(GOOD).status_code == 200


def test_each_is_followed_by_a_good_one(endpoint):
    for kind, body in list(BODIES.values())[::7]:
        endpoint.post("/predict", data=body, headers={"content-type": kind})
        assert endpoint.predict(GOOD).status_code == 200


def test_a_hundred_megabytes_are_refused_before_they_are_read(endpoint):
    import psutil

    worker = psutil.Process(endpoint.workers()[0])
    before = worker.memory_info().rss

    def endless():
        for _ in range(1600):
            yield b" " * 65536

    for data in (b"[" * 100_000_000, endless()):
        try:
            answer = endpoint.post("/predict", data=data, headers={"content-type": JSON})
            assert answer.status_code == 413
        except OSError:  # the server had said so and hung up while we were still sending
            pass
        endpoint.session.close()
        assert endpoint.predict(GOOD).status_code == 200
    assert worker.memory_info().rss - before < 60e6


def test_other_methods_and_places_are_told_what_there_is(endpoint):
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "BREW"):
        answer = endpoint.session.request(method, endpoint.address + "/predict", timeout=30)
        assert answer.status_code in (400, 405), method
    for path in (
        "/nowhere",
        "/../etc/passwd",
        "/predict/",
        "/%00",
        "/predict%20",
        "//",
        "/model/../../x",
        "/" + "a" * 5000,
    ):
        assert endpoint.get(path).status_code in (400, 404), path


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n[]",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        b"GET /ping HTTP/1.1\r\n" + b"X: " + b"y" * 200_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"\xff" * 4096,
        b"GET /ping HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ],
    ids=range(11),
)
def test_what_is_no_http_does_no_harm(endpoint, sent):
    parts = urlsplit(endpoint.address)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as line:
        line.sendall(sent)
        line.shutdown(socket.SHUT_WR)
        try:
            answer = line.recv(65536)
        except ConnectionResetError:
            answer = b""
    assert b" 500 " not in answer[:40]
    assert b"Traceback" not in answer
    assert endpoint.predict(GOOD).status_code == 200


def test_callers_who_hang_up_do_no_harm(endpoint):
    parts = urlsplit(endpoint.address)
    body = json.dumps({"records": [GOOD] * 2000}).encode()
    for cut in (0, 10, len(body) // 2, len(body)):
        with socket.create_connection((parts.hostname, parts.port), timeout=30) as line:
            head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nContent-Length: {len(body)}\r\n\r\n"
            line.sendall(head.encode() + body[:cut])
    assert endpoint.predict(GOOD).status_code == 200
    assert "Traceback" not in endpoint.log.read_text()


def test_schemathesis_finds_no_fault_in_what_openapi_says(endpoint, tmp_path):
    command = Path(sys.executable).with_name("schemathesis")
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    done = subprocess.run(
        [command, "run", f"{endpoint.address}/openapi.json", "--checks", checks, "--max-examples", "60", "--seed", "1",
         "--phases", "examples,coverage,fuzzing", "--no-color", "--request-timeout", "30"],
        cwd=tmp_path, capture_output=True, text=True, timeout=500, env={**os.environ, "SCHEMATHESIS_HOOKS": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert endpoint.predict(GOOD).status_code == 200
