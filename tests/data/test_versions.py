"What a digest sees, and what a store of versions survives."

import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import date, time
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mlops_nb.data.versions import DataVersion, find_version, frame_digest, load_version, snapshot, versions
from mlops_nb.errors import DataError

COLUMNS = {
    "int": [3, 1, 2],
    "int8": np.array([3, 1, 2], "int8"),
    "uint64": np.array([2**63, 1, 2], "uint64"),
    "float": [0.1, np.nan, -np.inf],
    "float32": np.array([0.1, np.nan, 2], "float32"),
    "bool": [True, True, False],
    "text": ["x", None, "é\n"],
    "empty text": ["", "", "x"],
    "all null": [None, None, None],
    "bool or null": [True, None, False],
    "string": pd.array(["x", None, "y"], "string"),
    "Int64": pd.array([2**62 + 1, None, 2], "Int64"),
    "Float32": pd.array([0.1, None, 2], "Float32"),
    "boolean": pd.array([True, None, False], "boolean"),
    "time": pd.to_datetime(["2024-02-01 10:00:00.123456", None, "1969-01-01"], format="ISO8601"),
    "time us": pd.to_datetime(["2024-02-01", None, "1969-01-01"]).as_unit("us"),
    "time s": pd.to_datetime(["2024-02-01", None, "1969-01-01"]).as_unit("s"),
    "time zone": pd.to_datetime(["2024-02-01", None, "1969-01-01"]).tz_localize("Africa/Johannesburg"),
    "duration": pd.to_timedelta([1, None, 3], unit="h"),
    "category": pd.Categorical(["b", None, "a"]),
    "category, a level unused": pd.Categorical(["b", None, "a"], ["a", "b", "z"]),
    "category of numbers": pd.Categorical([3, None, 1]),
    "ordered": pd.Categorical(["low", None, "high"], ["low", "high"], ordered=True),
    "date": [date(2024, 2, 1), None, date(1969, 1, 1)],
    "decimal": [Decimal("1.10"), None, Decimal("2.20")],
    "bytes": [b"\0x", None, b""],
    "list": [[1, 2], None, []],
    "ragged": [[[1.5], []], None, [[2.5]]],
    "record": [{"a": 1, "b": "x"}, None, {"a": 2, "b": None}],
    "list of text": [["a", "b"], None, []],
    "array": [np.array([1.0, 2.0]), None, np.array([])],
    "int or null": [1, None, 3],
    "float16": np.array([0.5, np.nan, 2], "float16"),
    "uint8": np.array([255, 0, 1], "uint8"),
    "UInt64": pd.array([2**64 - 1, None, 0], "UInt64"),
    "Int8": pd.array([-128, 1, 2], "Int8"),
    "category of times": pd.Categorical(pd.to_datetime(["2024-02-01", None, "1969-01-01"])),
    "time of day": [time(10, 30), None, time(0, 0, 0, 1)],
    "arrow text": pd.array(["x", None, "y"], pd.ArrowDtype(pa.string())),
    "arrow uint": pd.array([1, None, 3], "uint16[pyarrow]"),
    "arrow int": pd.array([1, None, 3], "int64[pyarrow]"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_every_type_comes_back_as_it_went_in(tmp_path, name):
    df = pd.DataFrame({"x": COLUMNS[name], "row": [1, 2, 3]})
    before = df.copy(deep=True)
    version = snapshot(df, "x", home=tmp_path)
    kept = load_version("x", home=tmp_path)
    pd.testing.assert_frame_equal(kept, df)
    pd.testing.assert_frame_equal(df, before)
    assert frame_digest(kept) == frame_digest(df) == version.digest
    assert kept.dtypes.astype(str).to_dict() == df.dtypes.astype(str).to_dict() == version.schema
    assert [type(value) for value in kept["x"].dropna()] == [type(value) for value in df["x"].dropna()]
    pd.testing.assert_frame_equal(load_version("x", where="row < 3", home=tmp_path), df[:2])
    pd.testing.assert_frame_equal(version.dask().compute(), df)


@pytest.mark.parametrize("name", COLUMNS)
def test_rows_nulls_and_layout(name):
    df = pd.DataFrame({"x": COLUMNS[name]})
    digest = frame_digest(df)
    same = df["x"].take([0, 1, 1, 2]).reset_index(drop=True).drop(1)  # put together anew, another index
    assert frame_digest(same.to_frame()) == digest
    if name != "all null":
        assert frame_digest(df[::-1]) != digest
    if not df["x"].isna().any() or df["x"].isna().all():
        return
    moved = df["x"].take([1, 0, 2]).reset_index(drop=True)
    assert frame_digest(moved.to_frame()) != digest


def test_all_types_differ_from_each_other():
    frames = {
        name: pd.DataFrame({"x": pd.Series([1, 0, 1]).astype(name)})
        for name in (
            "int64",
            "int32",
            "int8",
            "uint8",
            "float64",
            "float32",
            "bool",
            "category",
            "datetime64[ns]",
            "datetime64[us]",
            "datetime64[ns, UTC]",
            "timedelta64[ns]",
            "str",
        )
    }
    assert len({frame_digest(df) for df in frames.values()}) == len(frames)


def test_block_order_strides_and_byte_order():
    grid = np.arange(12.0).reshape(4, 3)
    df = pd.DataFrame(grid, columns=list("abc"))
    apart = pd.concat([df["a"], df["b"], df["c"]], axis=1)
    fortran = pd.DataFrame(np.asfortranarray(grid), columns=list("abc"))
    strided = pd.DataFrame(np.repeat(grid, 2, axis=0)[::2], columns=list("abc"))
    swapped = pd.DataFrame({name: df[name].to_numpy().astype(">f8") for name in df})
    assert {frame_digest(other) for other in (apart, fortran, strided, swapped)} == {frame_digest(df)}


def test_nulls_of_every_kind_are_one():
    kinds = [None, np.nan, pd.NA, pd.NaT]
    assert len({frame_digest(pd.DataFrame({"x": pd.Series(["a", null], dtype=object)})) for null in kinds}) == 1
    payload = np.array([0x7FF8000000000001, 0xFFF8000000000000], "u8").view("f8")
    assert frame_digest(pd.DataFrame({"x": payload})) == frame_digest(pd.DataFrame({"x": [np.nan, np.nan]}))
    hidden = pd.arrays.IntegerArray(np.array([1, 99]), np.array([False, True]))  # what lies under a null is nothing
    assert frame_digest(pd.DataFrame({"x": hidden})) == frame_digest(pd.DataFrame({"x": pd.array([1, None], "Int64")}))


def test_text_is_text_however_it_is_stored():
    df = pd.DataFrame({"x": ["a", None, "é"]})
    stores = ["string", "string[pyarrow]", pd.ArrowDtype(pa.string()), pd.ArrowDtype(pa.large_string())]
    assert {frame_digest(df.astype(store)) for store in stores} == {frame_digest(df)}
    chunked = pd.concat([df.astype("string[pyarrow]")[:1], df.astype("string[pyarrow]")[1:]])
    assert frame_digest(chunked) == frame_digest(df)
    one, other = (pd.DataFrame({"x": pd.Series(values)}) for values in (["ab", "c"], ["a", "bc"]))
    assert frame_digest(one) != frame_digest(other)


def test_levels_count_in_an_order_only():
    def digest(levels, ordered):
        return frame_digest(pd.DataFrame({"x": pd.Categorical(["a", "b"], levels, ordered=ordered)}))

    assert digest(["a", "b"], False) == digest(["b", "a"], False) == digest(["z", "b", "a"], False)
    assert digest(["a", "b"], True) != digest(["b", "a"], True)
    assert digest(["a", "b"], True) != digest(["a", "b"], False)


def test_single_changes_of_random_frames():
    "Whatever one cell becomes, the digest changes; whatever the row groups are, it does not."
    for seed in range(30):
        rng = np.random.default_rng(seed)
        rows = int(rng.integers(2, 40))
        df = pd.DataFrame(
            {
                "number": np.where(rng.random(rows) < 0.2, np.nan, rng.normal(size=rows)),
                "count": rng.integers(0, 5, rows),
                "text": rng.choice(["a", "b", "", None], rows),
                "time": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 9, rows), unit="D"),
            }
        )
        digest, row = frame_digest(df), int(rng.integers(rows))
        for column, other in (("number", 99.0), ("count", 99), ("text", "z"), ("time", pd.Timestamp("1999-01-01"))):
            changed = df.copy()
            changed.loc[row, column] = other
            assert frame_digest(changed) != digest, (seed, column)
        table = pa.Table.from_pandas(df, preserve_index=False)
        pieces = pa.concat_tables([table[start : start + 3] for start in range(0, rows, 3)])
        assert frame_digest(pieces.to_pandas()) == digest, seed


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1, "n/a", 3], "row 1: 'n/a'"),
        ([1.5, "x", True], "mixes types"),
        (["a", b"b", "c"], "1 bytes"),
        (["\ud800", "b", "c"], "column `x` cannot be stored"),
        ([object(), object(), object()], "cannot be stored"),
        ([(1, 2), (3,), ()], r"holds \(1, 2\), and would be \[1, 2\]"),
        ([[1, 2.5], [1], []], "would come|would be"),
        (pd.to_datetime(["2024-02-01 10:00:00.123456789"] * 3), "stored tables keep microseconds"),
        (pd.period_range("2024", periods=3), "period"),
        (pd.arrays.SparseArray([0, 0, 1]), "Sparse"),
        (pd.cut([1, 2, 3], 2), "levels of the type interval"),
        ([1j, 2j, 3j], "cannot be stored"),
    ],
)
def test_a_column_without_clear_content(tmp_path, values, said):
    with pytest.raises(DataError, match=said):
        snapshot(pd.DataFrame({"x": values}), "x", home=tmp_path)
    assert not list(tmp_path.rglob("*.parquet"))


