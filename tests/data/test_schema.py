"Every way in which data can break its schema, one at a time and all at once."

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_nb.data.schema import Column, Schema, SchemaReport, Violation, check_parts
from mlops_nb.errors import DataError, ValidationError

HEART = Path(__file__).parents[2] / "nbs" / "pipelines" / "heart" / "data" / "saheart.csv"
SCHEMA = Schema(
    {
        "age": Column("int", minimum=0, maximum=120),
        "ldl": Column("float", minimum=0),
        "famhist": Column("text", categories=["Present", "Absent"]),
        "chd": Column("int", categories=[0, 1]),
    },
    target="chd",
)


def good(rows: int = 20) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "age": range(20, 20 + rows),
            "ldl": np.linspace(1.5, 9.5, rows),
            "famhist": (["Present", "Absent"] * rows)[:rows],
            "chd": ([0, 1] * rows)[:rows],
        }
    )


def found(df: pd.DataFrame, schema: Schema = SCHEMA) -> dict[tuple[str, str], Violation]:
    before = df.copy()
    report = schema.check(df)
    pd.testing.assert_frame_equal(df, before)  # checking changes nothing
    json.dumps(report.to_dict(), allow_nan=False)
    assert report.passed == (not report.errors)
    assert ("✓" in report._repr_html_()) == report.passed
    assert len(report.frame()) == len(report.violations)
    if len(df) < 1000:
        hold_in_parts(df, schema, report)
    return {(violation.column, violation.rule): violation for violation in report.violations}


def hold_in_parts(df: pd.DataFrame, schema: Schema, whole: SchemaReport) -> None:
    "In parts of seven rows, the same rules are broken by as many rows, and the first of them are the same."
    numbers = {index: row for row, index in enumerate(df.index)} if df.index.is_unique else None
    parts = [df.iloc[start : start + 7] for start in range(0, max(len(df), 1), 7)]
    report = check_parts(schema, parts)
    assert (report.rows, report.rules) == (whole.rows, whole.rules)
    assert [(v.column, v.rule, v.count, v.severity) for v in report.violations] == [
        (v.column, v.rule, v.count, v.severity) for v in whole.violations
    ]
    for part, one in zip(report.violations, whole.violations, strict=True):
        if numbers and part.examples and one.examples and part.rule not in ("unique", "classes"):
            assert [row for row, _ in part.examples] == [numbers[index] for index, _ in one.examples]


def put(df, row, column, value):
    return df.assign(**{column: df[column].astype(object).where(df.index != row, value)})


def test_good_data_passes():
    assert found(good()) == {}
    SCHEMA.check(good()).raise_if_failed()


