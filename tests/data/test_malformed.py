"""A hundred inputs that are not what they should be.

Each is an error that names the file, the line where there is one, and what to do; or a row that is set aside.
"""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import sqlite3
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import free_port
from workbook import workbook

from mlops_nb.data.files import FileSource
from mlops_nb.data.queries import Query
from mlops_nb.data.sources import CallableSource, SqlSource, concatenate, open_source
from mlops_nb.errors import DataError

GOOD = b"age,sbp\n63,144\n46,170\n58,121\n49,132\n"
PARQUET = io.BytesIO()
pd.DataFrame({"age": range(5000), "note": [f"calm {i}" for i in range(5000)]}).to_parquet(PARQUET)
PARQUET = PARQUET.getvalue()
ARROW = io.BytesIO()
with pa.ipc.new_file(ARROW, pa.schema({"age": pa.int64()})) as writer:
    writer.write_table(pa.table({"age": range(5000)}))
ARROW = ARROW.getvalue()
ZIP = io.BytesIO()
with zipfile.ZipFile(ZIP, "w") as archive:
    archive.writestr("a.csv", GOOD)
    archive.writestr("b.csv", GOOD)

STOP = {  # name of the file: [(content, options, what the error says)]
    "x.csv": [
        # nothing, or something else
        (b"", {}, "x.csv is empty (0 bytes)"),
        (b"\n\n  \n", {}, "x.csv is empty"),
        (b"\xef\xbb\xbf", {}, "0 columns"),
        (b"age,sbp\n", {}, "2 columns) and no rows"),
        (b"age,sbp\n\n\n", {}, "2 columns) and no rows"),
        (b"\x89PNG\r\n\x1a\n...", {}, "is a PNG image"),
        (b"\xff\xd8\xff\xe0....", {}, "is a JPEG image"),
        (b"GIF89a....", {}, "is a GIF image"),
        (b"%PDF-1.7\n", {}, "is a PDF document"),
        (b"PK\x03\x04....", {}, "a ZIP archive or an Excel workbook"),
        (b"\xd0\xcf\x11\xe0....", {}, "an old Excel workbook"),
        (gzip.compress(GOOD), {}, "is a gzip archive"),
        (bz2.compress(GOOD), {}, "is a bzip2 archive"),
        (lzma.compress(GOOD), {}, "is an xz archive"),
        (b"\x28\xb5\x2f\xfd....", {}, "is a zstd archive"),
        (b"SQLite format 3\x00", {}, "an SQLite database"),
        (PARQUET, {}, "is a Parquet file"),
        (ARROW, {}, "is an Arrow file"),
        (b"<!DOCTYPE html><h1>404", {}, "is an HTML page"),
        (b"  <html><body>", {}, "is an HTML page"),
        (b"<?xml version='1.0'?>", {}, "is an XML document"),
        (b"Dear all,\nplease, find, enclosed\nthe visits\n", {}, "is not a table"),
        # encodings
        ("name,age\nZoë,63\n".encode("latin-1"), {}, "line 2, byte 11 (0xeb) is not UTF-8"),
        ("naïve,age\nAnn,63\n".encode("latin-1"), {}, "line 1, byte 2 (0xef) is not UTF-8"),
        ("age,name\n63,Zoë\n".encode(), {"encoding": "ascii"}, "line 2, byte 14 (0xc3) is not ASCII"),
        (b"age,name\n63,\x81\n", {"encoding": "cp1252"}, "line 2, byte 12 (0x81) is not CP1252"),
        (GOOD, {"encoding": "klingon"}, "encoding='klingon' is unknown"),
        (GOOD, {"encoding": "utf-16"}, "is not UTF-16"),
        ("age,sbp\n63,144\n".encode("utf-16")[:-1], {}, "is not UTF-16"),
        (bytes(range(128, 256)) * 20, {}, "is not UTF-8"),
        (b"age,sbp\n63,\xed\xa0\x80\n", {}, "line 2, byte 11 (0xed) is not UTF-8"),
        # rows and cells
        (b"a,b,c\n1,2,3\n1,2\n4,5,6\n", {}, "line 3 has 2 cells, not 3"),
        (b"a,b,c\n1,2,3\n1,2,3,4\n4,5,6\n", {}, "line 3 has 4 cells, not 3"),
        (b'a,b\n"1\n2",3\n4\n5,6\n7,8\n', {}, "line 4 has 1 cells, not 2"),
        (b"a,b\r1,2\r3\r4,5\r", {}, "line 3 has 1 cells"),
        (b"a,b\n1,2,\n3,4,\n", {}, "is not a table: 2 of 2 rows"),
        (b"a;b\n1;2\n3;4\n", {"delimiter": ",", "columns": ["b"]}, "has no column `b`"),
        (b"a,b\n1;2\n3;4\n", {}, "is not a table"),
        (b"a,b\n1,2\n", {"delimiter": ";;"}, "delimiter=';;' is not one character"),
        (b"a,b\n1,2\n", {"delimiter": "¦"}, "is not one character"),
        (b'a,b\n1,"2\n3,4\n5,6\n', {}, "line 2: a quote that is wrong or never closed"),
        (b'a,b\n1,"2"x\n3,4\n5,6\n', {}, "line 2: a quote that is wrong or never closed"),
        (b'a,"b\n1,2\n', {}, "line 2: the header cannot be read"),
        (b"age,sbp\n1,2\n3,\x004\n", {}, "line 3: a NUL byte"),
        (b"age\x00,sbp\n1,2\n", {}, "line 1: a NUL byte"),
        (b"a,b\n1," + b"x" * 5_000_000 + b"\n2,y\n3,z\n", {}, "line 2: has 5,000,003 bytes, more than 4,194,304"),
        (b"a,b\n1,2\n2," + b"x" * 40_000_000 + b"\n", {}, "line 3: has more than 4,194,304 bytes"),
        # headers
        (b"age,sbp,age\n1,2,3\n", {}, "`age` more than once"),
        (b"age,,sbp\n1,2,3\n", {}, "column 2 has no name"),
        (b"age,\n1,2\n", {}, "column 2 has no name"),
        # types
        (b"age,sbp\n63,high\n", {"dtypes": {"sbp": "int"}}, "line 2: invalid literal 'high' for column `sbp`"),
        (b"age,sbp\n63,1.5\n", {"dtypes": {"sbp": "Int64"}}, "line 2: invalid literal '1.5'"),
        (b"age,sbp\n63,\n46,1\n", {"dtypes": {"sbp": "int"}}, "`sbp` has 1 missing values, which int64 cannot hold"),
        (b"age,sbp\n300,1\n46,1\n", {"dtypes": {"age": "int8"}}, "line 2: invalid literal '300'"),
        (b"age,smokes\n3,perhaps\n", {"dtypes": {"smokes": "bool"}}, "line 2: invalid literal 'perhaps'"),
        (GOOD, {"dtypes": {"age": "klingon"}}, "'klingon' is no type for column `age`"),
        (GOOD, {"dtypes": {"agee": "int"}}, "did you mean `age`"),
        (b"day,a\n2024-02-01,1\n01/02/2024,2\n", {"dates": ["day"]}, "line 3: invalid literal '01/02/2024'"),
        (b"day,a\n2024-02-30,1\n", {"dates": ["day"]}, "line 2: invalid literal '2024-02-30'"),
        (b"day,a\n9999-12-31,1\n", {"dates": ["day"]}, "line 2: invalid literal '9999-12-31'"),
        (b"at,a\n2024-01-01T00:00Z,1\n2024-01-01T00:00,2\n", {"dates": ["at"]}, "line 3: invalid literal"),
    ],
    "x.csv.gz": [
        (gzip.compress(GOOD)[:-9], {}, "x.csv.gz is not a whole gzip archive"),
        (gzip.compress(GOOD * 999)[:-8] + b"00000000", {}, "is not a whole gzip archive"),
        (GOOD, {}, "is not a whole gzip archive"),
        (b"", {}, "is empty"),
        (gzip.compress(b"a,b\n1,2\n3\n4,5\n"), {}, "line 3 has 1 cells"),
    ],
    "x.csv.bz2": [(bz2.compress(GOOD)[:-9], {}, "not a whole bzip2 archive"), (GOOD, {}, "not a whole bzip2 archive")],
    "x.csv.xz": [(lzma.compress(GOOD)[:-9], {}, "not a whole xz archive"), (GOOD, {}, "not a whole xz archive")],
    "x.csv.zst": [
        (pa.compress(GOOD, codec="zstd", asbytes=True)[:-5], {}, "not a whole zstd archive"),
        (GOOD, {}, "not a whole zstd archive"),
    ],
    "x.csv.zip": [
        (ZIP.getvalue(), {}, "holds 2 files (a.csv, b.csv)"),
        (ZIP.getvalue()[:50], {}, "not a whole zip archive"),
    ],
    "x.jsonl": [
        (b"", {}, "x.jsonl is empty"),
        (b'{"a": 1}\n{"a": \n', {}, "line 2: is not JSON"),
        (b'{"a": 1}\n[1, 2]\n', {}, "line 2: holds a list, not an object"),
        (b'{"a": 1}\n{"a": "x"}\n', {}, "line 2: column `a` changed from number to string"),
        (b'{"a": 1}\n{"a": {"b": 1}}\n', {}, "line 2: column `a` changed from number to object"),
        (b'{"a": 1, "a": 2}\n{"a": 1}\n', {}, "line 1: names `a` more than once"),
        (b'{"a": "\xff"}\n{"a": "x"}\n', {}, "line 1, byte 0xff is not UTF-8"),
        (b'{"a": 1}\n{"a": 2}{"a": 3}\n', {}, "line 2: is not JSON"),
        (b'{"a": 1.5}\n', {"dtypes": {"a": "int"}}, "line 1: "),
        (b'{"a": 1}\n', {"columns": ["b"]}, "has no column `b`"),
        (b"[" * 100_000 + b"\n", {}, "line 1: "),
        ('{"a": 1}\n'.encode("utf-16"), {}, "is UTF-16"),
        (b"{}\n{}\n", {}, "0 columns and no rows"),
        (b'{"a": 1}\nnull\n{"a": 1}\n', {}, "line 2: holds a NoneType"),
        (b'{"a": 1}\n{"a": 1} null {"a": 1}\n{"a": 1}\n', {}, "line 2: is not JSON"),
    ],
    "x.json": [
        (b'{"a": [1, 2]}', {}, "line 1: an object stands where an array"),
        (b"[]", {}, "no rows"),
        (b'[{"a": 1}, 5]', {}, "line 1: holds a int, not an object"),
        (b'[\n{"a": 1},\n{"a": 2\n', {}, "line 4: is not JSON"),
        (b'[\n{"a": 1}\n{"a": 2}]', {}, "line 3: a comma or ] is missing"),
        (b'[{"a": 1}] and more', {}, "something stands behind the array"),
        (b'[\n{"a": 1},\n{"a": "x"}]', {}, "line 3: column `a` changed from number to string"),
        (b'[{"a": 1, "a": 2}]', {}, "names `a` more than once"),
        (b'[\n{"a": "\xff"}]', {}, "line 2, byte 9 is not UTF-8"),
        (b'"text"', {}, "stands where an array"),
    ],
    "x.parquet": [
        (b"", {}, "x.parquet is empty (0 bytes)"),
        (PARQUET[:-10], {}, "is not a whole Parquet file"),
        (PARQUET[:200], {}, "is not a whole Parquet file"),
        (PARQUET[:100] + b"\xff" * 2000 + PARQUET[2100:], {}, "is not a whole Parquet file"),
        (GOOD, {}, "is not a whole Parquet file"),
        (PARQUET, {"columns": ["agee"]}, "did you mean `age`"),
    ],
    "x.arrow": [
        (b"", {}, "is empty (0 bytes)"),
        (ARROW[:-10], {}, "is not a whole Arrow file"),
        (ARROW[:300], {}, "is not a whole Arrow file"),
        (GOOD, {}, "is not a whole Arrow file"),
        (ARROW, {"columns": ["sbp"]}, "has no column `sbp`"),
    ],
    "x.xlsx": [
        (b"", {}, "is not a whole Excel workbook"),
        (GOOD, {}, "is not a whole Excel workbook"),
        (b"PK\x03\x04" + b"\0" * 99, {}, "is not a whole Excel workbook"),
        (ZIP.getvalue(), {}, "is not a whole Excel workbook"),
    ],
    "x.xls": [(b"\xd0\xcf\x11\xe0" + b"\0" * 999, {}, "is not a whole Excel workbook")],
    "x.ods": [(ZIP.getvalue(), {}, "is not a whole Excel workbook")],
}
CASES = [(name, *case) for name, cases in STOP.items() for case in cases]