def test_names_that_are_no_names(tmp_path):
    for columns, said in (([1], "named by a int"), ([("a", "b")], "named by a tuple"), ([None], "NoneType")):
        df = pd.DataFrame([[0]])
        df.columns = pd.Index(columns, dtype=object, tupleize_cols=False)
        with pytest.raises(DataError, match=said):
            frame_digest(df)
    with pytest.raises(DataError, match="two columns are named `a`"):
        frame_digest(pd.DataFrame([[0, 1]], columns=["a", "a"]))
    for name in ("", "..", "a/b", "a b", ".hidden", 5):
        with pytest.raises(DataError, match="no name for a data set"):
            snapshot(pd.DataFrame({"a": [1]}), name, home=tmp_path)


def test_an_index_that_holds_data(tmp_path):
    df = pd.DataFrame({"a": [1, 2]})
    for index in (
        pd.Index(["p", "q"]),
        pd.Index([1, 2], name="id"),
        pd.MultiIndex.from_tuples([(1, 2), (3, 4)]),
        pd.to_datetime(["2024", "2025"]),
    ):
        with pytest.raises(DataError, match="reset_index"):
            snapshot(df.set_axis(index), "x", home=tmp_path)


def test_versions_stay_and_the_newest_is_what_was_kept_last(tmp_path):
    one, two = pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]})
    first = snapshot(one, "x", home=tmp_path, source={"kind": "test", "address": "here"})
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    second = snapshot(two, "x", home=tmp_path)
    assert snapshot(two, "x", home=tmp_path) == second
    assert [version.version for version in versions("x", home=tmp_path)] == [1, 2]
    assert load_version("x", home=tmp_path)["a"].tolist() == [2]
    again = snapshot(one, "x", home=tmp_path)
    assert (again.version, again.parent, again.digest) == (3, 2, first.digest)
    assert load_version("x", home=tmp_path)["a"].tolist() == [1]
    assert find_version("x", first.digest[:9], home=tmp_path) == again  # the newer of two equal ones
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert isinstance(again, DataVersion)
    assert "a (int64)" in again._repr_html_()


