"Whatever rows come in as, they are kept as they are, in little memory, or not at all."

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import dask
import dask.dataframe as dd
import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mlops_nb.data.digest import frame_digest
from mlops_nb.data.log import Log, commit, create_table, open_table
from mlops_nb.data.tags import collect_garbage, remove_old
from mlops_nb.data.versions import datasets, find_version, load_version, snapshot, versions
from mlops_nb.errors import DataError

ROWS = 200_000


def frame(rows=ROWS):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "n": np.arange(rows),
            "half": np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows)),
            "city": rng.choice(["Bern", "Uri", "Zug"], rows),
        }
    )


class Exported:
    "Something of another library: all that it can do is to hand out Arrow's stream."

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


class Streaming:
    "A source that streams, and never reads all."

    def __init__(self, table):
        self.table = table

    def batches(self):
        return self.table.to_reader(max_chunksize=999)

    def read(self):
        raise AssertionError("it was read as a whole")

    def describe(self):
        return {"kind": "test", "address": "here"}


def failing(table, after):
    def batches():
        for number, batch in enumerate(table.to_batches(max_chunksize=10_000)):
            if number == after:
                raise OSError("the line is dead")
            yield batch

    return pa.RecordBatchReader.from_batches(table.schema, batches())


def files(home, name="x"):
    return sorted(path.name for path in (home / "data" / name).glob("*.parquet"))


def test_all_that_hold_the_same_rows_give_the_same_version(tmp_path):
    df = frame()
    table = pa.Table.from_pandas(df)
    first = snapshot(df, "x", home=tmp_path)
    kept = files(tmp_path)
    with dask.config.set({"dataframe.convert-string": False}):
        cluster = dd.from_pandas(df, npartitions=3)
    for data in (
        Streaming(table),
        table,
        table.to_reader(max_chunksize=7_777),
        Exported(table),
        duckdb.sql("select * from df"),
        cluster,
    ):
        assert snapshot(data, "x", home=tmp_path) == first, type(data)
    assert files(tmp_path) == kept  # what was written to find out is gone
    pd.testing.assert_frame_equal(load_version("x", home=tmp_path), df)
    assert snapshot(Streaming(table), "y", home=tmp_path).source == {"kind": "test", "address": "here"}


def test_a_category_of_a_cluster_comes_back(tmp_path):
    df = frame(1000).astype({"city": "category", "n": "Int64"})
    version = snapshot(dd.from_pandas(df, npartitions=4), "x", home=tmp_path)
    pd.testing.assert_frame_equal(version.read(), df)
    mixed = dd.from_map(lambda kind: pd.DataFrame({"a": pd.array([1], kind)}), ["Int64", "int64"])
    with pytest.raises(DataError, match="another type in partition 1"):
        snapshot(mixed, "y", home=tmp_path)


def test_a_stream_that_breaks_leaves_what_was_there(tmp_path):
    df = frame()
    table = pa.Table.from_pandas(df)
    snapshot(table[:5], "x", home=tmp_path)
    before = files(tmp_path)
    for mode in ("replace", "append"):
        for after in (0, 15):
            with pytest.raises(DataError, match="the line is dead"):
                snapshot(failing(table, after), "x", mode=mode, home=tmp_path)
    bad = "select case when n = 199999 then cast('x' || n as int) else 1 end as n from df"
    with pytest.raises(DataError, match="Conversion Error"):
        snapshot(duckdb.sql(bad), "x", home=tmp_path)
    late = table.set_column(0, "n", pa.array([*[0] * (ROWS - 1), 1], pa.timestamp("ns")))
    with pytest.raises(DataError, match=r"column `n` cannot be stored.*\n.*dt.floor\('us'\)"):
        snapshot(late, "x", home=tmp_path)
    assert [v.version for v in versions("x", home=tmp_path)] == [1]
    assert files(tmp_path) == before


def test_a_data_set_whose_first_writer_died_is_none_yet(tmp_path):
    with pytest.raises(DataError, match="the line is dead"):
        snapshot(failing(pa.Table.from_pandas(frame()), 15), "x", home=tmp_path)
    left = tmp_path / "data" / "x" / "part-00000-dead.parquet"
    left.write_bytes(b"half of it")
    assert datasets(tmp_path) == []
    with pytest.raises(DataError, match="there is no snapshot"):
        load_version("x", home=tmp_path)
    create_table(Log(str(left.parent)))  # the second one came one step further
    assert datasets(tmp_path) == []
    assert collect_garbage(older_than=0, dry=False, home=tmp_path) == {"x": [(left.name, 10)]}
    assert snapshot(pd.DataFrame({"a": [1]}), "x", mode="append", home=tmp_path).version == 1
    assert datasets(tmp_path) == ["x"]


