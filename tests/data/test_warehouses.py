"BigQuery and Snowflake by their own drivers; only what they reach over the network is ours."

import json
import re

import numpy as np
import pandas as pd
import pytest
from warehouses import BigQuery, Snowflake, warehouse

from mlops_nb.data.databases import SqlSource
from mlops_nb.data.sources import open_source
from mlops_nb.data.versions import load_version, snapshot
from mlops_nb.errors import DataError

ROWS = 2500  # more than the servers put into one answer


@pytest.fixture(scope="module")
def patients():
    "A table with every common type, and nulls."
    k = np.arange(ROWS)
    words = pd.Series([f"w{i}" for i in k]).where(k % 3 > 0, None)
    return pd.DataFrame(
        {
            "number": k,
            "value": k / 4,
            "word": words,
            "ill": k % 2 == 0,
            "seen": pd.Timestamp("2024-01-01") + pd.to_timedelta(k, "min"),
        }
    )


@pytest.fixture
def bigquery(patients, tmp_path, monkeypatch):
    "A project with one data set, and the key of a service account that its token server knows."
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with warehouse(BigQuery, {"patients": patients}) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}"
        account = {
            "type": "service_account",
            "project_id": "lab",
            "private_key_id": "1",
            "private_key": key.decode(),
            "client_email": "reader@lab.example",
            "client_id": "1",
            "token_uri": f"{address}/token",
        }
        (tmp_path / "key.json").write_text(json.dumps(account))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", address)
        yield server, "bigquery://lab/study", {}


@pytest.fixture
def snowflake(patients, tmp_path, monkeypatch):
    "An account that knows one password."
    monkeypatch.setenv("SNOWFLAKE_HOME", str(tmp_path))
    monkeypatch.setenv("WAREHOUSE_PASSWORD", Snowflake.PASSWORD)
    with warehouse(Snowflake, {"patients": patients}) as server:
        port = server.server_address[1]
        settings = f'[here]\naccount = "lab"\nhost = "127.0.0.1"\nport = {port}\nprotocol = "http"\n'
        (tmp_path / "connections.toml").write_text(settings)
        (tmp_path / "connections.toml").chmod(0o600)
        address = f"snowflake://anna@127.0.0.1:{port}/lab/public?account=lab&connection_name=here"
        yield server, address, {"password": "env:WAREHOUSE_PASSWORD"}


@pytest.fixture(params=["bigquery", "snowflake"])
def place(request):
    return request.getfixturevalue(request.param)


pytestmark = pytest.mark.filterwarnings("ignore:Cannot create BigQuery Storage client")


def test_a_table_arrives_whole(place, patients):
    _, address, options = place
    found = open_source(address, table="patients", **options).read()
    pd.testing.assert_frame_equal(found, patients, check_dtype=False)
    assert [kind.kind for kind in found.dtypes] == ["i", "f", "O", "b", "M"]


def test_values_of_a_query_are_bound(place, patients):
    server, address, options = place
    source = SqlSource(
        address,
        query="SELECT number, word FROM patients WHERE word = :word OR number >= :least",
        params={"word": "w1'; DROP TABLE patients --", "least": ROWS - 2},
        **options,
    )
    assert source.read()["number"].tolist() == [ROWS - 2, ROWS - 1]
    assert len(server.ask("select * from patients")[2]) == ROWS


def test_a_version_says_where_it_came_from_and_not_the_password(place, tmp_path):
    _, address, options = place
    source = open_source(address, query="SELECT number, value FROM patients", **options)
    version = snapshot(source, "patients", home=tmp_path)
    assert version.rows == ROWS
    assert "SELECT number" in json.dumps(version.source)
    assert Snowflake.PASSWORD not in json.dumps(version.source) + repr(source)
    assert load_version("patients", home=tmp_path)["value"].sum() == sum(range(ROWS)) / 4


def test_mistakes_are_told(place):
    _, address, options = place
    with pytest.raises(DataError, match="has no table `patient`"):
        open_source(address, table="patient", **options).read()
    with pytest.raises(DataError, match="no_such_column"):
        SqlSource(address, query="SELECT no_such_column FROM patients", **options).read()


def test_a_wrong_password_is_told_and_not_shown(snowflake, monkeypatch):
    _, address, options = snowflake
    monkeypatch.setenv("WAREHOUSE_PASSWORD", "swordfish-17")
    with pytest.raises(DataError, match="Incorrect username or password") as told:
        open_source(address, table="patients", **options).read()
    assert "swordfish" not in str(told.value)


def test_credentials_that_are_not_known_are_told(bigquery, monkeypatch):
    server, address, _ = bigquery
    server.token = "another"
    with pytest.raises(DataError, match="invalid authentication"):
        open_source(address, table="patients").read()


def test_a_warehouse_that_is_away_is_told(snowflake, tmp_path):
    _, _, options = snowflake
    settings = (tmp_path / "connections.toml").read_text()
    (tmp_path / "connections.toml").write_text(re.sub(r"port = \d+", "port = 9", settings))
    source = SqlSource(
        "snowflake://anna@127.0.0.1:9/lab?account=lab&connection_name=here",
        query="SELECT 1 AS one",
        timeout=2,
        **options,
    )
    with pytest.raises(DataError, match=r"check host and port|running"):
        source.read()
