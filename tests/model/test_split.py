import numpy as np
import pandas as pd
import pytest

from mlops_nb.errors import DataError, ParameterError
from mlops_nb.model.folds import gather, make_folds
from mlops_nb.model.split import split


def parts_of(splits):
    return splits.train, splits.valid, splits.test._frame


def table(seed, rows=600):
    chance = np.random.default_rng(seed)
    df = pd.DataFrame({
        "x": chance.random(rows),
        "y": chance.choice(["a", "b", "c"], rows, p=[0.7, 0.2, 0.1]),
        "shop": chance.zipf(1.6, rows) % 60,
        "day": pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(chance.integers(0, 90, rows), "D"),
        "number": chance.normal(size=rows),
    })  # fmt: skip
    return df.set_index(chance.permutation(rows) + 7)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("how", [{}, {"group": "shop"}, {"time": "day"}, {"target": "number"}])
def test_every_row_is_in_one_part_and_in_its_order(seed, how):
    df = table(seed)
    parts = parts_of(split(df, **{"target": "y", "seed": seed} | how))
    assert sorted(label for part in parts for label in part.index) == sorted(df.index)
    place = pd.Series(range(len(df)), df.index)
    for part in parts:
        assert part.equals(df.loc[part.index])
        assert place[part.index].is_monotonic_increasing


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_together_and_classes_keep_their_shares(seed):
    df = table(seed, 3000).assign(shop=np.arange(3000) // 10)
    parts = parts_of(split(df, "y", group="shop", seed=seed))
    shops = [set(part["shop"]) for part in parts]
    assert not (shops[0] & shops[1])
    assert not (shops[0] & shops[2])
    assert not (shops[1] & shops[2])
    for part, share in zip(parts, (0.7, 0.2, 0.1), strict=True):
        assert abs(len(part) / 3000 - share) < 0.02
        assert np.allclose(part["y"].value_counts(normalize=True), df["y"].value_counts(normalize=True), atol=0.03)


def test_a_group_with_half_of_the_rows_goes_to_one_part():
    df = table(0).assign(shop=np.where(np.arange(600) < 300, 0, np.arange(600)))
    assert (split(df, "y", group="shop").train["shop"] == 0).sum() == 300


@pytest.mark.parametrize("gap", [None, "3D", "10D"])
def test_later_parts_are_later_by_the_gap(gap):
    train, valid, test = parts_of(split(table(1), "y", time="day", gap=gap))
    width = pd.Timedelta(gap or 0)
    for before, after in ((train, valid), (valid, test)):
        assert before["day"].max() < after["day"].min()
        assert after["day"].min() - before["day"].max() >= width


def test_a_moment_is_not_cut_in_two():
    df = table(2).assign(day=np.repeat([1, 2, 3], 200))
    assert [set(part["day"]) for part in parts_of(split(df, "y", time="day", shares=(0.4, 0.3, 0.3)))] == [
        {1},
        {2},
        {3},
    ]
    with pytest.raises(DataError, match="part `valid` is empty"):
        split(df.assign(day=np.repeat([1, 2], 300)), "y", time="day")


def test_numbers_are_spread_alike():
    parts = parts_of(split(table(3), "number"))
    middles = [part["number"].quantile([0.2, 0.5, 0.8]).to_numpy() for part in parts]
    assert np.ptp(middles, axis=0).max() < 0.35


@pytest.mark.parametrize(("how", "what"), [
    ({"shares": (0.5, 0.5)}, "are 2"),
    ({"group": "shop", "time": "day"}, "do not go together"),
    ({"gap": "1D"}, "do not go together"),
    ({"time": "day", "gap": "a while"}, "no span of time"),
    ({"task": "regresion"}, "no task"),
])  # fmt: skip
def test_what_cannot_be_asked(how, what):
    with pytest.raises(ParameterError, match=what):
        split(table(0), "y", **how)


@pytest.mark.parametrize(("change", "how", "what"), [
    ({"shop": [None] + [1] * 599}, {"group": "shop"}, "`shop` is null in 1 of 600 rows"),
    ({"y": "a"}, {}, "one class only"),
    ({"y": ["rare"] + ["a", "b"] * 299 + ["a"]}, {}, "class `rare` of `y` has 1 rows for 3 parts"),
    ({"day": "monday"}, {"time": "day"}, "and no times"),
    ({"y": ["a", "b"] * 250 + ["late"] * 100}, {"time": "number"}, None),
])  # fmt: skip
def test_what_cannot_be_split(change, how, what):
    df = table(0).assign(**change)
    if what is None:  # a class that comes up only after the training part
        df, what = df.assign(number=range(600)), "no row of class \\['late'\\] is left to learn from"
    with pytest.raises(DataError, match=what):
        split(df, "y", **how)


def test_what_is_told_about_the_parts_is_true():
    splits = split(table(4), "y", group="shop")
    told = splits.summary()
    for name, part in zip(("train", "valid", "test"), parts_of(splits), strict=True):
        assert told.loc[name, "rows"] == len(part)
        assert told.loc[name, "y=a"] == round((part["y"] == "a").mean(), 3)
        assert told.loc[name, "shops"] == part["shop"].nunique()
    assert "the test part is sealed" in repr(splits)


@pytest.mark.parametrize("seed", range(3))
def test_folds_hold_each_row_once_and_respect_groups_and_time(seed):
    df = table(seed)
    plain = make_folds(gather(df[["x"]], df["y"]), 4, seed)
    assert sorted(np.concatenate([judge for _, judge in plain])) == list(range(600))
    assert all(not set(learn) & set(judge) for learn, judge in plain)
    for learn, judge in make_folds(gather(df[["x"]], df["number"], groups=df["shop"]), 4, seed):
        assert not set(df["shop"].iloc[learn]) & set(df["shop"].iloc[judge])
    for learn, judge in make_folds(gather(df[["x"]], df["y"], times=df["day"]), 4, seed):
        assert df["day"].iloc[learn].max() < df["day"].iloc[judge].min()
