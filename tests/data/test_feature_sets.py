"No feature from the future, and one answer for training and for serving."

import json

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_nb.data.feature_sets import FeatureReader, feature_set, join_features, publish_features
from mlops_nb.errors import DataError

START = pd.Timestamp("2024-01-01", tz="UTC")
HOURS = st.integers(0, 60)


def hours(number: int) -> pd.Timestamp:
    return START + pd.Timedelta(hours=number)


FEATURES = st.lists(
    st.tuples(st.sampled_from("abc"), HOURS, st.integers(0, 9)), min_size=1, max_size=14, unique_by=lambda row: row[:2]
)
LABELS = st.lists(st.tuples(st.sampled_from("abcd"), HOURS), min_size=1, max_size=8)
DELAYS, AGES = st.sampled_from([0, 1, 5]), st.sampled_from([None, 3, 20])
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def published(rows, home, delay=0, age=None):
    df = pd.DataFrame([(who, hours(when), what) for who, when, what in rows], columns=["who", "since", "value"])
    return publish_features(df, "f", "who", "since", f"{delay}h", f"{age}h" if age is not None else None, home=home)


def labels(asked) -> pd.DataFrame:
    return pd.DataFrame([(who, hours(when)) for who, when in asked], columns=["who", "at"])


@QUICK
@given(FEATURES, LABELS, DELAYS, AGES)
def test_a_join_gives_what_looking_row_by_row_gives(tmp_path, rows, asked, delay, age):
    joined = join_features(labels(asked), published(rows, tmp_path, delay, age), "at", home=tmp_path)
    for (who, when), value in zip(asked, joined["value"], strict=True):
        known = [row for row in rows if row[0] == who and row[1] + delay <= when]
        newest = max(known, key=lambda row: row[1], default=None)
        if newest is None or (age is not None and when - (newest[1] + delay) > age):
            assert pd.isna(value)
        else:
            assert value == newest[2]


@QUICK
@given(FEATURES, LABELS, FEATURES, DELAYS)
def test_what_comes_later_changes_nothing(tmp_path, rows, asked, later, delay):
    last = max(when for _, when in asked)
    future = [(who, last + 1 + when, what) for who, when, what in later]
    past = [row for row in rows if row[1] <= last] or [("z", 0, 0)]
    before = join_features(labels(asked), published(past, tmp_path, delay), "at", home=tmp_path)
    after = join_features(labels(asked), published(past + future, tmp_path, delay), "at", home=tmp_path)
    pd.testing.assert_frame_equal(before, after, check_dtype=False)


@QUICK
@given(FEATURES, LABELS, DELAYS, AGES)
def test_serving_says_what_training_learnt_from(tmp_path, rows, asked, delay, age):
    trained = join_features(labels(asked), published(rows, tmp_path, delay, age), "at", home=tmp_path)
    for row, (who, when) in enumerate(asked):
        upto = [one for one in rows if one[1] <= when] or [("z", 0, 0)]  # what was there at that time
        published(upto, tmp_path, delay, age)
        served = FeatureReader("f", home=tmp_path).read([who], known_at=hours(when))
        pd.testing.assert_series_equal(
            served["value"].astype(float), trained["value"].iloc[[row]].astype(float).set_axis([0])
        )


def test_an_old_version_still_gives_its_old_answer(tmp_path):
    old = published([("a", 1, 5)], tmp_path)
    published([("a", 1, 7)], tmp_path)
    at = labels([("a", 3)])
    assert join_features(at, old, "at", home=tmp_path)["value"].tolist() == [5]
    assert join_features(at, "f", "at", home=tmp_path)["value"].tolist() == [7]


def test_two_sets_and_a_key_of_two_columns(tmp_path):
    df = pd.DataFrame({"shop": [1, 1], "item": ["x", "y"], "since": [START] * 2, "stock": [4, 6]})
    publish_features(df, "stock", ["shop", "item"], "since", home=tmp_path)
    publish_features(
        df.rename(columns={"stock": "price"}).assign(price=[1.5, 2.5]),
        "price",
        ["shop", "item"],
        "since",
        home=tmp_path,
    )
    found = FeatureReader(["stock", "price"], home=tmp_path).read([(1, "y"), (2, "x"), (1, "x")])
    assert found["stock"].fillna(-1).tolist() == [6, -1, 4]
    assert found["price"].fillna(-1).tolist() == [2.5, -1, 1.5]
    published([("a", 1, 5)], tmp_path)
    with pytest.raises(DataError, match="about different things"):
        FeatureReader(["stock", "f"], home=tmp_path)


def test_a_damaged_definition_is_told(tmp_path):
    published([("a", 1, 5)], tmp_path)
    path = tmp_path / "features" / "f.json"
    path.write_text("{")
    with pytest.raises(DataError, match="is damaged"):
        feature_set("f", tmp_path)
    path.write_text(json.dumps({"name": "f"}))
    with pytest.raises(DataError, match="is damaged"):
        feature_set("f", tmp_path)