ONE = {  # what: (what happens to good data, the one violation, its count, its examples)
    "a missing column": (lambda df: df.drop(columns="age"), ("age", "missing_column"), 20, ()),
    "an unexpected column": (lambda df: df.assign(bmi=1), ("bmi", "extra_column"), 0, ()),
    "text among numbers": (lambda df: put(df, 7, "age", "n/a"), ("age", "dtype"), 1, ((7, "n/a"),)),
    "text in a file's numbers": (
        lambda df: put(df, 7, "age", "n/a").astype({"age": str}),
        ("age", "dtype"),
        1,
        ((7, "n/a"),),
    ),
    "a number that is text": (lambda df: put(df, 7, "age", "old"), ("age", "dtype"), 1, ((7, "old"),)),
    "all null": (lambda df: df.assign(ldl=np.nan), ("ldl", "all_null"), 20, None),
    "all null text": (lambda df: df.assign(famhist=None), ("famhist", "all_null"), 20, None),
    "all null target": (lambda df: df.assign(chd=None), ("chd", "all_null"), 20, None),
    "a null": (lambda df: put(df, 7, "ldl", None).astype({"ldl": float}), ("ldl", "nulls"), 1, None),
    "a null among whole numbers": (lambda df: df.assign(age=df.age.where(df.index != 7)), ("age", "nulls"), 1, None),
    "a null among text": (lambda df: put(df, 7, "famhist", None), ("famhist", "nulls"), 1, ((7, None),)),
    "an unknown category": (lambda df: put(df, 7, "famhist", "maybe"), ("famhist", "categories"), 1, ((7, "maybe"),)),
    "a number as category": (lambda df: put(df, 7, "famhist", 1), ("famhist", "dtype"), 1, ((7, 1),)),
    "an unknown number": (lambda df: put(df, 7, "chd", 2).astype({"chd": int}), ("chd", "categories"), 1, ((7, 2),)),
    "a negative age": (lambda df: df.assign(age=df.age.where(df.index != 7, -4)), ("age", "minimum"), 1, ((7, -4),)),
    "an old age": (lambda df: df.assign(age=df.age.where(df.index != 7, 121)), ("age", "maximum"), 1, ((7, 121),)),
    "a fraction": (lambda df: df.assign(age=df.age.where(df.index != 7, 40.5)), ("age", "dtype"), 1, ((7, 40.5),)),
    "whole numbers as floats": (lambda df: df.astype({"age": float}), ("age", "dtype"), 20, None),
    "numbers as text": (lambda df: df.astype({"age": str}), ("age", "dtype"), 20, None),
    "numbers as categories": (
        lambda df: df.astype({"famhist": "category"}).assign(famhist=pd.Categorical([1, 2] * 10)),
        ("famhist", "dtype"),
        20,
        None,
    ),
    "infinity": (lambda df: df.assign(ldl=df.ldl.where(df.index != 7, np.inf)), ("ldl", "finite"), 1, ((7, np.inf),)),
    "truth as numbers": (lambda df: df.astype({"chd": bool}), ("chd", "dtype"), 20, None),
    "times as numbers": (lambda df: df.assign(age=pd.Timestamp("2024-01-01")), ("age", "dtype"), 20, None),
    "one class": (lambda df: df.assign(chd=1), ("chd", "classes"), 20, ((0, 1),)),
    "a repeated row": (
        lambda df: pd.concat([df, df[3:4]], ignore_index=True),
        ("", "duplicates"),
        1,
        ((20, "repeats row 3"),),
    ),
    "a repeated column": (lambda df: pd.concat([df, df[["age"]]], axis=1), ("age", "repeated_column"), 0, ()),
    "no rows": (lambda df: df[:0], ("", "minimum_rows"), 0, ()),
}


@pytest.mark.parametrize("what", ONE)
def test_one_fault_gives_one_violation(what):
    change, place, count, examples = ONE[what]
    violations = found(change(good()))
    assert list(violations) == [place]
    assert violations[place].count == count
    if examples is not None:
        assert violations[place].examples == examples
    with pytest.raises(ValidationError) as caught:
        SCHEMA.check(change(good())).raise_if_failed()
    message = str(caught.value)
    assert place[0] in message
    assert place[1] in message
    for index, value in examples or ():
        assert f"row {index}: {value!r}" in message


def test_all_faults_at_once():
    df = good().rename(columns={"ldl": "LDL"})
    df = put(put(df, 1, "age", "n/a"), 2, "age", -3)
    df = put(put(df, 3, "famhist", None), 4, "famhist", "maybe").assign(chd=1)
    df = pd.concat([df, df[9:10]])
    assert list(found(df)) == [
        ("ldl", "missing_column"),
        ("LDL", "extra_column"),
        ("", "duplicates"),
        ("chd", "classes"),
        ("age", "dtype"),
        ("age", "minimum"),
        ("famhist", "nulls"),
        ("famhist", "categories"),
    ]
    assert found(df)["age", "minimum"].examples == ((2, -3),)
    assert "did you mean `LDL`" in found(df)["ldl", "missing_column"].limit


def test_rows_are_named_by_the_index_of_the_frame():
    df = good().set_axis([f"p{row % 5}" for row in range(20)])  # text, and not unique
    df["age"] = [-1 if row in (3, 8) else 20 + row for row in range(20)]
    violation = found(df)["age", "minimum"]
    assert violation.examples == (("p3", -1), ("p3", -1))
    many = found(good().assign(age=-5))["age", "minimum"]
    assert (many.count, many.share, len(many.examples)) == (20, 1.0, 5)
    assert many.rows.endswith(", …")


def test_warnings_do_not_stop():
    schema = Schema({"age": Column("int", minimum=30, severity="warn")}, extra_columns="warn")
    report = schema.check(good())
    assert report.passed
    assert {v.severity for v in report.violations} == {"warn"}
    assert {v.column for v in report.violations} == {"age", "ldl", "famhist", "chd"}
    report.raise_if_failed()
    assert Schema({"age": Column("int")}, extra_columns="allow").check(good()).violations == ()


