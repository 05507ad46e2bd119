"The same versions in an object store: a server of its own process stands in for S3."

import os
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import duckdb
import pandas as pd
import pytest
from databases import object_store

from mlops_nb.data.diff import diff_versions
from mlops_nb.data.tags import collect_garbage, remove_old, tag_version, untag_version
from mlops_nb.data.versions import datasets, find_version, frame_digest, load_version, snapshot, versions
from mlops_nb.errors import DataError

HOME, SECRET = "s3://bucket/team", "s3cr3t-of-the-store"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    "A server that speaks S3, with an empty bucket."
    with object_store(tmp_path_factory.mktemp("store")) as server:
        address = server["endpoint_url"]
        urllib.request.urlopen(urllib.request.Request(f"{address}/bucket", method="PUT"), timeout=5).close()
        yield {
            "AWS_ENDPOINT_URL": address,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }


@pytest.fixture
def there(store):
    return {"home": HOME, "storage_options": store}


def test_a_version_is_kept_found_and_read(there):
    df = pd.DataFrame({"age": pd.array([63, None, 58], "Int64"), "sex": pd.Categorical(["m", "f", "m"])})
    made = snapshot(df, "heart", **there)
    assert snapshot(df, "heart", **there) == made
    assert find_version("heart", 1, **there) == made
    assert made.digest == frame_digest(df)
    pd.testing.assert_frame_equal(load_version("heart", **there), df)
    pd.testing.assert_frame_equal(
        load_version("heart", columns=["age"], where="sex = 'f'", **there), df[["age"]][1:2].reset_index(drop=True)
    )
    assert made.relation().aggregate("count(*)").fetchall() == [(3,)]
    pd.testing.assert_frame_equal(made.dask().compute(), df)
    assert datasets(**there) == ["heart"]
    with pytest.raises(DataError, match="did you mean `heart`"):
        load_version("haert", **there)


def test_a_stream_that_is_appended_has_the_digest_of_the_whole(there):
    query = "select range as n, range % 7 as day, 'row ' || range as name from range({}, {})"
    whole = snapshot(duckdb.sql(query.format(0, 200_000)), "whole", **there)
    for begin, end in ((0, 70_000), (70_000, 70_001), (70_001, 200_000)):
        part = snapshot(duckdb.sql(query.format(begin, end)), "parts", mode="append", batch=str(begin), **there)
    again = snapshot(duckdb.sql(query.format(0, 70_000)), "parts", mode="append", batch="0", **there)
    assert (part.digest, part.rows, again.version) == (whole.digest, 200_000, 1)
    assert len(load_version("parts", **there)) == 200_000


def test_writers_and_taggers_at_the_same_time_lose_nothing(there):
    def append(number):
        rows = pd.DataFrame({"writer": [number] * 10})
        snapshot(rows, "many", mode="append", batch=str(number), **there)
        return tag_version("many", f"writer-{number}", **there)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(append, range(12)))
    df = load_version("many", **there)
    assert df["writer"].value_counts().to_dict() == dict.fromkeys(range(12), 10)
    assert {tag for v in versions("many", **there) for tag in v.tags} == {f"writer-{i}" for i in range(12)}


def test_tags_retention_and_garbage(there):
    for rows in range(1, 5):
        snapshot(pd.DataFrame({"a": range(rows)}), "kept", **there)
    tag_version("kept", "first", 1, **there)
    assert [v.version for v in remove_old("kept", keep=1, **there)] == [2, 3]
    remove_old("kept", keep=1, dry=False, **there)
    assert [bool(v.gone) for v in versions("kept", **there)] == [False, True, True, False]
    assert len(load_version("kept", "first", **there)) == 1
    with pytest.raises(DataError, match="was removed"):
        load_version("kept", 2, **there)
    untag_version("kept", "first", **there)
    assert collect_garbage("kept", older_than=-60, **there) == {"kept": []}


def test_two_versions_are_compared(there):
    snapshot(pd.DataFrame({"id": [1, 2], "a": [1, 2]}), "diff", key="id", **there)
    snapshot(pd.DataFrame({"id": [2, 3], "a": [9, 3]}), "diff", key="id", **there)
    found = diff_versions(find_version("diff", 1, **there), find_version("diff", 2, **there))
    assert (found.added, found.removed, found.changed) == (1, 1, 1)


def test_no_secret_is_shown(there, store):
    made = snapshot(pd.DataFrame({"a": [1]}), "secret", **there)
    assert (
        SECRET not in f"{made!r} {made._repr_html_()} {made.describe()} {made.log!r} {made.log.options!r} {made.note}"
    )
    wrong = {"home": "s3://no-such-bucket/x", "storage_options": store}
    with pytest.raises(DataError) as caught:
        snapshot(pd.DataFrame({"a": [1]}), "x", **wrong)
    assert SECRET not in str(caught.value)
    assert "no-such-bucket" in str(caught.value)


def test_a_store_that_is_away_is_a_sentence(store):
    away = store | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "max_retries": "0", "retry_timeout": "1s"}
    began = time.monotonic()
    with pytest.raises(DataError, match="s3://bucket"):
        load_version("heart", home=HOME, storage_options=away)
    assert time.monotonic() - began < 60
    assert "AWS_SECRET_ACCESS_KEY" not in os.environ