@pytest.mark.parametrize(("name", "content", "options", "said"), CASES, ids=[f"{c[0]}-{c[3][:40]}" for c in CASES])
def test_a_file_that_stops_the_work(tmp_path, name, content, options, said):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        FileSource(path, **options).read()
    assert said in str(caught.value)
    assert caught.value.fix
    if not said.startswith(("encoding=", "delimiter=", "is not one", "'klingon'")):
        assert name in caught.value.what


SHEETS = {  # what the error says: rows of the sheet
    "sheet `s`, row 3: cell B3 holds the error #DIV/0!": [["age", "sbp"], [63, 144], [46, "#DIV/0!"], [1, 2], [3, 4]],
    "row 2: cell A2 holds the error #N/A": [["age"], ["#N/A"], [1], [2]],
    "row 3: cell B3 holds the formula =A3*2 without a value": [
        ["age", "sbp"], [1, ("A2*2", 2)], [2, ("A3*2", None)], [3, 4], [5, 6]],
    "row 1: cell A1 holds the error #REF!": [["#REF!", "sbp"], [1, 2]],
    "row 4: column `sbp` holds the text 'high'": [["age", "sbp"], [1, 2], [3, 4], [5, "high"]],
    "`age` more than once": [["age", "age"], [1, 2]],
    "column 2 has no name": [["age", None, "sbp"], [1, 2, 3]],
    "sheet `s` is empty": [],
    "no rows": [["age", "sbp"]],
}  # fmt: skip