def test_limits_of_the_table():
    schema = Schema(SCHEMA.columns, target="chd", max_duplicates=2, minimum_rows=20)
    assert schema.check(pd.concat([good(), good()[:2]])).passed
    assert [v.count for v in schema.check(pd.concat([good(), good()[:3]])).violations] == [3]
    assert [v.rule for v in schema.check(good()[:19]).violations] == ["minimum_rows"]
    twins = pd.DataFrame({"x": [[1], [1]]})  # cannot be hashed
    assert "duplicates" in {v.rule for v in Schema({"x": Column("text")}).check(twins).violations}
    nulls = pd.DataFrame({"x": [1.0, None, None]})
    assert found(nulls, Schema({"x": Column("float", nullable=True)}))["", "duplicates"].examples == (
        (2, "repeats row 1"),
    )


KINDS = {  # family: (columns that fit, columns that do not)
    "int": (
        [
            [1, 2],
            np.array([1, 2], "uint8"),
            pd.array([1, 2], "Int64"),
            pd.array([1, None], "Int64"),
            [1.0, None],
            pd.Categorical([1, 2]),
            pd.array([1, 2], "int64[pyarrow]"),
        ],
        [[1.0, 2.0], [1.5, None], ["1", "2"], [True, False], [np.inf, None], ["x", "y"], [date(2024, 1, 1)] * 2],
    ),
    "float": (
        [
            [1.5, 2],
            [1, 2],
            [1.5, None],
            pd.array([1.5, None], "Float64"),
            np.array([1, 2], "float32"),
            [Decimal("1.5"), 2],
            pd.array([1.5, None], "float64[pyarrow]"),
        ],
        [["1.5", "2"], [True, False], ["x", 1.5], pd.to_datetime(["2024", "2025"]), [b"x", b"y"]],
    ),
    "text": (
        [
            ["a", None],
            pd.array(["a", None], "string"),
            pd.Categorical(["a", "b"]),
            pd.array(["a", "b"], "string[pyarrow]"),
        ],
        [[1, 2], ["a", 1], [True, False], [b"a", b"b"], [["a"], ["b"]], pd.to_datetime(["2024", "2025"])],
    ),
    "bool": (
        [[True, False], [True, None], pd.array([True, None], "boolean")],
        [[0, 1], ["True", "False"], [True, "x"], [1.0, None]],
    ),
    "datetime": (
        [
            pd.to_datetime(["2024-01-01", None]),
            pd.to_datetime(["2024-01-01", None], utc=True),
            [date(2024, 1, 1), None],
            [pd.Timestamp("2024-01-01"), None],
        ],
        [["2024-01-01", "2024-01-02"], ["2024-01-01", "soon"], [1, 2], [1.5, None], [True, False]],
    ),
}


@pytest.mark.parametrize(
    ("family", "values", "fits"),
    [
        (family, values, fits)
        for family, sides in KINDS.items()
        for side, fits in zip(sides, (True, False), strict=True)
        for values in side
    ],
)
def test_families(family, values, fits):
    df = pd.DataFrame({"x": pd.Series(values)})
    rules = [rule for _, rule in found(df, Schema({"x": Column(family, nullable=True)}, max_duplicates=2))]
    assert [rule for rule in rules if rule == "dtype"] == ([] if fits else ["dtype"])
    assert set(rules) <= {"dtype"}


def test_times():
    schema = Schema({"t": Column("datetime", minimum="2024-01-01", maximum="2024-12-31")})
    df = pd.DataFrame({"t": pd.to_datetime(["2023-06-01", "2024-06-01", "2025-06-01"])})
    for times in (df, df.assign(t=df.t.dt.tz_localize("UTC")), df.assign(t=df.t.dt.tz_localize("Asia/Tokyo"))):
        assert set(found(times, schema)) == {("t", "minimum"), ("t", "maximum")}
    text = found(pd.DataFrame({"t": ["2023-06-01", "soon", "2024-06-01"]}), schema)
    assert text["t", "dtype"].examples == ((1, "soon"),)
    assert text["t", "minimum"].examples == ((0, "2023-06-01"),)
    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


def test_unique():
    schema = Schema({"id": Column("int", unique=True, nullable=True), "x": Column("int")})
    df = pd.DataFrame({"id": pd.array([1, 2, 2, None, None], "Int64"), "x": range(5)})
    assert found(df, schema)["id", "unique"].examples == ((1, 2), (2, 2))