def test_equal_content_of_another_form_is_a_version_that_comes_back_in_its_form(tmp_path):
    plain = snapshot(pd.DataFrame({"a": [1, 2]}), "x", home=tmp_path)
    masked = snapshot(pd.DataFrame({"a": pd.array([1, 2], "Int64")}), "x", home=tmp_path)
    assert (plain.digest, plain.version, masked.version) == (masked.digest, 1, 2)
    assert [str(v.read()["a"].dtype) for v in (plain, masked)] == ["int64", "Int64"]


def test_a_version_says_who_made_it_of_what_and_why(tmp_path):
    made = snapshot(
        pd.DataFrame({"id": [1], "a": [2]}),
        "x",
        source={"kind": "sql", "address": "sqlite:///x"},
        key="id",
        message="first",
        run="3f" * 16,
        query="select * from a",
        home=tmp_path,
    )
    found = find_version("x", "run:3f3f", home=tmp_path)
    assert found == made
    assert (found.key, found.message, found.query) == (("id",), "first", "select * from a")
    assert found.source == {"kind": "sql", "address": "sqlite:///x"}
    copied = snapshot(found, "y", home=tmp_path)
    assert (copied.digest, copied.source["name"], copied.source["version"]) == (found.digest, "x", 1)


def test_unknown_and_ambiguous_versions(tmp_path):
    with pytest.raises(DataError, match="there is none"):
        load_version("x", home=tmp_path)
    for number in range(20):
        snapshot(pd.DataFrame({"a": [number]}), "x", home=tmp_path)
    first = {version.digest[0] for version in versions("x", home=tmp_path)}
    counts = {letter: sum(v.digest[0] == letter for v in versions("x", home=tmp_path)) for letter in first}
    with pytest.raises(DataError, match=r"\d+ of 20 versions of `x`"):
        load_version("x", max(counts, key=counts.get), home=tmp_path)
    with pytest.raises(DataError, match="did you mean `x`"):
        load_version("xx", home=tmp_path)


