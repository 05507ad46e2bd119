"Files of any kind and place: the same rows whichever way they come, in bounded memory, types of the whole file."

import bz2
import datetime as dt
import gzip
import json
import lzma
import subprocess
import sys
import zipfile

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest
from databases import object_store
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import free_port
from workbook import workbook

from mlops_nb.data import delimited, records
from mlops_nb.data.files import FileSource
from mlops_nb.data.queries import Query
from mlops_nb.errors import DataError

DF = pd.DataFrame(
    {
        "id": [1, 2, 3], "ldl": [4.5, None, 0.1 + 0.2], "name": ["Ann", None, 'Zoë, "the tall"\nof north'],
        "smokes": [True, False, True],
    }
)  # fmt: skip


def write(df, path):
    "Write a frame in the form that the ending says."
    ending = path.suffix
    if ending in (".csv", ".tsv"):
        df.to_csv(path, index=False, sep="\t" if ending == ".tsv" else ",")
    elif ending == ".jsonl":
        df.to_json(path, orient="records", lines=True, double_precision=15)
    elif ending == ".json":
        df.to_json(path, orient="records", indent=2, double_precision=15)
    elif ending == ".parquet":
        df.to_parquet(path)
    elif ending in (".arrow", ".feather"):
        df.to_feather(path)
    else:
        rows = [list(df.columns), *df.astype(object).where(df.notna(), None).values.tolist()]
        workbook(path, sheet=[[v.item() if isinstance(v, np.generic) else v for v in row] for row in rows])
    return path


def test_dates_of_a_workbook_are_moments(tmp_path):
    rows = [["day", "moment", "both"],
            [dt.date(2024, 2, 29), dt.datetime(2024, 2, 29, 13, 30), dt.date(1999, 12, 31)],
            [None, dt.datetime(1970, 1, 1), dt.datetime(2000, 1, 1, 6)]]  # fmt: skip
    found = FileSource(workbook(tmp_path / "x.xlsx", visits=rows)).read()
    assert [kind.kind for kind in found.dtypes] == ["M"] * 3
    assert found["day"].tolist() == [pd.Timestamp("2024-02-29"), pd.NaT]
    assert found["moment"].tolist() == [pd.Timestamp("2024-02-29 13:30"), pd.Timestamp("1970-01-01")]
    assert found["both"].tolist() == [pd.Timestamp("1999-12-31"), pd.Timestamp("2000-01-01 06:00")]


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "json", "parquet", "arrow", "feather", "xlsx"])
def test_every_form_gives_the_same_frame(tmp_path, ending):
    source = FileSource(write(DF, tmp_path / f"x.{ending}"))
    pd.testing.assert_frame_equal(source.read(), DF, check_exact=ending != "json" and ending != "jsonl")
    pd.testing.assert_frame_equal(source.batches().read_all().to_pandas(), source.read())


@pytest.mark.parametrize("ending", ["csv", "jsonl", "json", "parquet", "arrow", "xlsx"])
def test_many_files_are_one_source(tmp_path, ending):
    for i in range(3):
        write(DF.assign(id=DF["id"] + 10 * i), tmp_path / f"visits-{i}.{ending}")
    source = FileSource(tmp_path / f"visits-*.{ending}", origin="file")
    df = source.read()
    assert df["id"].tolist() == [1, 2, 3, 11, 12, 13, 21, 22, 23]
    assert [name.rsplit("-")[-1][0] for name in df["file"]] == list("000111222")
    assert source.describe()["files"] == 3
    one = source.describe()["sha256"]
    write(DF.assign(id=99), tmp_path / f"visits-1.{ending}")
    assert FileSource(tmp_path / f"visits-*.{ending}").describe()["sha256"] != one
    with pytest.raises(DataError, match="has a column `id` already"):
        FileSource(tmp_path / f"visits-*.{ending}", origin="id").read()


def test_types_are_found_over_all_files(tmp_path):
    for i, text in enumerate(["a,b,c\n1,1,\n", "a,b,c\n2,x,\n", "b,c,a\ny,5,3.5\n"]):
        (tmp_path / f"{i}.csv").write_text(text)
    expected = pd.DataFrame({"a": [1, 2, 3.5], "b": ["1", "x", "y"], "c": [None, None, 5.0]})
    pd.testing.assert_frame_equal(FileSource(tmp_path / "*.csv").read(), expected)
    for i, df in enumerate([pd.DataFrame({"a": [1], "b": [1]}), pd.DataFrame({"b": [1], "a": [0.5]})]):
        df.to_parquet(tmp_path / f"{i}.parquet")
    pd.testing.assert_frame_equal(FileSource(tmp_path / "*.parquet").read(), pd.DataFrame({"a": [1, 0.5], "b": [1, 1]}))


