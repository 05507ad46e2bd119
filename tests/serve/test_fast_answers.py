"Whatever way an answer is found, it is that of MLflow, to the last bit."

import logging
from io import StringIO

import mlflow.sklearn
import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from mlflow.pyfunc.scoring_server import infer_and_parse_data, parse_csv_input
from served_models import FLOATS, MODELS, WHOLE, X, plain, serve, y
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlops_nb.errors import RegistryError
from mlops_nb.model.package import TRUSTED
from mlops_nb.model.store import connect
from mlops_nb.serve import preparation
from mlops_nb.serve.preparation import Unsure
from mlops_nb.serve.probe import same
from mlops_nb.serve.problems import Problem
from mlops_nb.serve.requests import read_invocation, read_records
from mlops_nb.serve.served import ServedModel
from mlops_nb.serve.table import Table

JSON = "application/json"
slowly = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]}


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    folder = tmp_path_factory.mktemp("registry")
    connect(folder)
    return folder


@pytest.fixture(scope="module", params=MODELS)
def served(request, registry):
    "Each model, the way that it has to take, and rows that it can answer."
    make, path = MODELS[request.param]
    estimator, frame = make()
    return serve(estimator, frame, registry), path, frame


def read(rows: pd.DataFrame | list[dict], model: ServedModel) -> Table:
    records = rows if isinstance(rows, list) else plain(rows)
    return read_records(orjson.dumps(records), JSON, model.signature)[0]


def test_each_model_takes_the_quickest_way_that_is_there(served):
    model, path, _ = served
    assert model.path == path, model.why
    assert (model.why == "") == (path == "numpy")


def test_answers_to_all_patients_are_equal_in_requests_of_any_size(served):
    model, _, frame = served
    start, tables = 0, []
    for size in [1] * 12 + [2, 3, 4, 5, 6, 7, 9, 15, 16, 17, 31, 32, 33, 64, 65]:
        tables.append(read(frame[start : start + size], model))
        start += size
    theirs = [model.pyfunc.predict(table.frame()) for table in tables]
    for table, answer in zip(tables, theirs, strict=True):
        assert same(model.answer(table).output, answer), table.rows
    if model.path == "numpy" or model.joins:
        together = (model.quick if model.path == "numpy" else model.slow)(tables)
        assert all(same(ours.output, answer) for ours, answer in zip(together, theirs, strict=True))


ANY = {
    "double": st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**40), 2**40),
    "long": st.integers(-(2**63), 2**63 - 1) | st.integers(-100, 200),
    "boolean": st.booleans(),
    "datetime": st.integers(-(2**33), 2**32).map(lambda second: pd.Timestamp(second, unit="s").isoformat()),
    "string": st.text(max_size=5) | st.none(),
}


def values(column, records: list[dict]) -> st.SearchStrategy:
    "Mostly values as the patients have them; now and then any that the type allows."
    seen = list({record[column.name]: None for record in records})
    return st.integers(0, 3).flatmap(lambda number: st.sampled_from(seen) if number else ANY[column.kind])