def test_rows_that_do_not_fit_are_not_appended(tmp_path):
    df = pd.DataFrame({"a": [1], "b": ["x"]})
    snapshot(df, "x", home=tmp_path)
    for other, said in (
        (df.assign(c=1), "have a column more: `c`"),
        (df[["a"]], "lack the column `b`"),
        (df.astype({"a": "float64"}), "column `a` of `x` is int64, and in these rows it is double"),
    ):
        with pytest.raises(DataError, match=said):
            snapshot(other, "x", mode="append", home=tmp_path)
    assert snapshot(df[["b", "a"]], "x", mode="append", home=tmp_path).rows == 2  # their order is no matter
    assert load_version("x", home=tmp_path)["a"].tolist() == [1, 1]
    assert snapshot(df[:0], "x", mode="append", home=tmp_path).version == 2
    with pytest.raises(DataError, match="would be empty"):
        snapshot(df[:0], "new", mode="append", home=tmp_path)


def test_appended_levels_and_forms_are_those_of_both(tmp_path):
    def part(levels, ordered=False):
        return pd.DataFrame({"c": pd.Categorical([levels[0]], levels, ordered=ordered)})

    for levels in (["b", "a"], ["z", "a"]):
        snapshot(part(levels), "x", mode="append", home=tmp_path)
    kept = load_version("x", home=tmp_path)["c"]
    assert (kept.tolist(), kept.cat.categories.tolist()) == (["b", "z"], ["b", "a", "z"])
    snapshot(part(["low", "high"], True), "order", mode="append", home=tmp_path)
    with pytest.raises(DataError, match="the ordered levels"):
        snapshot(part(["high", "low"], True), "order", mode="append", home=tmp_path)
    for kind in ("int64", "Int64"):
        snapshot(pd.DataFrame({"a": pd.array([1], kind)}), "n", mode="append", home=tmp_path)
    assert str(load_version("n", home=tmp_path)["a"].dtype) == "Int64"


def test_many_small_appends_stay_few_files_and_all_versions_stay(tmp_path, monkeypatch):
    from mlops_nb.data import versions as module

    monkeypatch.setattr(module, "MANY", 5)
    made = [snapshot(pd.DataFrame({"a": [k]}), "x", mode="append", home=tmp_path) for k in range(30)]
    assert len(open_table(Log(made[-1].path)).file_uris()) <= 5
    assert [v.digest for v in versions("x", home=tmp_path)] == [v.digest for v in made]
    for k, version in enumerate(made):
        assert load_version("x", version.version, home=tmp_path)["a"].tolist() == list(range(k + 1))
    assert made[-1].digest == frame_digest(pd.DataFrame({"a": range(30)}))
    kept = files(tmp_path)
    assert collect_garbage("x", older_than=0, home=tmp_path) == {"x": []}
    remove_old("x", keep=1, dry=False, home=tmp_path)
    assert load_version("x", home=tmp_path)["a"].tolist() == list(range(30))
    assert len(files(tmp_path)) <= 5 < len(kept)
    assert snapshot(pd.DataFrame({"a": [30]}), "x", mode="append", home=tmp_path).rows == 31


def test_a_batch_is_appended_once_whatever_it_holds(tmp_path):
    one, two = pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]})
    first = snapshot(one, "x", mode="append", batch="monday", home=tmp_path)
    snapshot(two, "x", mode="append", batch="tuesday", home=tmp_path)
    assert snapshot(one, "x", mode="append", batch="monday", home=tmp_path) == first
    assert load_version("x", home=tmp_path)["a"].tolist() == [1, 2]
    with pytest.raises(DataError, match="mode='append'"):
        snapshot(one, "x", batch="monday", home=tmp_path)


def test_a_version_is_found_by_all_that_it_is_called(tmp_path):
    made = [snapshot(pd.DataFrame({"a": [k]}), "x", run=f"{k}" * 32, home=tmp_path) for k in range(1, 4)]
    times = [datetime.fromisoformat(v.created) for v in made]
    for which in (2, "2", made[1].digest[:8], made[1].created, times[2] - timedelta(microseconds=1), "run:2222"):
        assert find_version("x", which, home=tmp_path) == made[1], which
    assert find_version("x", datetime.now(UTC), home=tmp_path) == made[2]
    assert find_version("x", (times[0] + timedelta(0)).replace(tzinfo=None), home=tmp_path) == made[0]
    for which in ("2001-01-01", "run:9", "2024-99-99", "none", 0, -1):
        with pytest.raises(DataError):
            find_version("x", which, home=tmp_path)