@pytest.mark.parametrize("packing", ["gz", "bz2", "xz", "zst", "zip"])
def test_packed_files(tmp_path, packing):
    path, plain = tmp_path / f"x.csv.{packing}", write(DF, tmp_path / "x.csv").read_bytes()
    if packing == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("any name", plain)
    else:
        packers = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
        packers["zst"] = lambda data: pa.compress(data, codec="zstd", asbytes=True)
        path.write_bytes(packers[packing](plain))
    pd.testing.assert_frame_equal(FileSource(path).read(), DF)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_encodings_are_found_and_told(tmp_path, encoding):
    (tmp_path / "x.csv").write_bytes("größe;näm\n1;Zoë\n".encode(encoding))
    source = FileSource(tmp_path / "x.csv")
    assert source.read().to_dict("list") == {"größe": [1], "näm": ["Zoë"]}
    said = source.describe()
    assert said["encoding"] == encoding
    assert said["delimiter"] == ";"


# --- what pandas would say

CELLS = st.one_of(
    st.integers(-(10**6), 10**6).map(str),
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(repr),
    st.sampled_from(["", "NA", "x", "true", "False", "9" * 25, 'a "q"', "a,b", "two\nlines", "é", "007", "2024-01-01"]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=30), st.sampled_from([16, 64, 1 << 20]))
def test_any_table_is_read_as_it_was_written(tmp_path_factory, rows, chunk):
    path = tmp_path_factory.mktemp("any") / "x.csv"
    pd.DataFrame(rows, columns=list("abc")).to_csv(path, index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "CHUNK", chunk)  # cut anywhere: nothing may depend on it
        df = FileSource(path).read()
    expected = pd.read_csv(path, float_precision="round_trip", dtype=str)
    for name in "abc":
        texts, found = expected[name], df[name]
        assert found.isna().tolist() == texts.isna().tolist()
        if pd.api.types.is_bool_dtype(found.dtype) or set(map(type, found.dropna())) == {bool}:
            assert [str(v).lower() for v in found.dropna()] == [v.lower() for v in texts.dropna()]
        elif pd.api.types.is_numeric_dtype(found.dtype):
            assert found.dropna().tolist() == [float(v) for v in texts.dropna()]
        else:
            assert found.dropna().tolist() == texts.dropna().tolist()
            assert not all(v.lstrip("-").isdigit() and len(v) < 18 for v in texts.dropna()), "numbers were left as text"


def test_the_last_row_decides_too(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "CHUNK", 1000)
    monkeypatch.setattr(records, "CHUNK", 1000)
    (tmp_path / "x.csv").write_text("a,b\n" + "007,1\n" * 3000 + "x,1.5\n")
    df = FileSource(tmp_path / "x.csv").read()
    assert df["a"].unique().tolist() == ["007", "x"]  # zeros in front were not lost before the x was seen
    assert df["b"].dtype == "float64"
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n' * 3000 + '{"a": 1.5, "b": "late"}\n')
    df = FileSource(tmp_path / "x.jsonl").read()
    assert (df["a"].dtype, df["b"].notna().sum(), len(df)) == ("float64", 1, 3001)


def test_lines_are_right_far_within_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "CHUNK", 5000)
    lines, bad = ["a,b"], {}
    for i in range(20_000):
        if i % 997 == 5:
            bad[len(lines) + 1] = f"{i}"
            lines.append(f"{i}")
        elif i % 13 == 0:
            lines += [f'{i},"two', 'lines"']
        else:
            lines.append(f"{i},x")
    (tmp_path / "x.csv").write_text("\n".join(lines))
    source = FileSource(tmp_path / "x.csv", on_bad="quarantine", quarantine=tmp_path / "bad.jsonl")
    assert len(source.read()) == 20_000 - len(bad)
    rows = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
    assert {row["line"]: row["text"] for row in rows} == bad


def test_declared_types_are_those_of_the_frame(tmp_path):
    (tmp_path / "x.csv").write_text("a,b,c,d\n1,x,1.5,\n2,y,2,5\n")
    dtypes = {"a": "float32", "b": "category", "c": "float64", "d": "Int64"}
    source = FileSource(tmp_path / "x.csv", dtypes=dtypes)
    df = source.read()
    assert df.dtypes.astype(str).to_dict() == dtypes
    pd.testing.assert_frame_equal(source.batches().read_all().to_pandas(), df)


def test_dates(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n01.02.2024,2024-02-01T10:00+02:00\n,\n")
    df = FileSource(tmp_path / "x.csv", dates=["a", "b"], date_format="%d.%m.%Y").read()
    assert (df["a"][0], df["b"][0]) == (pd.Timestamp("2024-02-01"), pd.Timestamp("2024-02-01 08:00Z"))
    (tmp_path / "x.csv").write_text("a,b\n01.02.2024,1\n")
    assert FileSource(tmp_path / "x.csv").read()["a"].tolist() == ["01.02.2024"]  # text until it is asked for


def test_a_file_that_changes_is_not_read_by_halves(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "CHUNK", 1000)
    path = tmp_path / "x.csv"
    path.write_text("a\n" + "1\n" * 5000 + "x\n")
    rows = FileSource(path).batches()
    path.write_text("a\n2\n")
    with pytest.raises(DataError, match="was written to while it was read"):
        rows.read_all()
    pd.DataFrame({"a": range(500_000)}).to_parquet(tmp_path / "x.parquet")
    rows = FileSource(tmp_path / "x.parquet").batches()
    next(rows)
    pd.DataFrame({"a": range(3)}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"x\.parquet"):
        rows.read_all()


MEASURE = """
import sys
import pyarrow
from mlops_nb.data.sources import open_source
def peak(): return next(int(line.split()[1]) for line in open("/proc/self/status") if "VmHWM" in line) / 1000
before, rows = peak(), 0
for batch in open_source(sys.argv[1], **eval(sys.argv[2])).batches(): rows += batch.num_rows
print(rows, peak() - before)
"""


def grown(path, **options):
    "Rows of a source, and by how much the process grew while they were taken [MB]."
    command = [sys.executable, "-c", MEASURE, str(path), repr(options)]
    rows, peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return int(rows), float(peak)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "arrow"])
