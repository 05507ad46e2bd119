"Whatever is sent becomes a table, as MLflow would make it, or a problem that names its place; never anything else."

import json
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mlflow.models import Model, infer_signature
from mlflow.pyfunc.scoring_server import infer_and_parse_data
from mlflow.types.schema import ColSpec, Schema
from mlflow.utils.proto_json_utils import _CustomJsonEncoder

from mlops_nb.serve.problems import Problem
from mlops_nb.serve.requests import Limits, read_invocation, read_records
from mlops_nb.serve.signature import KINDS, Signature
from mlops_nb.serve.table import Table

JSON = "application/json"
SCHEMA = Schema([ColSpec(kind, kind) for kind in KINDS] + [ColSpec("double", "maybe", required=False)])
GOOD = {"double": 1.5, "float": 2.5, "long": 3, "integer": 4, "boolean": True, "string": "x",
        "datetime": "2026-01-01T00:00:00"}  # fmt: skip


def signature_of(schema: Schema) -> Signature:
    return Signature.of(type("Metadata", (), {"get_input_schema": lambda self: schema})())


ALL = signature_of(SCHEMA)


def told(body: bytes, content_type: str = JSON, signature: Signature = ALL, **limits) -> Problem | Table:
    "What becomes of a request."
    try:
        return read_invocation(body, content_type, signature, Limits(**limits))
    except Problem as problem:
        return problem


def records(*rows: dict) -> bytes:
    return orjson.dumps({"dataframe_records": list(rows)})


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
nearly = st.fixed_dictionaries({}, optional={name: st.just(value) | anything for name, value in GOOD.items()})
forms = st.sampled_from(
    ["dataframe_split", "dataframe_records", "instances", "inputs", "params", "records", "entity", "x"]
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(forms, anything | nearly | st.lists(nearly, max_size=3), max_size=2) | anything)
@example({"dataframe_split": {"columns": [[]], "data": [[1]]}})
@example({"inputs": {name: [] for name in GOOD}})
@example({"inputs": GOOD | {"long": [1]}})
@example({"dataframe_records": [GOOD, None]})
@example({"instances": [[1]]})
def test_json_of_any_shape_becomes_a_table_or_a_problem(body):
    found = told(orjson.dumps(body))
    if isinstance(found, Problem):
        assert 400 <= found.status < 500
        assert len(found.body()) < 2000
    else:
        assert len(found.frame()) == found.rows > 0
    with suppress(Problem):
        table, extra = read_records(orjson.dumps(body), JSON, ALL)
        assert len(extra.get("entity", table.values)) == table.rows


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@example(b'{"dataframe_records": [{"a": NaN, "a": Infinity}]}')
@example(b"[NaN" + b"]" * 50)
@example(b'{"inputs": {"a": [NaN]}} trailing')
def test_bytes_of_any_kind_become_a_problem(body):
    for content_type in (JSON, "text/csv"):
        found = told(body, content_type)
        assert isinstance(found, Problem)
        assert 400 <= found.status < 500


VALUES = {
    "double": st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53),
    "float": st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(-1000, 1000),
    "long": st.integers(-(2**63), 2**63 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "boolean": st.booleans(),
    "string": st.text(max_size=4) | st.none(),
    "datetime": st.integers(-(2**33), 2**32).map(lambda second: pd.Timestamp(second, unit="s").isoformat()),
    "maybe": st.none() | st.floats(-1e9, 1e9),
}


