"Databases for real: a PostgreSQL server of one's own, through SQLAlchemy and ADBC."

import contextlib
import socket
import threading
import tracemalloc

import pandas as pd
import pyarrow as pa
import pytest
from databases import PASSWORD, postgres

from mlops_nb.data.arrivals import read_new
from mlops_nb.data.databases import SqlSource
from mlops_nb.errors import DataError

EVERYTHING = """
CREATE TYPE mood AS ENUM ('calm', 'tall');
CREATE TABLE visits AS SELECT
    i AS id, (i % 7)::smallint AS ward, (i * 10000000000)::bigint AS long,
    i / 3.0::float8 AS ldl, (i / 4.0)::float4 AS short, (i / 8.0)::numeric(12, 3) AS dose,
    i % 2 = 0 AS smokes, 'patient ' || i AS name, 'x'::char(3) AS padded,
    DATE '2024-01-01' + i AS day, TIMESTAMP '2024-01-01 10:11:12.123456' + i * INTERVAL '1 hour' AS at,
    TIMESTAMPTZ '2024-01-01 10:11:12+02' + i * INTERVAL '1 hour' AS zoned,
    NULLIF(i, 5) AS gap, NULL::int AS hollow, NULL::text AS mute, NULL::timestamptz AS never
FROM generate_series(1, 25000) AS i;
CREATE TABLE odd AS SELECT 1 AS id, '{"a": [1]}'::jsonb AS notes,
    'b3f1c6de-1111-4222-8333-444455556666'::uuid AS key, '\\x00ff'::bytea AS raw, 'tall'::mood AS mood;
CREATE SCHEMA ward; CREATE TABLE ward."odd name" AS SELECT 1 AS a;
CREATE TABLE hollow (a int);
"""


@pytest.fixture(scope="module")
def server():
    with postgres() as running:
        running.sql(EVERYTHING)
        yield running


@pytest.fixture(autouse=True)
def password(monkeypatch):
    monkeypatch.setenv("CLINIC_PASSWORD", PASSWORD)


def source(server, driver=None, **given):
    return SqlSource(server.address, driver=driver, password="env:CLINIC_PASSWORD", **given)


def test_all_types_come_as_pandas_has_them(server):
    df = source(server, query="SELECT * FROM visits ORDER BY id").read()
    assert len(df) == 25000
    kinds = df.dtypes.astype(str).to_dict()
    assert kinds == {
        "id": "int64", "ward": "int64", "long": "int64", "ldl": "float64", "short": "float64", "dose": "float64",
        "smokes": "bool", "name": "object", "padded": "object", "day": "object", "at": "datetime64[ns]",
        "zoned": "datetime64[ns, UTC]", "gap": "float64", "hollow": "float64", "mute": "object",
        "never": "datetime64[ns, UTC]",
    }  # fmt: skip
    assert df["dose"][6] == 0.875
    assert df["at"][0] == pd.Timestamp("2024-01-01 11:11:12.123456")
    assert df["zoned"][0] == pd.Timestamp("2024-01-01 09:11:12Z")
    assert df["gap"].isna().sum() == 1


ABOVE = {"query": "SELECT * FROM visits WHERE id > :low ORDER BY id", "params": {"low": 24000}}


@pytest.mark.parametrize("given", [{"table": "visits"}, {"table": "odd"}, ABOVE])
def test_adbc_gives_the_same_rows_and_types(server, given):
    pd.testing.assert_frame_equal(source(server, "adbc", **given).read(), source(server, **given).read())


def test_batches_are_what_read_gives(server):
    for driver in (None, "adbc"):
        reader = source(server, driver, table="visits").batches()
        pieces = list(reader)
        assert len(pieces) > 2 or driver
        frame = source(server, driver, table="visits").read()
        pd.testing.assert_frame_equal(pa.Table.from_batches(pieces).to_pandas(), frame)


def test_types_that_pandas_has_not_are_text(server):
    row = source(server, table="odd").read().iloc[0]
    assert (row["notes"], row["key"], row["raw"], row["mood"]) == (
        '{"a": [1]}', "b3f1c6de-1111-4222-8333-444455556666", b"\x00\xff", "tall",
    )  # fmt: skip


def test_what_adbc_does_not_translate_is_said(server):
    for value in ("'1.2.3.4'::inet", "'{1,2}'::int[]", "'1 day'::interval"):
        with pytest.raises(DataError, match=r"(?s)column `it` .*CAST\(it AS text\)"):
            source(server, "adbc", query=f"SELECT {value} AS it").read()
        assert len(source(server, query=f"SELECT {value} AS it").read()) == 1


def test_memory_does_not_grow_with_the_table(server):
    query = "SELECT i, repeat('x', 100) AS text FROM generate_series(1, 400000) AS i"
    tracemalloc.start()
    try:
        rows = sum(batch.num_rows for batch in source(server, query=query).batches())
        peak = tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()
    assert rows == 400_000
    assert peak < 30, f"{peak:.0f} MB of Python objects, and all rows at once would be over 60"