def test_memory_does_not_grow_with_the_file(tmp_path, ending):
    "A file of 330 MB of CSV in less than half of it: a bound that does not move with the size."
    path, rng = tmp_path / f"x.{ending}", np.random.default_rng(0)
    piece = pd.DataFrame({f"x{i}": rng.normal(size=50_000) for i in range(8)} | {"name": "somebody"})
    table = pa.Table.from_pandas(piece, preserve_index=False)
    text = piece.to_json(orient="records", lines=True) if ending == "jsonl" else None
    if ending == "csv":
        with pa.csv.CSVWriter(path, table.schema) as writer:
            for _ in range(40):
                writer.write_table(table)
    elif ending == "jsonl":
        with open(path, "w") as file:
            file.writelines([text] * 40)
    else:
        opened = pa.ipc.new_file if ending == "arrow" else pa.parquet.ParquetWriter
        with opened(path, table.schema) as writer:
            for _ in range(40):
                writer.write_table(table)
    rows, peak = grown(path)
    assert rows == 2_000_000
    assert peak < 200, f"grew by {peak:.0f} MB for a file of {path.stat().st_size / 1e6:.0f} MB"


def test_a_disk_that_is_full_is_told(tmp_path):
    "A small file system would do, but not everybody may mount one: a limit on the size of files does the same."
    (tmp_path / "x.csv").write_text("a,b\n" + "1,x\n" * 500_000)
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "from mlops_nb.data.files import FileSource\nfrom mlops_nb.errors import DataError\n"
        "try: FileSource(sys.argv[1]).read()\nexcept DataError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "x.csv"], capture_output=True, text=True, check=False)
    assert "x.csv: File too large" in done.stdout, done.stderr
    assert "room for temporary files" in done.stdout


# --- object stores


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with object_store(tmp_path_factory.mktemp("store")) as options:
        system = fsspec.filesystem("s3", **options)
        system.mkdir("clinic")
        for i in range(2):
            with system.open(f"clinic/visits/{i}.csv", "w") as file:
                file.write(f"age,sbp\n{i},144\n")
            with system.open(f"clinic/visits/{i}.parquet", "wb") as file:
                pd.DataFrame({"age": [i] * 1000, "sbp": range(1000)}).to_parquet(file)
        yield options


def test_an_object_store_is_an_address(store):
    source = FileSource("s3://clinic/visits/*.csv", storage_options=store, origin="file")
    df = source.read()
    assert df["file"].tolist() == ["s3://clinic/visits/0.csv", "s3://clinic/visits/1.csv"]
    assert "hunter2" not in f"{source!r}{source.describe()}"
    assert FileSource("s3://clinic/visits/1.parquet", storage_options=store).read()["age"].unique() == [1]


def test_a_query_reads_from_an_object_store(store):
    visits = FileSource("s3://clinic/visits/*.parquet", storage_options=store)
    query = Query(
        "SELECT age, count(*) AS n FROM v WHERE sbp >= $low GROUP BY age ORDER BY age", {"v": visits}, {"low": 990}
    )
    assert query.read().to_dict("list") == {"age": [0, 1], "n": [10, 10]}
    assert query.describe()["tables"]["v"]["mark"]
    assert "hunter2" not in str(query.describe())


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://klinik/visits/0.csv", "s3://klinik/visits/0.csv does not exist"),
        ("s3://clinic/visits/9.csv", "s3://clinic/visits/9.csv does not exist"),
        ("s3://clinic/visits/9*.csv", "no file matches s3://clinic/visits/9*.csv"),
        ("s3://klinik/visits/9*.csv", "s3://klinik"),
    ],
)
def test_what_a_store_has_not(store, address, said):
    with pytest.raises(DataError) as caught:
        FileSource(address, storage_options=store).read()
    assert said in str(caught.value)
    assert caught.value.fix
    assert "hunter2" not in str(caught.value)


def test_a_dead_store(store):
    options = store | {"endpoint_url": f"http://127.0.0.1:{free_port()}"}
    for address in ("s3://clinic/visits/0.csv", "s3://clinic/*.csv"):
        with pytest.raises(DataError, match=r"(?s)cannot be read.*server is running") as caught:
            FileSource(address, storage_options=options).read()
        assert "hunter2" not in str(caught.value)