@settings(max_examples=150, deadline=None)
@given(data=st.data(), form=st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs"]))
def test_what_is_right_becomes_the_frame_that_mlflow_makes(data, form):
    names = data.draw(st.permutations(list(VALUES)))
    texts = (
        {"string": st.text(max_size=4)} if form in ("instances", "inputs") else {}
    )  # there, MLflow makes "None" of null
    rows = [{name: data.draw({**VALUES, **texts}[name]) for name in names} for _ in range(data.draw(st.integers(1, 5)))]
    if form == "dataframe_split":
        body = {form: {"columns": names, "data": [[row[name] for name in names] for row in rows]}}
    else:
        body = {form: {name: [row[name] for row in rows] for name in names} if form == "inputs" else rows}
    ours = told(orjson.dumps(body)).frame()
    theirs = pd.DataFrame(infer_and_parse_data(body, SCHEMA))[list(ALL.names)]
    if form in ("instances", "inputs"):  # these have the types that MLflow gives them when it enforces the schema
        theirs = theirs.astype({"datetime": "datetime64[ns]"})
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


def test_what_mlflows_own_client_sends_is_read():
    frame = pd.DataFrame([GOOD, GOOD | {"double": np.nan, "string": None}]).assign(maybe=np.nan)
    frame["datetime"] = pd.to_datetime(frame["datetime"]).where([True, False])
    body = json.dumps({"dataframe_split": frame.to_dict(orient="split")}, cls=_CustomJsonEncoder).encode()
    assert b"NaN" in body
    table = told(body)
    assert np.isnan(table.frame().double[1])
    assert table.frame().datetime.isna().tolist() == [False, True]


WRONG = [  # what is sent, and the code and the place that the caller is told
    (records(GOOD, GOOD | {"long": "3"}), "WRONG_TYPE", "dataframe_records[1].long"),
    (records(GOOD | {"double": "1.5"}), "WRONG_TYPE", "dataframe_records[0].double"),
    (records(GOOD | {"double": True}), "WRONG_TYPE", "dataframe_records[0].double"),
    (records(GOOD | {"boolean": 1}), "WRONG_TYPE", "dataframe_records[0].boolean"),
    (records(GOOD | {"boolean": None}), "WRONG_TYPE", "dataframe_records[0].boolean"),
    (records(GOOD | {"string": 5}), "WRONG_TYPE", "dataframe_records[0].string"),
    (records(GOOD | {"string": ["x"]}), "WRONG_TYPE", "dataframe_records[0].string"),
    (records(GOOD | {"long": 1.5}), "WRONG_TYPE", "dataframe_records[0].long"),
    (records(GOOD | {"long": 2**63}), "OUT_OF_RANGE", "dataframe_records[0].long"),
    (records(GOOD | {"long": 1e300}), "OUT_OF_RANGE", "dataframe_records[0].long"),
    (records(GOOD | {"integer": 2**31}), "OUT_OF_RANGE", "dataframe_records[0].integer"),
    (records(GOOD | {"datetime": "2026-01-01T00:00:00Z"}), "WRONG_TIME", "dataframe_records[0].datetime"),
    (records(GOOD | {"datetime": "9999-01-01"}), "WRONG_TIME", "dataframe_records[0].datetime"),
    (records({k: v for k, v in GOOD.items() if k != "float"}), "MISSING_COLUMNS", "dataframe_records[0].float"),
    (records(), "NO_ROWS", "dataframe_records"),
    (records(*[GOOD] * 11), "TOO_MANY_ROWS", "dataframe_records"),
    (records(GOOD | {"string": "x" * 2001}), "TOO_LONG", "dataframe_records[0].string"),
    (b'{"dataframe_records": [' + b"[" * 2000 + b"]" * 2000 + b"]}", "INVALID_JSON", "line 1 column 1047"),
    (b'{"dataframe_records": [{"long": ' + b"9" * 5000 + b"}]}", "INVALID_JSON", "line 1 column 33"),
    (b'{"inputs": {"long": -Infinity}}', "INVALID_JSON", "line 1 column 22"),
    (orjson.dumps({"dataframe_split": {"columns": [*GOOD, "long"], "data": []}}), "NO_ROWS", "dataframe_split.data"),
    (orjson.dumps({"dataframe_split": {"columns": [*GOOD, "long"], "data": [[*GOOD.values(), 1]]}}), "DUPLICATE_COLUMN",
     "dataframe_split.columns"),
    (orjson.dumps({"dataframe_split": {"data": [[1]]}}), "WRONG_TYPE", "dataframe_split.columns"),
    (orjson.dumps({"dataframe_split": {"columns": list(GOOD), "data": [[1, 2]]}}), "WRONG_TYPE",
     "dataframe_split.data[0]"),
    (orjson.dumps({"dataframe_split": {"columns": list(GOOD), "data": [{}]}}), "WRONG_TYPE", "dataframe_split.data[0]"),
    (orjson.dumps({"inputs": {name: [value, value] for name, value in GOOD.items()} | {"float": [1]}}), "WRONG_TYPE",
     "inputs.float"),
    (orjson.dumps({"inputs": {name: [value] for name, value in GOOD.items()} | {"long": [None]}}), "WRONG_TYPE",
     "inputs.long[0]"),
    (orjson.dumps({"dataframe_records": [GOOD], "rows": 1}), "UNKNOWN_FIELD", "rows"),
    (orjson.dumps({"dataframe_records": [GOOD], "params": {"a": 1}}), "UNKNOWN_FIELD", "params"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "code", "field"), WRONG, ids=[f"{one[1]} {one[2]}" for one in WRONG])
def test_what_is_wrong_is_named(body, code, field):
    problem = told(body, rows=10, string=2000)
    assert (problem.code, problem.field) == (code, field), problem


OTHERS = ["", ";", "text/plain", "application/json; charset=latin-1", "application/json; a=b",
          "application/vnd.apache.parquet", "multipart/form-data; boundary=x"]  # fmt: skip


@pytest.mark.parametrize("content_type", OTHERS)
def test_other_kinds_of_content_are_refused(content_type):
    assert told(records(GOOD), content_type).status == 415


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON", "application/json;charset=UTF-8",
                                          'application/json; charset="utf-8"'])  # fmt: skip
