"What is too large for memory, checked as it flows by: as if it were a frame."

from pathlib import Path

import dask.dataframe
import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_nb.data.check_parts import row_numbers, to_frame
from mlops_nb.data.schema import Column, Schema, check_parts
from mlops_nb.errors import DataError

HEART = Path(__file__).parents[2] / "nbs" / "pipelines" / "heart" / "data" / "saheart.csv"


@pytest.fixture(scope="module")
def patients() -> pd.DataFrame:
    "Heart patients, some of them wrong in each way."
    df = pd.read_csv(HEART)
    df.loc[17, "ldl"] = -1.0
    df.loc[[30, 31], "ldl"] = None
    df.loc[400, "famhist"] = "Unknown"
    df.loc[[80, 90], "famhist"] = None
    df.loc[5, "age"] = 200
    return pd.concat([df, df[100:103]], ignore_index=True)


SCHEMA = Schema(
    {
        "sbp": Column("int", minimum=50, maximum=300),
        "tobacco": Column("float", minimum=0),
        "ldl": Column("float", minimum=0),
        "adiposity": Column("float"),
        "famhist": Column("text", categories=["Absent", "Present"]),
        "typea": Column("int"),
        "obesity": Column("float"),
        "alcohol": Column("float"),
        "age": Column("int", maximum=120),
        "chd": Column("int", categories=[0, 1]),
    },
    target="chd",
    keys=(("sbp", "tobacco", "ldl", "adiposity"),),
    rules={"pressure above age": "sbp > age"},
)

WAYS = {
    "a table of Arrow's": lambda df: pa.Table.from_pandas(df),
    "a reader of Arrow's": lambda df: pa.RecordBatchReader.from_batches(
        pa.Schema.from_pandas(df), pa.Table.from_pandas(df).to_batches(50)
    ),
    "a relation of DuckDB's": lambda df: duckdb.from_arrow(pa.Table.from_pandas(df)),
    "a frame of Dask's": lambda df: dask.dataframe.from_pandas(df, npartitions=4),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_same_is_found_as_in_a_frame(way, patients):
    whole, flowing = SCHEMA.check(patients), SCHEMA.check(WAYS[way](patients))
    said = [(v.column, v.rule, v.count, round(v.share, 9)) for v in flowing.violations]
    assert said == [(v.column, v.rule, v.count, round(v.share, 9)) for v in whole.violations]
    assert [v[:2] for v in said] == [
        ("", "duplicates"),
        ("ldl", "nulls"),
        ("ldl", "minimum"),
        ("famhist", "nulls"),
        ("famhist", "categories"),
        ("age", "maximum"),
        ("sbp, tobacco, ldl, adiposity", "key"),
        ("", "pressure above age"),
    ]
    examples = {v.rule: v.examples for v in flowing.violations}
    assert examples["minimum"] == ((17, -1.0),)
    assert examples["categories"] == ((400, "Unknown"),)
    assert [row for row, _ in examples["duplicates"]] == [462, 463, 464]
    assert SCHEMA.check(WAYS[way](patients[200:300])).passed


def test_what_holds_no_table_is_told():
    with pytest.raises(DataError, match="int holds no table"):
        SCHEMA.check(5)


VALUES = {
    "float64": st.none() | st.floats(allow_nan=False, width=16) | st.sampled_from([0.0, -0.0]),
    "Int64": st.none() | st.integers(-3, 3) | st.sampled_from([2**62, -(2**62)]),
    "boolean": st.none() | st.booleans(),
    "object": st.none() | st.text("ab", max_size=2),
}


@settings(max_examples=60)
@given(st.data(), st.sampled_from(sorted(VALUES)), st.sampled_from(sorted(VALUES)))
def test_rows_have_the_same_number_exactly_when_they_are_equal(data, first, second):
    rows = data.draw(st.lists(st.tuples(VALUES[first], VALUES[second]), min_size=1, max_size=30))
    one, two = zip(*rows, strict=True)
    df = pd.DataFrame({"a": pd.Series(one, dtype=first), "b": pd.Series(two, dtype=second)})
    numbers = row_numbers(df, ["a", "b"])
    same = pd.Series(numbers).duplicated(keep=False).tolist()
    assert same == df.astype(object).where(df.notna(), "null").duplicated(keep=False).tolist()
    flowing = to_frame(pa.Table.from_pandas(df.astype({"a": first, "b": second}), preserve_index=False))
    assert row_numbers(flowing, ["a", "b"]).tolist() == numbers.tolist()


def test_memory_is_that_of_a_part_and_eight_bytes_a_row():
    import tracemalloc

    schema = Schema({f"x{i}": Column("float", minimum=-9, maximum=9) for i in range(10)})

    def parts(count):
        rng = np.random.default_rng(0)
        for _ in range(count):
            yield pd.DataFrame({f"x{i}": rng.normal(size=20_000) for i in range(10)})

    peaks = []
    for count in (5, 40):
        tracemalloc.start()
        assert check_parts(schema, parts(count)).passed
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 35 * 20_000 * 8 * 3.5  # the numbers of the rows, joined and sorted at the end