def test_parts_are_read_without_the_rest(tmp_path):
    df = frame()
    version = snapshot(df, "x", home=tmp_path)
    part = version.read(columns=["city", "n"], where="n % 50000 = 7 and city <> 'none'")
    expected = df.loc[df["n"] % 50_000 == 7, ["city", "n"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(part, expected)
    assert version.relation().filter("n < 10").aggregate("sum(n)").fetchall() == [(45,)]
    assert version.dask()["n"].sum().compute() == df["n"].sum()
    with version.batches() as reader:
        sizes = [batch.num_rows for batch in reader]
    assert (sum(sizes), max(sizes) <= 65_536) == (ROWS, True)
    for where in ("n <", "nn = 1", "n = 'x'", "1; drop table x"):
        with pytest.raises(DataError, match=r"condition|failed"):
            version.read(where=where)


def test_a_table_of_another_program_is_read_over_and_not_appended_to(tmp_path):
    df = pd.DataFrame({"a": [1]})
    version = snapshot(df, "x", home=tmp_path)
    import deltalake

    deltalake.write_deltalake(version.path, pa.table({"a": [2]}), mode="append")
    assert find_version("x", home=tmp_path) == version
    assert load_version("x", home=tmp_path)["a"].tolist() == [1]
    with pytest.raises(DataError, match="another program"):
        snapshot(df, "x", mode="append", home=tmp_path)
    assert snapshot(df.assign(a=3), "x", home=tmp_path).version == 3
    assert deltalake.DeltaTable(version.path).to_pandas()["a"].tolist() == [3]  # and it reads what we write


def test_a_lost_answer_to_a_commit_is_no_second_commit(tmp_path, monkeypatch):
    from mlops_nb.data import versions as module

    def lost(*words):
        commit(*words)
        raise module.Conflict("the store was asked again, and the name was taken")

    snapshot(pd.DataFrame({"a": [1]}), "x", home=tmp_path)
    monkeypatch.setattr(module, "commit", lost)
    made = snapshot(pd.DataFrame({"a": [2]}), "x", mode="append", home=tmp_path)
    assert (made.version, made.rows) == (2, 2)
    assert len(open_table(Log(made.path)).file_uris()) == 2


def test_a_writer_that_never_gets_through_says_so_and_leaves_nothing(tmp_path, monkeypatch):
    from mlops_nb.data import versions as module

    def beaten(*_):
        raise module.Conflict

    monkeypatch.setattr(module, "commit", beaten)
    monkeypatch.setattr(module, "pause", lambda attempt: None)
    with pytest.raises(DataError, match="all the time"):
        snapshot(pd.DataFrame({"a": [1]}), "x", home=tmp_path)
    assert files(tmp_path) == []


def test_a_stream_is_kept_and_checked_in_little_memory(tmp_path):
    code = f"""
import numpy as np, pyarrow as pa
from mlops_nb.data.versions import snapshot

def peak(): return next(int(line.split()[1]) for line in open("/proc/self/status") if "VmHWM" in line) / 1000
schema = pa.schema([(f"c{{i}}", pa.float64()) for i in range(20)])
def batches(count):
    for _ in range(count):
        yield pa.record_batch([np.random.normal(size=50_000) for _ in schema], schema=schema)
small = snapshot(pa.RecordBatchReader.from_batches(schema, batches(8)), "small", home={str(tmp_path)!r})
small.batches().read_next_batch()
before = peak()
version = snapshot(pa.RecordBatchReader.from_batches(schema, batches(100)), "large", home={str(tmp_path)!r})
print(version.size / 1e6, peak() - before, sum(b.num_rows for b in version.batches()), peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    stored, written, rows, read = map(float, done.stdout.split())
    assert (rows, stored > 500) == (5_000_000, True)  # [MB]
    assert written < 200
    assert read < 350


def test_what_a_frame_was_is_told_by_its_digest_in_another_process(tmp_path):
    df = frame(100_000)
    version = snapshot(df, "x", home=tmp_path)
    code = (
        "from mlops_nb.data.versions import frame_digest, load_version\n"
        f"print(frame_digest(load_version('x', home={str(tmp_path)!r})))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == version.digest == frame_digest(df)
