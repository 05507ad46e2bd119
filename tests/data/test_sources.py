"What a source does with what it should never have been given."

import sqlite3
import subprocess
import sys
import traceback
from pathlib import Path

import pandas as pd
import pytest

from mlops_nb.data import sources
from mlops_nb.data.sources import FileSource, SqlSource, check_source, open_source
from mlops_nb.errors import DataError

HEART = Path(__file__).parents[2] / "nbs" / "pipelines" / "heart" / "data"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"

BAD = {  # what: (content, what the message says)
    "nothing": (b"", "is empty (0 bytes)"),
    "blank lines": (b"\n \n\t\n", "is empty"),
    "only a mark": ("\ufeff".encode(), "0 columns"),
    "only a header": (b"age,sbp\n", "2 columns) and no rows"),
    "a picture": (PNG, "a PNG image"),
    "a workbook": (b"PK\x03\x04rest", "Excel workbook"),
    "gzip": (b"\x1f\x8b\x08rest", "gzip"),
    "a database": (b"SQLite format 3\x00", "an SQLite database"),
    "Parquet": (b"PAR1rest", "a Parquet file"),
    "a page": (b"<!DOCTYPE HTML><p>404", "an HTML page"),
    "a page after blanks": (b"\n\n  <html>", "an HTML page"),
    "NUL within": (b"age,sbp\n1,2\n3,\x004\n", "line 3: a NUL byte"),
    "NUL far within": (b"age,sbp\n" + b"1,2\n" * 400_000 + b"\0\n", "line 400002: a NUL byte"),
    "random bytes": (bytes(range(1, 256)) * 9, "is not UTF-8"),
    "a short row": (b"a,b,c\n1,2,3\n1,2\n4,5,6\n", "line 3 has 2"),
    "a long row": (b"a,b,c\n1,2,3\n1,2,3,4\n4,5,6\n", "line 3 has 4"),
    "a long first row": (b"a,b\n1,2,3\n1,2\n1,2\n", "line 2 has 3"),
    "a comma at each end": (b"a,b\n1,2,\n3,4,\n", "is not a table: 2 of 2 rows"),
    "prose": (b"Dear all,\nplease, find, enclosed\nthe patients\nwith, regards\n", "is not a table"),
    "an open quote": (b'a,b\n1,"2\n3,4\n', "unexpected end of data"),
    "a name twice": (b"age,sbp,age\n1,2,3\n", "`age` more than once"),
    "no name": (b"age,,sbp\n0,63,120\n", "column 2 has no name"),
    "a name missing at the end": (b"age,\n0,63\n", "column 2 has no name"),
    "two indexes": (b",index,unnamed_0\n0,1,2\n", "`unnamed_0` more than once"),
    "latin-1": ("name,age\nZoë,63\n".encode("latin-1"), "line 2, byte 11 (0xeb) is not UTF-8"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_file_that_is_no_table(tmp_path, what):
    content, said = BAD[what]
    path = tmp_path / "patients.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        FileSource(path).read()
    assert said in str(caught.value)
    assert "patients.csv" in caught.value.what
    assert caught.value.fix


def test_the_encoding_that_fits_is_shown(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes("name,age\nZoë,63\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"encoding='cp1252' reads 'Zoë,63'"):
        FileSource(path).read()
    assert FileSource(path, encoding="cp1252").read()["name"].tolist() == ["Zoë"]
    with pytest.raises(DataError, match="is unknown"):
        FileSource(path, encoding="klingon").read()
    with pytest.raises(DataError, match="is not ASCII"):
        FileSource(path, encoding="ascii").read()


GOOD = {  # what: (content, options, the frame)
    "CRLF": (b"a,b\r\n1,x\r\n2,y\r\n", {}, {"a": [1, 2], "b": ["x", "y"]}),
    "no last line end": (b"a,b\n1,x\n2,y", {}, {"a": [1, 2], "b": ["x", "y"]}),
    "blank lines": (b"a,b\n\n1,x\n  \n2,y\n\n", {}, {"a": [1, 2], "b": ["x", "y"]}),
    "a mark": (b"\xef\xbb\xbfa,b\n1,x\n2,y\n", {}, {"a": [1, 2], "b": ["x", "y"]}),
    "a mark and its encoding": (b"\xef\xbb\xbfa,b\n1,x\n2,y\n", {"encoding": "utf-8"}, {"a": [1, 2], "b": ["x", "y"]}),
    "UTF-16": ("a,b\n1,é\n2,y\n".encode("utf-16"), {}, {"a": [1, 2], "b": ["é", "y"]}),
    "UTF-16 without a mark": (
        "a,b\n1,é\n2,y\n".encode("utf-16-le"),
        {"encoding": "utf-16-le"},
        {"a": [1, 2], "b": ["é", "y"]},
    ),
    "semicolons": (b"a;b\n1,5;x\n2,5;y\n", {}, {"a": ["1,5", "2,5"], "b": ["x", "y"]}),
    "pipes": (b"a|b\n1|x\n2|y\n", {}, {"a": [1, 2], "b": ["x", "y"]}),
    "a stated sign": (b"a:b\n1:x\n2:y\n", {"delimiter": ":"}, {"a": [1, 2], "b": ["x", "y"]}),
    "one column": (b"a\n1\n2\n", {}, {"a": [1, 2]}),
    "one column with lines of blanks": (b"a\n1\n  \n\n2\n\t", {}, {"a": [1, 2]}),
    "quotes and lines in cells": (b'a,b\n1,"x, \n""y"""\n2,y\n', {}, {"a": [1, 2], "b": ['x, \n"y"', "y"]}),
    "columns": (b"a,b\n1,x\n2,y\n", {"columns": ["b"]}, {"b": ["x", "y"]}),
    "nulls": (b"a,b\n-9,x\n2,y\n", {"nulls": ["-9"]}, {"a": [None, 2], "b": ["x", "y"]}),
    "dates": (
        b"a,b\n1,2024-02-01\n2,2024-02-02\n",
        {"dates": ["b"]},
        {"a": [1, 2], "b": pd.to_datetime(["2024-02-01", "2024-02-02"])},
    ),
    "an index": (b",a\n0,x\n1,y\n", {}, {"index": [0, 1], "a": ["x", "y"]}),
    "an index of blanks": (b'" ",a\n0,x\n1,y\n', {}, {"index": [0, 1], "a": ["x", "y"]}),
    "an index and `index`": (b",index\n0,x\n1,y\n", {}, {"unnamed_0": [0, 1], "index": ["x", "y"]}),
    "an index, chosen and typed": (
        b",a\n01,x\n02,y\n",
        {"columns": ["index"], "dtypes": {"index": "str"}},
        {"index": ["01", "02"]},
    ),
    "types": (b"a,b\n01,x\n02,y\n", {"dtypes": {"a": "str"}}, {"a": ["01", "02"], "b": ["x", "y"]}),
}


@pytest.mark.parametrize("what", GOOD)
def test_a_file_that_is_a_table(tmp_path, what):
    content, options, wanted = GOOD[what]
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    pd.testing.assert_frame_equal(FileSource(path, **options).read(), pd.DataFrame(wanted))


def test_numbers_are_read_to_the_last_bit(tmp_path):
    numbers = [0.1 + 0.2, 1 / 3, 2.2250738585072014e-308, 123456789.12345678, 5e-324]
    path = tmp_path / "x.csv"
    path.write_text("a\n" + "\n".join(map(repr, numbers)))
    assert FileSource(path).read()["a"].tolist() == numbers


def test_options_that_do_not_fit(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,x\n")
    for options, said in [
        ({"columns": ["B"]}, "no column `B`"),
        ({"dtypes": {"b": "int"}}, "invalid literal"),
        ({"dtypes": {"c": "int"}}, "no column `c`"),
        ({"dates": ["c"]}, "no column `c`"),
        ({"delimiter": ";;"}, "delimiter"),
    ]:
        with pytest.raises(DataError, match=said):
            FileSource(path, **options).read()


def test_parquet(tmp_path):
    df = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    path = tmp_path / "x.parquet"
    df.to_parquet(path)
    pd.testing.assert_frame_equal(FileSource(path).read(), df)
    with pytest.raises(DataError, match="no column `c`"):
        FileSource(path, columns=["c"]).read()
    with pytest.raises(DataError, match="no option `delimiter`"):
        FileSource(path, delimiter=",")
    for content in (path.read_bytes()[:50], b"", b"a,b\n1,2\n"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"not a whole Parquet file|empty"):
            FileSource(path).read()
    df[:0].to_parquet(path)
    with pytest.raises(DataError, match="no rows"):
        FileSource(path).read()


def test_places_that_hold_no_file(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "patients.csv").touch()
    for path, said in [
        ("folder.csv", "is a folder"),
        ("patient.csv", "did you mean `patients.csv`"),
        ("none/x.csv", "there is no folder"),
    ]:
        with pytest.raises(DataError, match=said):
            FileSource(tmp_path / path).read()
        with pytest.raises(DataError, match=said):
            FileSource(tmp_path / path).describe()


def test_a_file_that_is_written_while_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "x.csv"
    path.write_text("a\n1\n")
    source = FileSource(path)
    reader = source._reader

    def slow(*args, **options):
        df = reader(*args, **options)
        path.write_text("a\n1\n2\n")
        return df

    monkeypatch.setattr(source, "_reader", slow)
    with pytest.raises(DataError, match="was written to"):
        source.read()


def test_describe_tells_what_was_read(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a\n1\n")
    source = FileSource(path)
    source.read()
    before = source.describe()
    path.write_text("a\n2\n")
    assert source.describe() == before
    assert FileSource(path).describe()["sha256"] != before["sha256"]


# --- databases


def test_reading_neither_creates_nor_changes_a_database(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "heart.db").touch()
    with pytest.raises(DataError, match=r"hart\.db does not exist.*\n.*did you mean `heart.db`"):
        SqlSource("sqlite:///hart.db", table="patients").read()
    assert not (tmp_path / "hart.db").exists()
    database = sqlite3.connect("heart.db")
    database.execute("CREATE TABLE t (a)")
    database.execute("INSERT INTO t VALUES (1)")
    database.commit()
    for query in ("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", "SELECT 1; DROP TABLE t"):
        with pytest.raises(DataError, match="refused"):
            SqlSource("sqlite:///heart.db", query=query).read()
    assert SqlSource("sqlite:///heart.db", table="t").read()["a"].tolist() == [1]


@pytest.mark.parametrize("query", ["DROP TABLE t", "  update t set a = 1", "", "PRAGMA x"])
def test_a_source_only_selects(query):
    with pytest.raises(DataError, match="only reads"):
        SqlSource("sqlite://", query=query)


def test_values_are_bound(tmp_path):
    source = SqlSource(
        f"sqlite:///{HEART / 'saheart.sqlite'}",
        query="SELECT * FROM patients WHERE famhist = :it",
        params={"it": "x' OR '1'='1"},
    )
    with pytest.raises(DataError, match="no rows"):
        source.read()
    source = SqlSource(source.url, query=source.query, params={"it": "Present"})
    assert len(source.read()) == 192
    assert source.describe()["params"] == {"it": "Present"}
    with pytest.raises(DataError, match="did you mean `it`"):
        SqlSource("sqlite://", query="SELECT :it", params={"it": 1, "itt": 2})


def test_a_table_name_is_only_a_name(tmp_path):
    path = tmp_path / "x.db"
    database = sqlite3.connect(path)
    database.executescript(
        'CREATE TABLE "odd name; DROP TABLE t" (a); INSERT INTO "odd name; DROP TABLE t" VALUES (1);'
        'CREATE VIEW seen AS SELECT a AS b FROM "odd name; DROP TABLE t"; CREATE TABLE hollow (a)'
    )
    url = f"sqlite:///{path}"
    assert len(SqlSource(url, table="odd name; DROP TABLE t").read()) == 1
    assert list(SqlSource(url, table="seen").read()) == ["b"]
    with pytest.raises(DataError, match="no rows"):
        SqlSource(url, table="hollow").read()
    with pytest.raises(DataError, match="no table `t; --`"):
        SqlSource(url, table="t; --").read()
    with pytest.raises(DataError, match="`a` more than once"):
        SqlSource(url, query="SELECT 1 AS a, 2 AS a").read()
    with pytest.raises(DataError, match="no such column"):
        SqlSource(url, query="SELECT nope FROM seen").read()


def test_a_file_that_is_no_database(tmp_path):
    path = tmp_path / "x.db"
    path.write_bytes(b"no database, but long enough to be read as one" * 99)
    with pytest.raises(DataError, match="not a database"):
        SqlSource(f"sqlite:///{path}", table="t").read()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:hunter2@127.0.0.1:1/x",
        "mysql://ann:hunter2@127.0.0.1:1/x",
        "nosuch://ann:hunter2@h/x",
        "postgresql://ann:hunter2@h:port/x",
        "hunter2",
    ],
)
def test_no_error_shows_the_password(url):
    with pytest.raises(DataError) as caught:
        SqlSource(url, table="t").read()
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("url", "given", "wanted"),
    [
        ("postgresql://h/x", {}, {"connect_timeout": 10}),
        ("postgresql+psycopg://h/x", {"timeout": 3}, {"connect_timeout": 3}),
        ("mysql+pymysql://h/x", {}, {"connect_timeout": 10}),
        ("mysql+mysqlconnector://h/x", {}, {"connection_timeout": 10}),
        ("mysql+pymysql://h/x?connect_timeout=60", {}, None),  # the address says it
        ("postgresql+pg8000://h/x", {}, None),  # a driver whose option is not known gets none
    ],
)
def test_a_silent_host_is_given_up(monkeypatch, url, given, wanted):
    asked = {}

    def create_engine(url, **options):
        asked.update(options)
        raise OSError("timed out")

    monkeypatch.setattr("sqlalchemy.create_engine", create_engine)
    with pytest.raises(DataError, match="timed out"):
        SqlSource(url, table="t", **given).read()
    assert asked.get("connect_args") == wanted


@pytest.mark.parametrize("timeout", [0, -1, 2.5, "10", None])
def test_a_timeout_that_is_none(timeout):
    with pytest.raises(DataError, match="whole number"):
        SqlSource("postgresql://h/x", table="t", timeout=timeout)


def test_no_secret_in_what_is_shown():
    source = SqlSource("postgresql://ann:hunter2@h/x?api_key=hunter2&sslmode=require", table="t")
    assert "hunter2" not in f"{source!r}{source.describe()}{source.address}"
    assert "sslmode=require" in source.address


def test_one_of_query_and_table():
    for given in ({}, {"query": "SELECT 1", "table": "t"}):
        with pytest.raises(DataError, match="one of them"):
            SqlSource("sqlite://", **given)


# --- the door


class Numbers:
    "A source from a plug-in."

    def __init__(self, address, rows=3):
        self.rows = rows

    def read(self):
        return pd.DataFrame({"a": range(self.rows)})

    def describe(self):
        return {"kind": "numbers", "address": "numbers://"}


class Entry:
    name, value = "numbers", "plug:Numbers"

    def __init__(self, error=None):
        self.error = error

    def load(self):
        if self.error:
            raise self.error
        return Numbers


def test_plug_ins_are_found_and_loaded_when_asked_for(monkeypatch):
    monkeypatch.setattr(sources, "entry_points", lambda group: [Entry(ImportError("no module plug"))])
    assert isinstance(open_source(HEART / "saheart.csv"), FileSource)  # the broken one is not touched
    with pytest.raises(DataError, match=r"plug:Numbers.*no module plug"):
        open_source("numbers://")
    monkeypatch.setattr(sources, "entry_points", lambda group: [Entry()])
    assert len(open_source("numbers://", rows=5).read()) == 5
    with pytest.raises(DataError, match="rwos"):
        open_source("numbers://", rwos=5)
    with pytest.raises(DataError, match="did you mean `numbers`"):
        open_source("number://")


def test_addresses():
    assert isinstance(open_source(f"file://{HEART / 'saheart.csv'}"), FileSource)
    assert isinstance(open_source("postgresql+psycopg://h/x", table="t"), SqlSource)
    assert isinstance(open_source("s3://bucket/x.csv"), FileSource)
    with pytest.raises(DataError, match=r"no source reads s4://.*\n.*did you mean `s3`"):
        open_source("s4://bucket/x.csv")


def test_the_contract(tmp_path):
    check_source(Numbers("numbers://"))
    check_source(FileSource(HEART / "saheart.csv"))
    wrong = Numbers("numbers://", rows=0)
    wrong.describe = lambda: {"kind": "numbers", "address": {1, 2}}
    with pytest.raises(DataError) as caught:
        check_source(wrong)
    assert "does not fit into JSON" in str(caught.value)
    assert "gives no rows" in str(caught.value)
    wrong = FileSource(HEART / "saheart.csv")
    wrong.batches = FileSource(HEART / "saheart.csv", columns=["age"]).batches
    wrong.read = FileSource(HEART / "saheart.csv").read
    with pytest.raises(DataError, match=r"batches\(\) does not give the rows of read"):
        check_source(wrong)


@pytest.mark.parametrize("module", ["text", "sources", "versions"])
def test_importing_costs_no_heavy_library(module):
    heavy = ("sqlalchemy", "pandera", "pandas", "numpy", "pyarrow")
    code = f"import mlops_nb.data.{module}, sys; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]", out.stdout


def test_the_heart_data_is_what_it_must_be(tmp_path):
    script = HEART / "rebuild.py"
    assert subprocess.run([sys.executable, script, "--check"], check=False).returncode == 0
    copy = tmp_path / "rebuild.py"
    copy.write_bytes(script.read_bytes())
    (tmp_path / "saheart.sqlite").write_bytes((HEART / "saheart.sqlite").read_bytes())
    (tmp_path / "saheart.csv").write_bytes((HEART / "saheart.csv").read_bytes().replace(b"Present", b"Absent", 1))
    done = subprocess.run([sys.executable, copy, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "191, must be 192" in done.stdout
    assert "does not hold the rows" in done.stdout