@pytest.mark.parametrize("said", SHEETS)
def test_a_sheet_that_stops_the_work(tmp_path, said):
    with pytest.raises(DataError) as caught:
        FileSource(workbook(tmp_path / "x.xlsx", s=SHEETS[said])).read()
    assert said in str(caught.value)
    assert "x.xlsx" in caught.value.what
    assert caught.value.fix


def test_a_sheet_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="did you mean `visits`"):
        FileSource(workbook(tmp_path / "x.xlsx", visits=[["a"], [1]], other=[]), sheet="visit").read()


ASIDE = {  # name: (content, options, lines that are set aside with a part of the reason, rows that are left)
    "short.csv": (b"a,b\n1,2\n3\n4,5\n", {}, {3: "has 1 cells, not 2"}, 2),
    "long.csv": (b"a,b\n1,2\n3,4,5\n6,7\n", {}, {3: "has 3 cells"}, 2),
    "nul.csv": (b"a,b\n1,2\n3,\x004\n5,6\n", {}, {3: "a NUL byte"}, 2),
    "byte.csv": (b"a,b\n1,x\n2,\xe9\n3,y\n", {}, {3: "(0xe9) is not UTF-8"}, 2),
    "quote.csv": (b'a,b\n1,2\n3,"4\n5,6\n7,8\n', {}, {3: "never closed"}, 3),
    "stray.csv": (b'a,b\n1,2\n3,"4"x\n5,6\n', {}, {3: "never closed"}, 2),
    "huge.csv": (b"a,b\n1,2\n3," + b"x" * 5_000_000 + b"\n5,6\n", {}, {3: "bytes, more than"}, 2),
    "endless.csv": (b"a,b\n1,2\n3," + b"x" * 40_000_000 + b"\n5,6\n", {}, {3: "has more than"}, 2),
    "word.csv": (b"a,b\n1,2\nx,4\n5,6\n", {"dtypes": {"a": "int"}}, {3: "invalid literal 'x'"}, 2),
    "date.csv": (b"a,b\n2024-01-01,2\n2024-13-01,4\n2024-01-02,6\n", {"dates": ["a"]}, {3: "'2024-13-01'"}, 2),
    "lines.csv": (b'a,b\n"1\n1",2\n"3\n3",4,5\n6,7\n8\n9,9\n', {}, {4: "has 3 cells", 7: "has 1 cells"}, 3),
    "mac.csv": (b"a,b\r1,2\r3\r4,5\r", {}, {3: "has 1 cells"}, 2),
    "crlf.csv": (b"a,b\r\n1,2\r\n3\r\n4,5\r\n", {}, {3: "has 1 cells"}, 2),
    "wide.csv": ("a,b\n1,é\n3\n4,ü\n".encode("utf-16"), {}, {3: "has 1 cells"}, 2),
    "packed.csv.gz": (gzip.compress(b"a,b\n1,2\n3\n4,5\n"), {}, {3: "has 1 cells"}, 2),
    "x.jsonl": (b'{"a": 1}\n{"a": \n{"a": "x"}\n5\n\n{"a": 2}\n{"a": 3}\n{"a": 4}\n', {},
                {2: "is not JSON", 3: "from number to string", 4: "holds a int"}, 4),
    "x.json": (b'[{"a": 1},\n{"a": "x"},\n{"a": 2}]', {}, {2: "from number to string"}, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", ASIDE)
def test_rows_that_are_set_aside(tmp_path, name):
    content, options, wanted, left = ASIDE[name]
    (tmp_path / name).write_bytes(content)
    source = FileSource(tmp_path / name, on_bad="quarantine", quarantine=tmp_path / "bad.jsonl", **options)
    assert len(source.read()) == left
    bad = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
    assert {row["line"]: True for row in bad} == dict.fromkeys(wanted, True)
    assert all(wanted[row["line"]] in row["reason"] and row["file"].endswith(name) and row["text"] for row in bad)
    said = source.describe()
    assert (said["bad_rows"], said["quarantine"]) == (len(wanted), str(tmp_path / "bad.jsonl"))


def test_a_sheet_with_rows_that_are_set_aside(tmp_path):
    rows = [["age", "sbp"], [63, 144], [46, "#N/A"], [58, "high"], [49, 132], [50, ("A6", None)], [51, 133]]
    path = workbook(tmp_path / "x.xlsx", s=rows)
    source = FileSource(path, on_bad="quarantine", quarantine=tmp_path / "bad.jsonl")
    assert source.read()["age"].tolist() == [63, 49, 51]
    assert [json.loads(line)["line"] for line in (tmp_path / "bad.jsonl").read_text().splitlines()] == [3, 4, 6]


def test_what_is_mostly_bad_is_an_error_in_both_ways(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"a,b\n1\n2\n3,4\n")
    for on_bad in ("stop", "quarantine"):
        with pytest.raises(DataError, match="is not a table: 2 of 3 rows"):
            FileSource(tmp_path / "x.csv", on_bad=on_bad, quarantine=tmp_path / "bad.jsonl").read()
    assert not (tmp_path / "bad.jsonl").exists()


def test_files_that_do_not_belong_together(tmp_path):
    for ending, write in {"csv": pd.DataFrame.to_csv, "parquet": pd.DataFrame.to_parquet}.items():
        write(pd.DataFrame({"a": [1], "b": [2]}), tmp_path / f"1.{ending}", index=False)
        write(pd.DataFrame({"a": [1], "c": [2]}), tmp_path / f"2.{ending}", index=False)
        with pytest.raises(DataError, match=rf"2\.{ending}: column `b` is not in all files"):
            FileSource(tmp_path / f"*.{ending}").read()
    pd.DataFrame({"a": ["x"], "b": [2]}).to_parquet(tmp_path / "2.parquet")
    with pytest.raises(DataError, match="do not fit together"):
        FileSource(tmp_path / "*.parquet").read()


def broken_database(folder: Path) -> str:
    path = folder / "x.db"
    database = sqlite3.connect(path)
    database.executescript(
        "CREATE TABLE visits (a, b); INSERT INTO visits VALUES (1, 'x'), ('two', 'y'); CREATE TABLE hollow (a)"
    )
    database.close()
    return f"sqlite:///{path}"


NO_SOURCE = {  # what the error says: what is asked for, given a folder
    "does not exist (looked in": lambda folder: FileSource(folder / "nothing.csv"),
    "there is no folder": lambda folder: FileSource(folder / "none" / "x.csv"),
    "is a folder": lambda folder: FileSource((folder / "f.csv").mkdir() or folder / "f.csv"),
    "no file matches": lambda folder: FileSource(folder / "*.csv"),
    "files ending in '.docx' cannot be read": lambda folder: FileSource(folder / "x.docx"),
    "no option `delimeter`": lambda folder: FileSource(folder / "x.csv", delimeter=";"),
    "on_bad='ignore' is unknown": lambda folder: FileSource("x.csv", on_bad="ignore"),
    "memory://bucket/none.csv does not exist": lambda folder: FileSource("memory://bucket/none.csv"),
    "no source reads s4://": lambda folder: open_source("s4://bucket/x.csv"),
    "gs://bucket/x.csv needs gcsfs": lambda folder: FileSource("gs://bucket/x.csv"),
    "cannot be read: ": lambda folder: FileSource(f"http://127.0.0.1:{free_port()}/x.csv"),
    "no table `visit`": lambda folder: SqlSource(broken_database(folder), table="visit"),
    "column `a` holds int, str": lambda folder: SqlSource(broken_database(folder), table="visits"),
    "1 columns and no rows": lambda folder: SqlSource(broken_database(folder), table="hollow"),
    "no such column: c": lambda folder: SqlSource(broken_database(folder), query="SELECT c FROM visits"),
    "syntax error": lambda folder: SqlSource(broken_database(folder), query="SELECT FROM WHERE"),
    "a source only reads": lambda folder: SqlSource(broken_database(folder), query="DELETE FROM visits"),
    "needs a value for :age": lambda folder: SqlSource("sqlite://", query="SELECT :age"),
    "file is not a database": lambda folder: (folder / "x.db").write_bytes(b"none" * 999)
    and SqlSource(f"sqlite:///{folder}/x.db", table="t"),
    "makes no sense": lambda folder: SqlSource("hunter2", table="t"),
    "knows no database 'nosuch'": lambda folder: SqlSource("nosuch://h/x", table="t"),
    "check host and port": lambda folder: SqlSource(f"postgresql+psycopg://127.0.0.1:{free_port()}/x", table="t"),
    "holds no password": lambda folder: SqlSource("postgresql+psycopg://h/x", table="t", password="env:NOT_SET"),
    "never written out": lambda folder: SqlSource("postgresql+psycopg://h/x", table="t", password="hunter2"),
    "no ADBC driver is known for mysql": lambda folder: SqlSource("adbc+mysql://h/x", table="t"),
    "the query: Parser Error": lambda folder: Query("SELEC 1"),
    "is CREATE, and a source only reads": lambda folder: Query("CREATE TABLE t (a int)"),
    "SELECT, SELECT": lambda folder: Query("SELECT 1; SELECT 2"),
    "the query: Catalog Error": lambda folder: Query("SELECT * FROM visits"),
    "the query: Binder Error": lambda folder: Query("SELECT b FROM t", {"t": pd.DataFrame({"a": [1]})}),
    "the query: Conversion Error": lambda folder: Query("SELECT CAST('x' AS int) AS a"),
    "the query: Permission Error": lambda folder: Query("SELECT * FROM read_text('/etc/hostname')"),
    "`a` more than once": lambda folder: Query("SELECT 1 AS a, 2 AS a"),
    "the query gives 1 columns and no rows": lambda folder: Query("SELECT 1 WHERE false"),
    "is no name for a table": lambda folder: Query("SELECT 1", {"a b": pd.DataFrame()}),
    "is a list": lambda folder: Query("SELECT 1", {"t": [1]}),
    "memory_limit": lambda folder: Query(
        "SELECT i, count(*) FROM range(9000000) t(i) GROUP BY i ORDER BY i", memory_limit="1MB"),
    "failed with KeyError": lambda folder: CallableSource(lambda: {}["x"]),
    "gives a int, not a DataFrame": lambda folder: CallableSource(lambda: 5),
    "gives no rows": lambda folder: CallableSource(pd.DataFrame),
    "do not fit together": lambda folder: CallableSource(
        lambda: iter([pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})])),
    "gives a frame that cannot be kept": lambda folder: CallableSource(lambda: pd.DataFrame({"a": [1, "x"]})),
    "there is nothing to concatenate": lambda folder: concatenate([]),
    "is not in both": lambda folder: concatenate(
        [CallableSource(lambda: pd.DataFrame({"a": [1]})), CallableSource(lambda: pd.DataFrame({"b": [1]}))]),
}  # fmt: skip