@st.composite
def requests(draw, model, records: list[dict]):
    "A request in one of MLflow's forms: columns in any order, further ones, words that nobody knows."
    form = draw(st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs"]))
    chosen = draw(st.permutations(model.signature.columns))
    found = []
    for _ in range(draw(st.integers(1, 8))):
        row = {column.name: draw(values(column, records)) for column in chosen}
        for column in chosen:
            if form in ("instances", "inputs") and column.kind in ("string", "datetime") and row[column.name] is None:
                row[column.name] = ""  # MLflow would make the word "None" of it
        found.append(row)
    extra = draw(st.dictionaries(st.sampled_from(["id", "note", "more"]), st.integers(0, 9), max_size=2))
    found = [row | extra for row in found]
    names = list(found[0])
    if form == "dataframe_split":
        return {form: {"columns": names, "data": [[row[name] for name in names] for row in found]}}
    return {form: {name: [row[name] for row in found] for name in names} if form == "inputs" else found}


@settings(max_examples=12, **slowly)
@given(data=st.data())
def test_whatever_is_sent_in_whatever_form_gets_mlflows_answer(served, data):
    model, _, frame = served
    asked = data.draw(requests(model, plain(frame)))
    table = read_invocation(orjson.dumps(asked), JSON, model.signature)
    schema = model.pyfunc.metadata.get_input_schema()
    try:
        theirs = model.pyfunc.predict(infer_and_parse_data(orjson.loads(orjson.dumps(asked)), schema))
    except (ValueError, MlflowException):
        with pytest.raises(Problem):
            model.answer(table)
        return
    assert same(model.answer(table).output, theirs)


@settings(max_examples=6, **slowly)
@given(data=st.data())
def test_neighbours_in_a_batch_change_no_bit(served, data):
    model, _, frame = served
    records = plain(frame)
    asked = [data.draw(requests(model, records)) for _ in range(3)]
    if model.path != "numpy":
        return
    tables = [read_invocation(orjson.dumps(one), JSON, model.signature) for one in asked]
    try:
        together = model.quick(tables)
    except Unsure:  # one of them has to be asked in another way
        return
    for table, answer in zip(tables, together, strict=True):
        assert same(answer.output, model.pyfunc.predict(table.frame()))


def test_labels_are_those_of_the_model(served):
    model, _, frame = served
    table = read(frame.head(40), model)
    answer = model.answer(table)
    if hasattr(model.estimator, "predict_proba"):
        assert answer.labels == model.estimator.predict(table.frame()).tolist()
        np.testing.assert_array_equal(answer.probabilities, model.estimator.predict_proba(table.frame()))
    else:
        assert (answer.labels, answer.probabilities) == (None, None)


@pytest.mark.parametrize("count", [3, 150])
@pytest.mark.parametrize("make", [lambda: LogisticRegression(), lambda: make_pipeline(StandardScaler(), Ridge())])
def test_sums_over_many_columns_are_rounded_as_in_mlflow_whoever_asks_beside(registry, make, count):
    chance = np.random.default_rng(count)
    frame = pd.DataFrame(chance.normal(size=(400, count))).add_prefix("number ")
    model = serve(make().fit(frame, frame["number 0"] > frame["number 1"]), frame, registry)
    sizes = [*range(1, 40), 64, 100]
    tables = [read(frame.sample(size, random_state=size), model) for size in sizes]
    theirs = [model.pyfunc.predict(table.frame()) for table in tables]
    assert model.path == "numpy"
    for table, together, answer in zip(tables, model.quick(tables), theirs, strict=True):
        assert same(model.answer(table).output, answer), table.rows
        assert same(together.output, answer), table.rows


def test_a_csv_is_read_as_mlflow_reads_it(registry):
    model = serve(*MODELS["xgboost"][0](), registry)
    text = pd.concat([X, X.assign(ldl=X.ldl / 3)], ignore_index=True).to_csv(index=False)
    theirs = model.pyfunc.predict(parse_csv_input(StringIO(text), model.pyfunc.metadata.get_input_schema()))
    assert same(model.answer(read_invocation(text.encode(), "text/csv", model.signature)).output, theirs)


@pytest.mark.parametrize("kind", [np.float32, np.int32, bool])
def test_numbers_of_other_types_get_mlflows_answer(registry, kind):
    frame = WHOLE[FLOATS].astype(kind)
    model = serve(LogisticRegression(max_iter=5000).fit(frame, y), frame, registry)
    for rows in (1, 2, 50):
        assert same(model.answer(read(frame.head(rows), model)).output, model.pyfunc.predict(frame.head(rows)))


@pytest.mark.parametrize("name", ["logistic", "forest", "boosting", "xgboost", "named classes", "calibrated lines"])
def test_a_model_of_others_that_answers_labels_is_served(tmp_path, name):
    estimator, frame = MODELS[name][0]()
    mlflow.sklearn.save_model(
        estimator,
        tmp_path / "model",
        signature=infer_signature(frame, estimator.predict(frame)),
        input_example=frame.head(5),
        serialization_format="skops",
        skops_trusted_types=list(TRUSTED),
    )
    model = ServedModel.load(tmp_path / "model")
    assert (model.path, model.classes) == ("numpy", None), model.why
    answer = model.answer(read(frame.head(60), model))
    assert same(answer.output, model.pyfunc.predict(frame.head(60)))
    assert answer.labels is None


class Twice(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return pd.DataFrame({"twice": model_input["tobacco"] * 2, "word": "ok"})


def test_a_python_model_is_asked_in_mlflows_way_and_only_when_its_maker_is_trusted(tmp_path):
    frame = WHOLE[FLOATS]
    signature, files = infer_signature(frame), tmp_path / "twice"
    mlflow.pyfunc.save_model(files, python_model=Twice(), input_example=frame.head(5), signature=signature)
    with pytest.raises(RegistryError, match="not stored as plain data"):
        ServedModel.load(files)
    model = ServedModel.load(files, allow_pickle=True)
    assert model.path == "pyfunc"
    answer = model.answer(read(frame.head(3), model))
    assert answer.predictions() == [{"twice": v * 2, "word": "ok"} for v in frame.tobacco.head(3)]


def test_a_model_without_columns_is_refused_when_it_is_loaded(tmp_path):
    values = WHOLE[FLOATS].to_numpy()
    estimator = LogisticRegression().fit(values, y)
    for number, signature in enumerate((None, infer_signature(values))):
        mlflow.sklearn.save_model(estimator, tmp_path / str(number), signature=signature, serialization_format="skops")
        with pytest.raises(RegistryError, match="signature"):
            ServedModel.load(tmp_path / str(number))


def test_a_way_that_is_wrong_once_is_never_taken_again(registry, caplog):
    model = serve(*MODELS["xgboost"][0](), registry)
    table = Table(model.signature, model.rows)
    assert model.check(table)
    model.fast.model.prepare.blocks[0][0].steps.append(lambda block: block * 0)
    with caplog.at_level(logging.ERROR, "mlops_nb.serve"):
        assert not model.check(table)
    assert (model.path, model.differences) == ("pyfunc", 1)
    assert "differed" in caplog.text
    assert same(model.answer(table).output, model.pyfunc.predict(table.frame()))


def test_a_translation_that_is_wrong_in_the_last_bit_is_found_when_the_model_is_loaded(registry, monkeypatch):
    def almost(center, scale):
        return lambda block: (block - center) * (1 / scale)  # the same, but for the rounding

    monkeypatch.setattr(preparation, "_shift", almost)
    model = serve(*MODELS["logistic"][0](), registry)
    assert (model.path, model.why) == ("native", "the quick answers differ from MLflow's")
    table = Table(model.signature, model.rows)
    assert same(model.answer(table).output, model.pyfunc.predict(table.frame()))


def test_one_bit_is_a_difference():
    one = np.array([0.1, np.nan])
    assert same(one, one.copy())
    assert not same(one, np.nextafter(one, 1))