def test_reading_changes_nothing(server):
    server.sql("CREATE SEQUENCE counter; CREATE TABLE kept (a int); GRANT ALL ON kept TO ann")
    with pytest.raises(DataError, match="a source only reads"):
        source(server, query="INSERT INTO kept VALUES (1)")
    query = "WITH done AS (INSERT INTO kept VALUES (1) RETURNING a) SELECT a FROM done"
    for driver in (None, "adbc"):
        with contextlib.suppress(DataError):  # it may give the row that it would have written
            source(server, driver, query=query).read()
        with pytest.raises(DataError, match="no rows"):
            source(server, driver, table="kept").read()


@pytest.mark.parametrize("driver", [None, "adbc"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"table": "visit"}, "did you mean `visits`"),
        ({"table": "ward.odd"}, "did you mean `odd name`"),
        ({"table": "hollow"}, "no rows"),
        ({"query": "SELECT nope FROM visits"}, "nope"),
        ({"query": "SELECT FROM WHERE"}, "syntax error"),
        ({"query": "SELECT 1/0 AS a"}, "division by zero"),
        ({"query": "SELECT 1 AS a, 2 AS a"}, "`a` more than once"),
        ({"query": "SELECT CAST('x' AS int) AS a"}, "invalid input syntax"),
    ],
)
def test_what_is_wrong_is_said(server, driver, given, said):
    with pytest.raises(DataError, match=said) as caught:
        source(server, driver, **given).read()
    assert caught.value.fix
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("driver", [None, "adbc"])
def test_the_wrong_password(server, driver, monkeypatch):
    monkeypatch.setenv("CLINIC_PASSWORD", "swordfish")
    with pytest.raises(DataError, match=r"(?s)password authentication failed.*fix: check user and password") as caught:
        source(server, driver, table="visits").read()
    assert "swordfish" not in str(caught.value)
    monkeypatch.delenv("CLINIC_PASSWORD")
    with pytest.raises(DataError, match="`CLINIC_PASSWORD` holds no password"):
        source(server, driver, table="visits").read()


def test_a_password_from_a_file_or_a_secret(server, tmp_path):
    from pydantic import SecretStr

    (tmp_path / "password").write_text(PASSWORD + "\n")
    for given in (f"file:{tmp_path}/password", "secret://env/CLINIC_PASSWORD", SecretStr(PASSWORD)):
        asked = SqlSource(server.address, table="odd", password=given)
        assert len(asked.read()) == 1
        assert PASSWORD not in f"{asked!r}{asked.describe()}"


@pytest.mark.parametrize("driver", [None, "adbc"])
def test_a_database_that_is_not_there(server, driver):
    address = server.address.replace("/clinic", "/surgery")
    with pytest.raises(DataError, match="surgery"):
        SqlSource(address, table="visits", driver=driver, password="env:CLINIC_PASSWORD").read()


@pytest.mark.parametrize("driver", [None, "adbc"])
def test_a_dead_server_and_a_silent_one(driver):
    from servers import free_port

    url = f"postgresql+psycopg://ann@127.0.0.1:{free_port()}/clinic"
    with pytest.raises(DataError, match=r"(?s)refused.*server is running"):
        SqlSource(url, table="visits", driver=driver, password="env:CLINIC_PASSWORD").read()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+psycopg://ann@127.0.0.1:{silent.getsockname()[1]}/clinic"
        with pytest.raises(DataError, match=r"(?i)time"):
            SqlSource(url, table="visits", driver=driver, timeout=2, password="env:CLINIC_PASSWORD").read()


@pytest.mark.parametrize("driver", [None, "adbc"])
def test_a_query_that_takes_too_long(server, driver):
    address = f"{server.address}?options=-cstatement_timeout%3D300"
    with pytest.raises(DataError, match="statement timeout"):
        SqlSource(
            address, query="SELECT pg_sleep(9) IS NULL AS a", driver=driver, password="env:CLINIC_PASSWORD"
        ).read()


@pytest.mark.parametrize("driver", [None, "adbc"])
def test_a_server_that_dies_midway(driver):
    with postgres() as mortal:
        query = "SELECT i, pg_sleep(0.0001) IS NULL AS slept FROM generate_series(1, 1000000) AS i"
        threading.Timer(1.0, mortal.stop).start()
        with pytest.raises(DataError, match="refused"):
            source(mortal, driver, query=query).read()


def test_a_growing_table_is_read_exactly_once(server, tmp_path):
    server.sql("CREATE TABLE beats (patient int, at timestamptz)")
    beats, taken = source(server, table="beats"), []
    for rows in (
        "SELECT i, '2024-01-01Z'::timestamptz + i / 3 * interval '1 s' FROM generate_series(1, 10) i",
        "VALUES (11, '2024-01-01 00:00:03Z'::timestamptz)",
        "VALUES (12, '2024-01-01 00:00:03Z'::timestamptz), (12, '2024-01-01 00:00:03Z'), (13, '2024-01-02Z')",
    ):
        server.sql(f"INSERT INTO beats {rows}")
        with read_new(beats, tmp_path / "beats.state", watermark="at") as batch:
            taken += batch.read()["patient"].tolist()
    with read_new(beats, tmp_path / "beats.state", watermark="at") as batch:
        assert batch is None
    assert sorted(taken) == [*range(1, 12), 12, 12, 13]
