"Queries: out of core, over any source, and over nothing but what they name."

import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops_nb.data.databases import SqlSource
from mlops_nb.data.files import FileSource
from mlops_nb.data.queries import Query
from mlops_nb.data.sources import CallableSource, check_source, concatenate
from mlops_nb.errors import DataError


def test_any_source_is_a_table(tmp_path, monkeypatch):
    monkeypatch.setenv("MLOPS_NB_HOME", str(tmp_path / "home"))
    pd.DataFrame({"id": [1, 2, 3]}).to_parquet(tmp_path / "a.parquet")
    (tmp_path / "b.csv").write_text("id,b\n1,x\n2,y\nbroken\n3,z\n")
    (tmp_path / "c.jsonl").write_text('{"id": 1, "c": 1.5}\n{"id": 2, "c": 2.5}\n')
    tables = {
        "a": tmp_path / "a.parquet", "b": str(tmp_path / "b.csv"), "c": tmp_path / "*.jsonl",
        "d": pd.DataFrame({"id": [1, 2], "d": ["p", "q"]}, index=[7, 8]),
        "e": CallableSource(lambda: pd.DataFrame({"id": [2], "e": [True]})),
        "f": SqlSource("sqlite://", query="SELECT 2 AS id, 'f' AS f"),
    }  # fmt: skip
    sql = "SELECT * FROM a " + " ".join(f"LEFT JOIN {name} USING (id)" for name in "bcdef") + " ORDER BY id"
    query = Query(sql, tables)
    df = query.read()
    assert df.iloc[1].tolist() == [2, "y", 2.5, "q", True, "f"]
    said = query.describe()["tables"]
    assert said["b"]["bad_rows"] == 1
    assert '"text": "broken"' in next((tmp_path / "home" / "quarantine").glob("b.csv-*.jsonl")).read_text()
    assert said["a"]["sha256"] == FileSource(tmp_path / "a.parquet").describe()["sha256"]
    check_source(query)


def test_a_table_is_read_as_often_as_it_is_named(tmp_path):
    (tmp_path / "x.csv").write_text("a\n1\n2\n")
    both = Query("SELECT x.a, y.a AS b FROM t x JOIN t y ON x.a < y.a", {"t": tmp_path / "x.csv"})
    assert both.read().to_dict("list") == {"a": [1], "b": [2]}


def test_types_are_those_of_other_sources(tmp_path):
    sql = "SELECT sum(a) AS a, 1.5 AS b, count(*) AS c, 'x' AS d, TIMESTAMPTZ '2024-01-01 00:00Z' AS e FROM t"
    df = Query(sql, {"t": pd.DataFrame({"a": [1, 2]})}).read()
    assert df.dtypes.astype(str).to_dict() == {
        "a": "int64", "b": "float64", "c": "int64", "d": "object", "e": "datetime64[us, UTC]",
    }  # fmt: skip
    with pytest.raises(DataError, match="the query: "):
        Query("SELECT 99999999999999999999999999999::HUGEINT AS a").read()


def test_values_are_bound(tmp_path):
    query = Query("SELECT $name AS name", params={"name": "x'; DROP TABLE t; --"})
    assert query.read()["name"].tolist() == ["x'; DROP TABLE t; --"]
    with pytest.raises(DataError, match="did you mean `low`"):
        Query("SELECT $low", params={"low": 1, "loww": 2})


def test_a_query_sees_its_tables_only(tmp_path):
    secret = pd.DataFrame({"a": [1]})
    secret.to_parquet(tmp_path / "secret.parquet")
    secret.to_parquet(tmp_path / "open.parquet")
    for sql in ("SELECT * FROM secret", f"SELECT * FROM '{tmp_path}/secret.parquet'",
                f"SELECT * FROM glob('{tmp_path}/*')"):  # fmt: skip
        with pytest.raises(DataError):
            Query(sql, {"t": tmp_path / "open.parquet"}).read()


def test_a_bad_row_stops_a_query_when_asked_to(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n3\n4,5\n")
    with pytest.raises(DataError, match="line 3 has 1 cells"):
        Query("SELECT * FROM t", {"t": tmp_path / "x.csv"}, on_bad="stop").read()


def test_sources_below_each_other(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,x\n")
    more = CallableSource(lambda: pd.DataFrame({"b": ["y"], "a": [2.5]}))
    both = concatenate([tmp_path / "x.csv", more], origin="from")
    df = both.read()
    assert df["a"].tolist() == [1.0, 2.5]
    assert df["from"][0] == (tmp_path / "x.csv").as_posix()
    check_source(both)
    with pytest.raises(DataError, match="a column `a` already"):
        concatenate([more], origin="a").read()


MEASURE = """
import sys
import duckdb, pyarrow, pandas
from mlops_nb.data.queries import Query
def peak(): return next(int(line.split()[1]) for line in open("/proc/self/status") if "VmHWM" in line) / 1000
before, rows = peak(), 0
for batch in Query(sys.argv[1], {"t": sys.argv[2]}, memory_limit="100MB").batches(): rows += batch.num_rows
print(rows, peak() - before)
"""


@pytest.mark.parametrize("sql", ["SELECT * FROM t WHERE i > 0 ORDER BY s", "SELECT s, sum(f) AS f FROM t GROUP BY s"])
def test_ten_times_the_memory_it_may_have(tmp_path, sql):
    "A sort and a grouping of 1 GB of rows, in 100 MB."
    rng, n = np.random.default_rng(0), 500_000
    with pq.ParquetWriter(
        tmp_path / "t.parquet", pa.schema({"i": pa.int64(), "f": pa.float64(), "s": pa.string()})
    ) as file:
        size = 0
        for k in range(12):
            texts = pa.array([f"patient {k % 3}-{v:060d}" for v in range(n)])
            table = pa.table({"i": rng.integers(1, 99, n), "f": rng.normal(size=n), "s": texts})
            file.write_table(table)
            size += table.nbytes
    assert size > 0.5e9
    command = [sys.executable, "-c", MEASURE, sql, str(tmp_path / "t.parquet")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rows, peak = map(float, done.stdout.split())
    assert rows == (6_000_000 if "ORDER" in sql else 1_500_000)
    assert peak < 400, f"grew by {peak:.0f} MB"