@pytest.mark.parametrize("said", NO_SOURCE)
def test_a_source_that_gives_nothing(tmp_path, said):
    with pytest.raises(DataError) as caught:
        NO_SOURCE[said](tmp_path).read()
    assert said in str(caught.value)
    assert caught.value.fix
    assert "hunter2" not in str(caught.value)


def test_these_are_more_than_a_hundred():
    assert len(CASES) + len(SHEETS) + len(ASIDE) + len(NO_SOURCE) >= 150


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_a_table_that_was_cut_off_anywhere(tmp_path, ending, share):
    whole = PARQUET if ending == "parquet" else ARROW
    path = tmp_path / f"x.{ending}"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=f"x.{ending} is not a whole"):
        FileSource(path).read()


PIECES = [b"a,b\n", b"1,2\n", b'"', b",", b"\n", b"\r", b"\x00", b"\xff", b"{", b"}", b"[", b"]", b":", b'"a"', b"1",
          b"x", b"null", b'{"a": 1}\n', b'{"a": "x"}\n', b"\xef\xbb\xbf", b"\xff\xfe", b" ", b"NaN", b"-"]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=25).map(b"".join), st.sampled_from(["csv", "jsonl", "json"]))
def test_whatever_stands_in_a_file(tmp_path_factory, content, ending):
    folder = tmp_path_factory.mktemp("any")
    path = folder / f"x.{ending}"
    path.write_bytes(content)
    for on_bad in ("stop", "quarantine"):
        with contextlib.suppress(DataError):
            df = FileSource(path, on_bad=on_bad, quarantine=folder / "bad.jsonl").read()
            assert len(df)


def test_damage_within_a_table_never_is_another_error(tmp_path):
    "A byte that was turned: an error of ours, or, where the format keeps no sum, a table all the same."
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"age": range(500), "note": ["calm"] * 500}), path)
    whole = path.read_bytes()
    for place in range(4, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with contextlib.suppress(DataError):
            FileSource(path).read()
