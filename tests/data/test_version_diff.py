"A difference says what it takes to get from one version to the other: shown on random tables."

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_nb.data.diff import diff_rows, diff_versions
from mlops_nb.data.versions import find_version, snapshot
from mlops_nb.errors import DataError

quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXTS = st.none() | st.sampled_from(["a", "b", "", "é", "null"])
NUMBERS = st.none() | st.sampled_from([0.0, -0.0, 1.5, float("nan"), float("inf")])
ROWS = st.dictionaries(st.integers(0, 12), st.tuples(TEXTS, NUMBERS, st.integers(0, 2)), max_size=9)


def frame(rows):
    columns = {
        "id": pd.Series([k for k in rows], dtype="int64"),
        "text": pd.Series([v[0] for v in rows.values()], dtype="string"),
        "number": pd.Series([v[1] for v in rows.values()], dtype="float64"),
        "count": pd.Series([v[2] for v in rows.values()], dtype="int8"),
    }
    return pd.DataFrame(columns)


def plain(values):
    "A row so that equal ones compare equal: not a number is null."
    values = [v.item() if hasattr(v, "item") else v for v in values]
    return tuple(None if v is None or v is pd.NA or v != v else v + 0 if isinstance(v, float) else v for v in values)


def rows_of(df):
    return [plain(row) for row in df.itertuples(index=False)]


@quick
@given(ROWS, ROWS)
def test_applied_by_key_it_gives_the_other_side(old, new):
    before, after = frame(old), frame(new)
    found, parts = diff_versions(before, after, key="id"), diff_rows(before, after, key="id")
    result = {row[0]: row for row in rows_of(before)}
    for row in rows_of(parts["removed"]):
        del result[row[0]]
    for row in rows_of(parts["changed"]):
        assert result[row[0]] != row
        result[row[0]] = row
    for row in rows_of(parts["added"]):
        assert row[0] not in result
        result[row[0]] = row
    assert result == {row[0]: row for row in rows_of(after)}
    assert (found.added, found.removed, found.changed) == tuple(
        map(len, (parts["added"], parts["removed"], parts["changed"]))
    )


@quick
@given(st.lists(ROWS, min_size=1, max_size=2), st.lists(ROWS, min_size=1, max_size=2))
def test_applied_as_whole_rows_it_gives_the_other_side(old, new):
    before, after = (pd.concat(map(frame, side)).drop(columns="id").reset_index(drop=True) for side in (old, new))
    parts = diff_rows(before, after)
    result = Counter(rows_of(before))
    result.subtract(rows_of(parts["removed"]))
    assert min(result.values(), default=0) >= 0
    result.update(rows_of(parts["added"]))
    assert +result == Counter(rows_of(after))


@quick
@given(ROWS, ROWS, st.sampled_from(["id", []]))
def test_it_is_the_same_from_both_sides(old, new, key):
    before, after = frame(old), frame(new)
    there, back = diff_versions(before, after, key=key), diff_versions(after, before, key=key)
    assert (there.added, there.removed, there.changed) == (back.removed, back.added, back.changed)
    assert there.columns == back.columns
    assert bool(there) == bool(back)
    assert there.examples["added"] == back.examples["removed"]
    assert [
        {k: v[::-1] if isinstance(v, tuple) else v for k, v in row.items()} for row in back.examples["changed"]
    ] == (there.examples["changed"])


@quick
@given(ROWS, st.sampled_from(["id", []]), st.randoms())
def test_equal_sides_do_not_differ_in_whatever_order(rows, key, chance):
    order = list(rows)
    chance.shuffle(order)
    found = diff_versions(frame(rows), frame({k: rows[k] for k in order}), key=key)
    assert not found
    assert found.columns == (dict.fromkeys(("text", "number", "count"), 0) if key else {})
    assert str(found).endswith("nothing differs")


@pytest.mark.parametrize("key", ["rows", "key", 'a "quoted" name', "before"])
def test_names_that_mean_something_elsewhere_are_names(key):
    other = f"{key} before"
    old, new = pd.DataFrame({key: [1, 2], other: ["x", "y"]}), pd.DataFrame({key: [1, 2], other: ["x", "z"]})
    assert diff_versions(old, new, key=key).examples["changed"] == [{key: 2, other: ("y", "z")}]
    assert diff_versions(old, new).removed == 1


def test_every_type_is_compared(tmp_path):
    old = pd.DataFrame(
        {
            "id": [1, 2],
            "unsigned": np.array([2**64 - 1, 1], "uint64"),
            "when": pd.to_datetime(["2024-01-01", "2024-01-02"]).tz_localize("Europe/Berlin"),
            "took": pd.to_timedelta([1, 2], unit="h"),
            "level": pd.Categorical(["a", "b"]),
            "many": [[1, 2], None],
            "bytes": [b"x", b"y"],
        }
    )
    new = old.assign(
        unsigned=np.array([1, 1], "uint64"),
        when=old["when"] + pd.Timedelta("1s"),
        took=old["took"][::-1].to_numpy(),
        level=pd.Categorical(["a", "c"]),
        many=pd.Series([[1, 3], None]),
    )
    one, other = (snapshot(df, "x", key="id", home=tmp_path) for df in (old, new))
    found = diff_versions(one, other)
    assert found.columns == {"unsigned": 1, "when": 2, "took": 2, "level": 1, "many": 1, "bytes": 0}
    assert not found.schema
    assert diff_versions(one, find_version("x", 1, home=tmp_path)).changed == 0
    page, told = found._repr_html_(), found.to_dict()
    assert "aria-label='0 the same, 2 changed, 0 removed, 0 added'" in page
    assert told["old"]["version"] == 1
    assert told["columns"]["level"] == 1


def test_columns_that_came_went_and_changed_their_type():
    old = pd.DataFrame({"id": [1], "a": [1], "gone": ["x"]})
    new = pd.DataFrame({"id": [1], "a": [1.5], "came": [True]})
    found = diff_versions(old, new, key="id")
    assert found.schema == {"a": ("int64", "double"), "gone": ("large_string", None), "came": (None, "bool")}
    assert (found.changed, found.columns) == (1, {"a": 1})
    assert found.summary[1]["mean"] == (1.0, 1.5)
    assert "gone: large_string -> absent" in str(found)


def test_what_cannot_be_compared_is_told():
    old, new = pd.DataFrame({"id": [1], "a": [1]}), pd.DataFrame({"b": ["x"]})
    with pytest.raises(DataError, match="no column in common"):
        diff_versions(old, new)
    with pytest.raises(DataError, match="not a column of both"):
        diff_versions(old, old.drop(columns="id"), key="id")
    with pytest.raises(DataError, match="2 rows of the old version have id=1"):
        diff_versions(pd.concat([old, old]), old, key=["id"])
    evil = pd.DataFrame({"id": [1], "<script>": ["<b>"]})
    assert "<script>" not in diff_versions(evil, evil.assign(**{"<script>": ["<i>"]}), key="id")._repr_html_()
