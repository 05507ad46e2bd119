"A digest sees every change of the content, and nothing else: shown on random tables."

import io
import itertools
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mlops_nb.data import digest as module
from mlops_nb.data.digest import Digest, frame_digest, table_digest
from mlops_nb.data.frames import plain_schema, plain_table, table_frame
from mlops_nb.data.versions import load_version, snapshot

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
VALUES = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint8(): st.integers(0, 255),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float64(): st.floats(),
    pa.float32(): st.floats(width=32),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(st.characters(codec="utf-8"), max_size=8),
    pa.binary(): st.binary(max_size=8),
    pa.date32(): st.dates(),
    pa.timestamp("us"): st.integers(-(2**50), 2**50),
    pa.timestamp("ms", "Europe/Berlin"): st.integers(-(2**40), 2**40),
    pa.duration("us"): st.integers(-(2**50), 2**50),
    pa.decimal128(20, 2): st.decimals(-(10**15), 10**15, places=2),
    pa.list_(pa.int32()): st.lists(st.none() | st.integers(0, 9), max_size=3),
    pa.struct([("a", pa.int8()), ("b", pa.string())]): st.fixed_dictionaries(
        {"a": st.none() | st.integers(0, 9), "b": st.none() | st.text("xy", max_size=2)}
    ),
    pa.dictionary(pa.int8(), pa.string()): st.sampled_from(["low", "high", "é"]),
}


OBJECTS = (pa.types.is_binary, pa.types.is_date, pa.types.is_decimal, pa.types.is_list, pa.types.is_struct)
HELD = [kind for kind in VALUES if not any(is_a(kind) for is_a in OBJECTS)]  # pandas has a type for them


@st.composite
def tables(draw, kinds=tuple(VALUES)):
    "A table of one to four columns, with nulls."
    rows = draw(st.integers(1, 12))
    columns = {}
    for number in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(kinds))
        values = draw(st.lists(st.none() | VALUES[kind], min_size=rows, max_size=rows))
        columns[f"c{number}"] = pa.array(values, kind)
    return pa.table(columns)


def cut(table, places):
    "The same rows in pieces."
    ends = sorted({0, table.num_rows, *(place % (table.num_rows + 1) for place in places)})
    return [table.slice(a, b - a) for a, b in itertools.pairwise(ends)]


def parquet(table, **options):
    sink = io.BytesIO()
    pyarrow.parquet.write_table(table, sink, **options)
    return pyarrow.parquet.ParquetFile(sink)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    "Blocks of four rows, so that small tables have several."
    monkeypatch.setattr(module, "BLOCK", 4)


@quick
@given(tables(), st.lists(st.integers(0, 50), max_size=5), st.integers(1, 5))
def test_layout_does_not_count(table, places, group):
    digest = table_digest(table)
    pieces = cut(table, places)
    assert table_digest(pa.concat_tables(pieces)) == digest
    assert table_digest(batch for piece in pieces for batch in piece.to_batches()) == digest
    file = parquet(table, row_group_size=group, compression="zstd", data_page_size=50)
    assert table_digest(file.read()) == digest
    assert table_digest(file.iter_batches(batch_size=3)) == digest
    padded = pa.concat_tables([table, table, table]).slice(table.num_rows, table.num_rows)  # offsets into buffers
    assert table_digest(padded) == digest


@quick
@given(tables(), st.integers(0, 50))
def test_a_digest_goes_on_where_it_was(table, place):
    schema = plain_schema(table.schema)
    first = Digest(schema)
    first.update(plain_table(table.slice(0, place), schema))
    later = Digest(schema, first.state)
    later.update(plain_table(table.slice(first.state["rows"]), schema))
    assert later.result()[0] == table_digest(table)
    assert later.rows == table.num_rows


@quick
@given(tables(), st.data())
def test_any_single_change_is_seen(table, data):
    digest = table_digest(table)
    name = data.draw(st.sampled_from(table.column_names))
    row = data.draw(st.integers(0, table.num_rows - 1))
    kind, values = table.schema.field(name).type, table.column(name).to_pylist()
    number = pa.types.is_timestamp(kind) or pa.types.is_duration(kind)
    raw = table.column(name).cast(pa.int64()).to_pylist() if number else values
    other = data.draw(st.none() | VALUES[kind])
    empty = {value is None or (isinstance(value, float) and math.isnan(value)) for value in (raw[row], other)}
    assume(raw[row] != other and empty != {True})
    changed = pa.array([*raw[:row], other, *raw[row + 1 :]], kind)
    assert table_digest(table.set_column(table.column_names.index(name), name, changed)) != digest


