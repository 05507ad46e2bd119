"Whether differences are found where there are some, and only there."

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mlops_nb.data.compare import category_difference, compare, holm, numeric_difference, psi
from mlops_nb.errors import DataError, ValidationError


def draw(rows: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    df = pd.DataFrame(rng.normal(size=(rows, 8)), columns=list("abcdefgh"))
    df["a"] += shift
    return df.assign(level=rng.choice(["x", "y", "z"], rows, p=[0.5, 0.3, 0.2]), flag=rng.random(rows) < 0.3)


def test_against_the_formulas():
    rng = np.random.default_rng(1)
    old, new = rng.normal(size=1000), rng.normal(0.3, 1.2, size=800)
    result = numeric_difference(old, new)
    assert result["ks"] == pytest.approx(stats.ks_2samp(old, new).statistic)
    assert result["shift"] == pytest.approx((new.mean() - old.mean()) / old.std())
    edges = np.quantile(old, np.linspace(0, 1, 11))
    edges[0], edges[-1] = -np.inf, np.inf
    p, q = (np.histogram(values, edges)[0] / len(values) for values in (old, new))
    assert psi(old, new) == pytest.approx(float(np.sum((q - p) * np.log(q / p))), rel=0.05)
    table = pd.Series(["x"] * 60 + ["y"] * 40), pd.Series(["x"] * 30 + ["y"] * 70)
    result = category_difference(*table)
    assert result["p"] == pytest.approx(stats.chi2_contingency([[60, 40], [30, 70]]).pvalue)
    p, q, m = np.array([0.6, 0.4]), np.array([0.3, 0.7]), np.array([0.45, 0.55])
    divergence = (np.sum(p * np.log2(p / m)) + np.sum(q * np.log2(q / m))) / 2
    assert result["js"] == pytest.approx(math.sqrt(divergence))


def test_holm_against_its_definition():
    rng = np.random.default_rng(0)
    for count in range(1, 30):
        given = rng.random(count) ** 4
        ordered = sorted(given)
        rejected = 0
        while rejected < count and ordered[rejected] < 0.05 / (count - rejected):
            rejected += 1
        assert int((holm(given) < 0.05).sum()) == rejected


@pytest.mark.parametrize("rows", [60, 1000, 20_000])
def test_false_alarms_are_rare(rows):
    alarms = sum(bool(compare(draw(rows, seed), draw(rows, seed + 10_000)).skewed) for seed in range(60))
    assert alarms <= 3


def test_a_shift_is_found_in_the_right_column():
    hits = [compare(draw(1000, seed), draw(1000, seed + 10_000, shift=0.5)).skewed for seed in range(40)]
    assert sum(found[:1] == ["a"] for found in hits) >= 38


def test_what_is_significant_and_small_is_no_skew():
    report = compare(draw(200_000, 1), draw(200_000, 2, shift=0.03))
    assert report.table.loc["a", "p"] < 1e-6
    assert report.skewed == []


ODD = {
    "constant": (pd.Series([1.0] * 50), pd.Series([1.0] * 50), False),
    "constant that moved": (pd.Series([1.0] * 50), pd.Series([2.0] * 50), True),
    "infinite": (pd.Series([*np.arange(49.0), np.inf]), pd.Series([*np.arange(49.0), np.inf]), False),
    "all null now": (pd.Series(np.arange(50.0)), pd.Series([np.nan] * 50), True),
    "null before, too": (pd.Series([None] * 50, dtype=float), pd.Series([None] * 50, dtype=float), False),
    "a value where none was": (pd.Series([None] * 50, dtype=float), pd.Series(np.arange(50.0)), True),
    "one value left": (pd.Series(np.arange(50.0)), pd.Series([3.0]), False),
    "a new level": (pd.Series(["x", "y"] * 25), pd.Series(["x", "z"] * 25), True),
    "levels only once": (pd.Series(map(str, range(50))), pd.Series(map(str, range(50, 100))), False),
    "nullable numbers": (pd.Series(range(50), dtype="Int64"), pd.Series(range(50), dtype="Int64"), False),
    "numbers below text's order": (pd.Series([0, 1] * 25), pd.Series([1, 1] * 25), True),
    "categories": (pd.Series(["x", "y"] * 25, dtype="category"), pd.Series(["x", "x"] * 25, dtype="category"), True),
    "truth": (pd.Series([True, False] * 25), pd.Series([True, False] * 25), False),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("what", ODD)
def test_odd_columns(what):
    old, new, skewed = ODD[what]
    report = compare(old.to_frame("x"), new.to_frame("x"))
    assert bool(report.skewed) == skewed, report.table.T
    json.dumps(report.to_dict(), allow_nan=False)
    assert ("✗" in report._repr_html_()) == skewed
    report.plot()
    if skewed:
        with pytest.raises(ValidationError, match="x: "):
            report.raise_if_skewed()
    else:
        report.raise_if_skewed()


def test_what_cannot_be_compared():
    df = draw(50, 0)
    for old, new, options, said in [
        (df, df.rename(columns={"level": "levels"}), {}, "did you mean `levels`"),
        (df[:0], df, {}, "reference sample"),
        (df, df[:0], {}, "current sample"),
        (df, df.assign(a="x"), {}, "float64 in the reference"),
        (df, df, {"columns": ["A"]}, "no column `A`"),
        (df, df, {"psi_limit": 1}, "no threshold"),
    ]:
        with pytest.raises(DataError, match=said):
            compare(old, new, **options)


def test_dates_are_left_out_and_thresholds_count():
    df = draw(500, 0).assign(when=pd.Timestamp("2024-01-01"))
    assert "when" not in compare(df, df).table.index
    moved = draw(500, 1, shift=0.6).assign(when=pd.Timestamp("2025-01-01"))
    assert compare(df, moved).skewed == ["a"]
    assert compare(df, moved, psi=1, shift=2).skewed == []
    assert compare(df, moved, columns=["b"]).skewed == []
    assert len(compare(df, moved).plot(most=2).axes) == 2


@pytest.mark.parametrize("kind", ["arrow", "duckdb", "dask", "version"])
def test_what_is_no_frame_gives_what_its_frame_gives(kind, tmp_path):
    import dask.dataframe
    import duckdb
    import pyarrow as pa

    from mlops_nb.data.versions import snapshot

    make = {"arrow": pa.Table.from_pandas, "duckdb": duckdb.from_df,
            "dask": lambda df: dask.dataframe.from_pandas(df, npartitions=3),
            "version": lambda df: snapshot(df, "side", home=tmp_path)}[kind]  # fmt: skip
    holes = np.random.default_rng(5).random(900) < 0.2
    sides = [draw(900, seed, shift).assign(days=pd.Timestamp("2024-01-01")) for seed, shift in ((0, 0.0), (1, 0.5))]
    sides[1].loc[holes, ["b", "level"]] = None
    frames, others = compare(*sides), compare(*map(make, sides))
    pd.testing.assert_frame_equal(others.table, frames.table, check_dtype=False)
    assert others.to_dict() == frames.to_dict()
    assert set(others.skewed) == {"a", "b", "level"}
    assert len(others.plot().axes) == 4