ORDERS = Schema(
    {
        "order": Column("int"),
        "line": Column("int"),
        "code": Column("text", pattern="[A-Z]{2}[0-9]+"),
        "ordered": Column("datetime", rising=True),
        "price": Column("float", nullable=True, max_missing=0.5),
        "discount": Column("float"),
    },
    keys=(("order", "line"),),
    rules={"discount below price": "discount <= price"},
    maximum_rows=5,
)


def orders() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "order": [1, 1, 2, 3],
            "line": [1, 2, 1, 1],
            "code": ["AB1", "AB22", "XY3", "AB1"],
            "ordered": pd.to_datetime(["2024-01-01", "2024-01-01", "2024-01-02", "2024-03-01"]),
            "price": [9.5, None, 3.0, 4.0],
            "discount": [0.0, 1.0, 0.5, 4.0],
        }
    )


ORDERLY = {  # what: (what happens to the orders, the one violation, its examples)
    "nothing": (lambda df: df, None, ()),
    "a code in small letters": (
        lambda df: df.assign(code=df.code.replace("XY3", "xy3")),
        ("code", "pattern"),
        ((2, "xy3"),),
    ),
    "a code with an end": (
        lambda df: df.assign(code=df.code.replace("XY3", "XY3\n")),
        ("code", "pattern"),
        ((2, "XY3\n"),),
    ),
    "a time before the last": (
        lambda df: df.assign(ordered=df.ordered.where(df.index != 3, pd.Timestamp("2023-01-01"))),
        ("ordered", "rising"),
        ((3, pd.Timestamp("2023-01-01")),),
    ),
    "too much missing": (
        lambda df: df.assign(price=[None, None, None, 4.0]),
        ("price", "max_missing"),
        None,
    ),
    "a line twice": (
        lambda df: df.assign(line=[1, 1, 1, 1]),
        ("order, line", "key"),
        ((0, {"order": 1, "line": 1}), (1, {"order": 1, "line": 1})),
    ),
    "a discount above the price": (
        lambda df: df.assign(discount=[0.0, 1.0, 3.5, 4.0]),
        ("", "discount below price"),
        ((2, {"price": 3.0, "discount": 3.5}),),
    ),
    "too many rows": (
        lambda df: pd.concat([df, df.assign(order=[4, 4, 5, 6], ordered=df.ordered.max())]),
        ("", "maximum_rows"),
        (),
    ),
}


@pytest.mark.parametrize("what", ORDERLY)
def test_rules_of_orders(what):
    change, place, examples = ORDERLY[what]
    violations = found(change(orders()), ORDERS)
    assert list(violations) == ([place] if place else [])
    if place and examples is not None:
        assert violations[place].examples == examples
    assert Schema.from_dict(json.loads(json.dumps(ORDERS.to_dict()))) == ORDERS


def test_how_old_the_newest_may_be():
    schema, now = Schema({"t": Column("datetime", max_age="2 days")}), pd.Timestamp.now("UTC")
    assert found(pd.DataFrame({"t": [now - pd.Timedelta("3d"), now - pd.Timedelta("1d")]}), schema) == {}
    assert set(found(pd.DataFrame({"t": [now - pd.Timedelta("3d")]}), schema)) == {("t", "max_age")}


def test_a_rule_that_cannot_be_evaluated_is_a_violation_and_not_an_end():
    violations = found(orders().drop(columns="price"), ORDERS)
    assert set(violations) == {("price", "missing_column"), ("", "discount below price")}
    assert "cannot be evaluated" in violations["", "discount below price"].limit


def test_a_picture_shows_where_the_rows_lie():
    df = good(400).assign(age=50, famhist=["Present"] * 200 + ["?"] * 100 + ["Absent"] * 100)
    violation = found(df, Schema(SCHEMA.columns, max_duplicates=999))["famhist", "categories"]
    assert violation.where == (0,) * 20 + (10,) * 10 + (0,) * 10
    assert SCHEMA.check(df)._repr_html_().count("<rect") > 10


def naive(rules: Column, values: list) -> set[tuple[str, int]]:
    "Every rule asked of every row."
    broken = set()
    for row, value in enumerate(values):
        if value is None:
            broken |= {("nulls", row)} if not rules.nullable else set()
            continue
        broken |= {("minimum", row)} if value < rules.minimum else set()
        broken |= {("maximum", row)} if value > rules.maximum else set()
        broken |= {("finite", row)} if abs(value) == float("inf") else set()
        broken |= {("unique", row)} if rules.unique and values.count(value) > 1 else set()
        past = [v for v in values[:row] if v is not None]
        broken |= {("rising", row)} if rules.rising and past and value < max(past) else set()
    return broken