def test_json_in_utf8_may_be_called_in_many_ways(content_type):
    assert told(records(GOOD), content_type).rows == 1


BOMBS = {
    "records with a million different keys": (
        lambda: b'{"dataframe_records": [' + b",".join(b'{"k%d":1}' % i for i in range(1_000_000)) + b"]}"
    ),
    "ten million empty lists": lambda: b'{"inputs": [' + b"[]," * 10_000_000 + b"[]]}",
    "empty objects": lambda: b'{"instances": [' + b"{}," * 3_000_000 + b"{}]}",
    "a long text": lambda: orjson.dumps({"dataframe_records": [GOOD | {"string": "x" * 50_000_000}]}),
    "a text of commas": lambda: orjson.dumps({"dataframe_records": [GOOD | {"string": "," * 50_000_000}]}),
    "a text of quotes": lambda: orjson.dumps({"dataframe_records": [GOOD | {"string": '",' * 20_000_000}]}),
    "quotes without an end": lambda: b'{"a": "' + b'\\"' * 20_000_000,
    "open brackets": lambda: b"[" * 50_000_000,
    "NaN and open brackets": lambda: b"[NaN," + b"[" * 900_000,
    "a long number": lambda: b"1" * 50_000_000,
    "NaN and a long number": lambda: b"[NaN," + b"1" * 900_000,
    "a file of commas": lambda: b"," * 50_000_000,
}


def resident(which: str) -> int:
    "Memory of this process [bytes]: now (VmRSS), or at most since it was reset (VmHWM)."
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(which))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured as Linux tells it")
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_soon_and_takes_little_more_memory_than_itself(name):
    body = BOMBS[name]()
    for content_type in (JSON, "text/csv"):
        Path("/proc/self/clear_refs").write_text("5")  # begin anew
        before, begun = resident("VmRSS"), time.thread_time()
        found = told(body, content_type)
        assert isinstance(found, Problem)
        assert found.status in (400, 413)
        assert resident("VmHWM") - before < 4 * len(body) + 30_000_000
        assert time.thread_time() - begun < 5


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured as Linux tells it")
def test_as_much_as_the_limits_allow_takes_a_few_times_its_size():
    frame = pd.DataFrame({f"number {place}": [0.123456789 * place] for place in range(90)})
    signature = Signature.of(Model(signature=infer_signature(frame)))
    split = {"columns": list(frame), "data": frame.to_numpy().tolist() * 10_000}
    for body, content_type in (
        (orjson.dumps({"dataframe_split": split}), JSON),
        (orjson.dumps({"dataframe_records": frame.to_dict("records") * 10_000}), JSON),
        (pd.concat([frame] * 10_000).to_csv(index=False).encode(), "text/csv"),
    ):
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmRSS")
        table = read_invocation(body, content_type, signature)
        assert len(table.columns[0]) == 10_000
        assert len(body) > 10_000_000
        assert resident("VmHWM") - before < 6 * len(body)