def part(version):
    return next(Path(version.path).glob("*.parquet"))


def entry(version):
    return Path(version.path) / "_delta_log" / f"{version.version:020d}.json"


def damage_a_value(version):
    df = pd.read_parquet(part(version))
    df.assign(a=df["a"] + 1).to_parquet(part(version))


@pytest.mark.parametrize(
    "damage",
    [
        lambda version: part(version).write_bytes(b""),
        lambda version: part(version).write_bytes(part(version).read_bytes()[:-20]),
        lambda version: part(version).unlink(),
        lambda version: entry(version).write_text("{"),
        lambda version: pd.DataFrame({"b": [1]}).to_parquet(part(version)),
        lambda version: pd.DataFrame({"a": [1]}).to_parquet(part(version)),
        damage_a_value,
    ],
)
def test_damage_is_found_and_told(tmp_path, damage):
    version = snapshot(pd.DataFrame({"a": [1, 2]}), "x", home=tmp_path)
    damage(version)
    with pytest.raises(DataError, match="damaged") as caught:
        load_version("x", 1, home=tmp_path)
    assert caught.value.fix


def write_some(place, seed):
    return [
        snapshot(pd.DataFrame({"a": np.arange(1000) + seed % 3 + number}), "x", home=place).digest
        for number in range(5)
    ]


def test_writers_at_the_same_time(tmp_path):
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as pool:
        digests = {digest for found in pool.map(write_some, [tmp_path] * 8, range(8)) for digest in found}
    assert {version.digest for version in versions("x", home=tmp_path)} == digests
    assert all(len(load_version("x", digest, home=tmp_path)) == 1000 for digest in digests)


def fork_and_write(place):
    try:
        snapshot(pd.DataFrame({"a": [2]}), "x", home=place)
    except DataError as error:
        return str(error)


def test_a_forked_process_is_told_what_to_do(tmp_path):
    snapshot(pd.DataFrame({"a": [1]}), "x", home=tmp_path)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        assert "get_context('spawn')" in pool.submit(fork_and_write, tmp_path).result(30)


def test_the_project_s_store_is_the_default(tmp_path, monkeypatch):
    monkeypatch.setenv("MLOPS_NB_HOME", str(tmp_path))
    version = snapshot(pd.DataFrame({"a": [1]}), "x", source="by hand")
    assert Path(version.path) == tmp_path / "data" / "x"
    assert load_version("x")["a"].tolist() == [1]


def test_a_digest_does_not_depend_on_the_process():
    code = (
        "import pandas as pd; from mlops_nb.data.versions import frame_digest;"
        "print(frame_digest(pd.DataFrame({'a': [1, 2], 'b': ['x', None], 'c': pd.Categorical(['u', 'v'])})))"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1