@given(
    st.lists(st.none() | st.floats(-20, 20) | st.sampled_from([float("inf"), 1e308, -1e308]), min_size=1, max_size=12),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_quick_looks_find_what_asking_every_row_finds(values, nullable, unique, rising):
    rules = Column("float", nullable, -10, 10, unique=unique, rising=rising)
    df = pd.DataFrame({"x": pd.Series(values, dtype=float)})
    report = Schema({"x": rules}, max_duplicates=99).check(df)
    if all(value is None for value in values):
        assert [v.rule for v in report.violations] == ["all_null"]
        return
    told = {(v.rule, row) for v in report.violations for row, _ in v.examples}
    wanted = naive(rules, values)
    assert told <= wanted
    counts = {rule: sum(r == rule for r, _ in wanted) for rule, _ in wanted}
    assert {v.rule: v.count for v in report.violations} == counts


def test_a_schema_that_makes_no_sense():
    for make, said in [
        (lambda: Column("number"), "type 'number'"),
        (lambda: Column("int", severity="warning"), "did you mean `warn`"),
        (lambda: Column("text", minimum=1), "has no minimum"),
        (lambda: Column("float", False, 2, 1), "above"),
        (lambda: Schema({}, target="chd"), "`chd` has no rules"),
        (lambda: Schema({}, extra_columns="x"), "extra_col"),
        (lambda: Schema.from_dict({"colums": {}}), "did you mean `columns`"),
        (lambda: Schema.from_dict({"columns": {"a": {"minimum": 1}}}), "does not say its `dtype`"),
        (lambda: Schema.infer(pd.DataFrame({"a": [None, None]})), "holds no value"),
        (lambda: Schema.infer(good(), target="CHD"), "`CHD` has no rules"),
        (lambda: Schema.infer(good(), minimun_rows=3), "minimum_rows"),
        (lambda: Column("datetime", minimum="soon"), "minimum='soon'"),
        (lambda: Column("int", minimum="x", maximum=3), "minimum='x'"),
        (lambda: Column("float", maximum=float("nan")), "maximum=nan"),
        (lambda: Column("text", rising=True), "rising is no rule for columns of text"),
        (lambda: Column("text", pattern="("), "no regular expression"),
        (lambda: Column("datetime", max_age="long"), "no duration"),
        (lambda: Column("int", True, max_missing=2), "is no share"),
        (lambda: Schema({"a": Column("int")}, keys=("b",)), "key column `b` has no rules"),
    ]:
        with pytest.raises(DataError, match=said):
            make()


def test_infer_is_wide_enough_and_not_too_wide():
    df = pd.read_csv(HEART)
    for seed in range(5):
        part = df.sample(320, random_state=seed)
        schema = Schema.infer(part, target="chd")
        assert schema.check(part).passed
        assert schema.columns["chd"].categories == (0, 1)
        assert schema.columns["famhist"].categories == ("Absent", "Present")
        assert schema.columns["age"].minimum >= 0
        assert not schema.check(df.assign(sbp=df.sbp.where(df.index != 7, 900))).passed
        assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema
    odd = pd.DataFrame(
        {
            "below": [-1.5, -0.2],
            "flag": [True, False],
            "free": ["a", "b"],
            "when": pd.to_datetime(["2024-01-01", "2024-03-01"]),
            "const": [7, 7],
            "tiny": [1e-9, 3e-9],
            "null": [1.0, None],
            "Int64": pd.array([5, None], "Int64"),
            "cat": pd.Categorical(["x", "y"]),
        }
    )
    assert Schema.infer(odd, max_levels=1).check(odd).passed
    assert Schema.infer(odd).columns["below"].minimum < -1.5
    json.dumps(Schema.infer(odd).to_dict())


def test_a_million_rows_are_checked_in_seconds():
    rng = np.random.default_rng(0)
    df = pd.DataFrame({f"x{i}": rng.normal(size=200_000) for i in range(5)})
    schema = Schema({name: Column("float", minimum=-100, maximum=100) for name in df})
    assert schema.check(df).passed
    df.loc[5, "x3"] = 101
    assert found(df, schema)["x3", "maximum"].examples == ((5, 101.0),)