@quick
@given(tables(), st.randoms())
def test_order_of_rows_and_columns_counts(table, chance):
    digest = table_digest(table)
    order = list(range(table.num_rows))
    chance.shuffle(order)
    moved = table.take(order)
    assert (table_digest(moved) == digest) == (repr(moved.to_pydict()) == repr(table.to_pydict()))
    names = list(reversed(table.column_names))
    assert (table_digest(table.select(names)) == digest) == (len(names) == 1)
    assert table_digest(table.rename_columns([*names[:-1], "z"])) != digest
    assert table_digest(pa.concat_tables([table, table.slice(0, 1)])) != digest


@quick
@given(tables(HELD))
def test_a_frame_and_its_rows_in_arrow_have_one_digest(table):
    table = plain_table(table, plain_schema(table.schema))
    df = table_frame(table)
    assert frame_digest(df) == table_digest(table)
    assert frame_digest(df.iloc[::-1].iloc[::-1]) == table_digest(table)


@settings(quick, max_examples=25)
@given(tables(), st.lists(st.integers(0, 50), max_size=3))
def test_pieces_that_are_appended_are_the_whole_and_come_back(tmp_path_factory, table, places):
    home = tmp_path_factory.mktemp("store")
    table = plain_table(table, plain_schema(table.schema))
    whole = snapshot(table, "whole", home=home)
    for piece in cut(table, places):
        part = snapshot(piece, "parts", mode="append", home=home)
    assert part.digest == whole.digest == table_digest(table)
    for name in ("whole", "parts"):
        pd.testing.assert_frame_equal(load_version(name, home=home), whole.read())
    assert whole.batches().read_all().schema == table.schema


def test_absences_are_one_and_zeros_are_one():
    nan = pa.table({"x": pa.array([1.0, float("nan")])})
    null = pa.table({"x": pa.array([1.0, None])})
    assert table_digest(nan) == table_digest(null)
    assert table_digest(pa.table({"x": [0.0, -0.0]})) == table_digest(pa.table({"x": [-0.0, 0.0]}))
    assert table_digest(pa.table({"x": pa.nulls(3)})) == table_digest(
        pa.table({"x": pa.array([None] * 3, pa.string())})
    )


def test_what_lies_under_a_null_does_not_count():
    valid = pa.py_buffer(b"\x05")
    for kind, one, other in (
        (pa.int32(), np.array([1, 2, 3], "i4"), np.array([1, 99, 3], "i4")),
        (pa.float64(), np.array([1, 2, 3.0]), np.array([1, np.nan, 3.0])),
        (pa.timestamp("us"), np.array([1, 2, 3]), np.array([1, -9, 3])),
    ):
        sides = [pa.Array.from_buffers(kind, 3, [valid, pa.py_buffer(values)]) for values in (one, other)]
        assert len({table_digest(pa.table({"x": side})) for side in sides}) == 1
    offsets = pa.py_buffer(np.array([0, 1, 3, 4], "i4"))
    texts = [pa.Array.from_buffers(pa.string(), 3, [valid, offsets, pa.py_buffer(text)]) for text in (b"axxb", b"ayyb")]
    assert len({table_digest(pa.table({"x": text})) for text in texts}) == 1
    lists = [pa.ListArray.from_buffers(pa.list_(pa.string()), 3, [valid, offsets], children=[pa.array(list(t))])
             for t in ("axxb", "ayyb")]  # fmt: skip
    assert len({table_digest(pa.table({"x": each})) for each in lists}) == 1


def test_every_storage_of_text_is_text():
    kinds = [pa.string(), pa.large_string(), pa.string_view()]
    assert len({table_digest(pa.table({"x": pa.array(["a", None, "é"], kind)})) for kind in kinds}) == 1
    lists = [pa.list_(pa.string()), pa.large_list(pa.large_string()), pa.list_(pa.string(), 2)]
    assert len({table_digest(pa.table({"x": pa.array([["a", "b"], ["c", None]], kind)})) for kind in lists}) == 1


def test_types_that_are_not_stored_are_refused_by_name():
    for array in (
        pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8())),
        pa.array([1], pa.decimal256(60, 0)),
        pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
    ):
        with pytest.raises(module.DataError, match="column `x` is of the type"):
            table_digest(pa.table({"x": array}))
