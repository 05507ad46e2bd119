"""Parameters: what each type takes and refuses, what a message says, and that values survive being written down."""

import enum
import json
import random
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest

from mlops_nb.errors import ConfigError, NotebookError, ParameterError
from mlops_nb.run.given import from_environment, read_given, resolve_given
from mlops_nb.run.notebook import read_step
from mlops_nb.run.parameters import Parameter, read_parameters, to_code, to_plain
from mlops_nb.run.secrets import remember_secret

HEAD = """
import datetime as dt
import typing as t
from enum import Enum, IntEnum, StrEnum
class Colour(Enum):
    "Of the plot."
    RED = "red"
    BLUE = 2
    def shown(self): return self.name
class Level(IntEnum): LOW = 1; HIGH = 2
class Kind(StrEnum): A = "a"; B = "b"
class Old(str, Enum): X = "x"
"""


def declare(annotation: str, default: str = "") -> Parameter:
    "The parameter `x` of a notebook that knows the Enums above."
    return read_parameters(f"{HEAD}\nx: {annotation}{' = ' + default if default else ''}")["x"]


GOOD = [  # annotation, given, expected
    ("int", "7", 7), ("int", "-7", -7), ("int", "1_000", 1000), ("int", 10**30, 10**30), ("int", str(10**30), 10**30),
    ("float", "1", 1.0), ("float", "1e-3", 0.001), ("float", 3, 3.0), ("float", "-0.5", -0.5),
    ("bool", "true", True), ("bool", "False", False), ("bool", "TRUE", True), ("bool", False, False),
    ("str", "7", "7"), ("str", "None", "None"), ("str", "", ""), ("str", "x" * 10**6, "x" * 10**6),
    ("int | None", "null", None), ("int | None", "None", None), ("t.Optional[int]", "3", 3), ("str | None", "a", "a"),
    ("int | float", "3", 3), ("int | float", "3.0", 3.0), ("float | int", 3, 3), ("bool | int", 1, 1),
    ("list", '[1, "a", null]', [1, "a", None]), ("list[int]", [1, 2], [1, 2]),
    ("dict", '{"a": [true]}', {"a": [True]}), ("dict[str, float]", {"a": 1}, {"a": 1.0}),
    ("dict[int, date]", {"1": "2026-01-31"}, {1: date(2026, 1, 31)}), ("tuple[int, str]", "[1, 'a']", (1, "a")),
    ("tuple", (1, 2), (1, 2)), ("set[int]", [2, 1, 2], {1, 2}), ("frozenset[str]", ["a"], frozenset("a")),
    ("Literal['a', 1]", "1", 1), ("Literal['a', 1]", "a", "a"), ("Literal['true']", "true", "true"),
    ("Path", "data/x.csv", Path("data/x.csv")), ("Path", "12", Path("12")), ("Path | None", "None", None),
    ("date", "2026-01-31", date(2026, 1, 31)), ("dt.date", date(2026, 1, 31), date(2026, 1, 31)),
    ("datetime", "2026-01-31T10:00", datetime(2026, 1, 31, 10)), ("datetime", "2026-01-31", datetime(2026, 1, 31)),
    ("datetime", "2026-01-31T10:00Z", datetime(2026, 1, 31, 10, tzinfo=UTC)),
    ("datetime", date(2026, 1, 31), datetime(2026, 1, 31)), ("time", "10:30", time(10, 30)),
    ("date | datetime", "2026-01-31", date(2026, 1, 31)), ("datetime | date", "2026-01-31", date(2026, 1, 31)),
    ("timedelta", "P3D", timedelta(3)), ("timedelta", "01:30:00", timedelta(hours=1.5)),
    ("Decimal", "0.10", Decimal("0.10")), ("Decimal", 1.1, Decimal("1.1")), ("Decimal", 3, Decimal(3)),
    ("Decimal", "1.00000000000000000000001", Decimal("1.00000000000000000000001")),
    ("SecretStr", "secret://env/A", "secret://env/A"), ("SecretStr | None", "None", None),
    ("Annotated[int, Ge(1), Le(3)]", "3", 3), ("Annotated[float, Interval(gt=0, lt=1)]", "0.5", 0.5),
    ("Annotated[int, Field(ge=1)]", 1, 1),
    ("Annotated[int | None, Ge(1)]", None, None), ("Annotated[int, MultipleOf(5)]", "10", 10),
    ("Annotated[list[int], Len(1, 2)]", [1], [1]), ("Annotated[str, Field(pattern='^a')]", "abc", "abc"),
    ("Annotated[date, Ge(date(2026, 1, 1))]", "2026-01-01", date(2026, 1, 1)), ("PositiveInt", "1", 1),
    ("'int'", "1", 1), ("Any", "[1]", [1]), ("Any", "x", "x"),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "given", "expected"), GOOD)
def test_what_a_type_takes(annotation, given, expected):
    found = declare(annotation).check(given)
    assert found == expected
    assert type(found) is type(expected)


BAD = [  # annotation, given, a part of the reason
    ("int", "abc", "valid integer"), ("int", 3.7, "valid integer"), ("int", "3.0", "valid integer"),
    ("int", True, "valid integer"), ("int", "true", "valid integer"), ("int", None, "valid integer"),
    ("int", "", "valid integer"), ("int", "9" * 5000, "valid integer"), ("int", [1], "valid integer"),
    ("float", "abc", "valid number"), ("float", True, "valid number"), ("float", float("nan"), "finite"),
    ("float", "inf", "valid number"), ("float", "1e999", "finite"), ("float", "NaN", "finite"),
    ("bool", "yes", "valid boolean"), ("bool", 1, "valid boolean"), ("bool", "0", "valid boolean"),
    ("str", 7, "valid string"), ("str", None, "valid string"), ("str", Path("a"), "valid string"),
    ("list[int]", ["1"], "valid integer"), ("list[int]", "1", "valid list"), ("list[int]", (1,), "valid list"),
    ("list[float]", [float("inf")], "finite"), ("dict[str, int]", {"a": "1"}, "valid integer"),
    ("dict", {1: 2}, "valid string"), ("tuple[int, int]", [1], "required"), ("list", [Path("a")], "numbers, texts"),
    ("int | None", "abc", "valid integer"), ("Literal['file', 'sql']", "ftp", "'file' or 'sql'"),
    ("Literal[1]", True, "should be 1"), ("Literal[1]", 1.0, "should be 1"),
    ("Path", 3, "a path"), ("Path", "", "a path"), ("Path", "a\0b", "a path"),
    ("date", "31.1.2026", "2026-01-31"), ("date", 20260131, "2026-01-31"),
    ("date", datetime(2026, 1, 31), "2026-01-31"), ("date", "2026-02-30", "2026-01-31"),
    ("datetime", 0, "2026-01-31T"), ("time", "25:00", "12:00:00"), ("timedelta", 90, "PT90S"),
    ("timedelta", "90", "PT90S"), ("Decimal", "abc", "decimal"), ("Decimal", True, "decimal number"),
    ("Decimal", "NaN", "finite"), ("Colour", "green", "'red' (RED), 2 (BLUE)"), ("Colour", True, "'red' (RED)"),
    ("Level", 2.0, "2 (HIGH)"), ("Annotated[int, Ge(1)]", "0", "greater than or equal to 1"),
    ("Annotated[float, Interval(gt=0, lt=1)]", 1, "less than 1"), ("Annotated[int, MultipleOf(5)]", 3, "multiple of 5"),
    ("Annotated[list[int], MinLen(2)]", [1], "at least 2"), ("Annotated[str, MaxLen(2)]", "abc", "at most 2"),
    ("Annotated[int | None, Ge(1)]", 0, "greater than or equal to 1"), ("PositiveInt", 0, "greater than 0"),
    ("Annotated[Decimal, Lt(Decimal('0.3'))]", "0.3", "less than Decimal('0.3')"),
    ("Annotated[str, Ge(0)]", "a", "compared"),
    ("Any", {1: 2}, "text keys"), ("Any", float("nan"), "numbers, texts"),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "given", "reason"), BAD)
def test_what_a_type_refuses_and_how_it_is_told(annotation, given, reason):
    parameter = declare(annotation)
    with pytest.raises(ParameterError) as caught:
        parameter.check(given)
    message = caught.value.what
    assert reason in message
    assert f"parameter `x` is `{parameter.annotation}`" in message
    assert repr(given)[:100] in message
    assert len(message) < 600
    assert caught.value.fix.startswith("give a value such as x=")


@pytest.mark.parametrize("given", ["hunter22", "7", "", None, 5, ["hunter22"], {"a": "hunter22"}, b"hunter22"])
@pytest.mark.parametrize(
    "annotation", ["SecretStr", "list[SecretStr]", "dict[str, SecretStr]", "Annotated[SecretStr, MinLen(1)]"]
)
def test_a_plain_secret_is_refused_and_never_repeated(annotation, given):
    with pytest.raises(ParameterError, match="no reference") as caught:
        declare(annotation).check(given)
    assert caught.value.fix == "write secret://env/NAME and export NAME"
    seen = repr((caught.value, caught.value.args, caught.value.__context__, caught.value.__cause__))
    assert "hunter22" not in seen


def test_a_pydantic_secret_holds_a_reference_or_is_refused():
    from pydantic import SecretStr

    assert declare("SecretStr").check(SecretStr("secret://env/A")) == "secret://env/A"
    with pytest.raises(ParameterError, match="no reference"):
        declare("SecretStr").check(SecretStr("hunter22"))
    with pytest.raises(ParameterError, match="a secret cannot be kept") as caught:
        to_plain({"a": SecretStr("hunter22")})
    assert "hunter22" not in str(caught.value)


def test_a_resolved_secret_is_masked_in_every_message():
    remember_secret("correct horse")
    for annotation in ("int", "Literal['a']", "list[int]"):
        with pytest.raises(ParameterError) as caught:
            declare(annotation).check("it is correct horse")
        assert "horse" not in str(caught.value)
        assert "***" in str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "expression", "expected"),
    [
        ("Path", 'Path("data") / "raw"', Path("data/raw")),
        ("datetime", "datetime(2026, 1, 1)", datetime(2026, 1, 1)),
        ("dt.datetime", "dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)", datetime(2026, 1, 1, tzinfo=UTC)),
        ("timedelta", "timedelta(days=3)", timedelta(3)),
        ("float", "1e-3", 0.001),
        ("int", "-1", -1),
        ("int", "60 * 60", 3600),
        ("int", "int(1e6)", 1_000_000),
        ("float", "1", 1.0),
        ("Decimal", "Decimal('0.10')", Decimal("0.10")),
        ("tuple[int, int]", "(1, 2)", (1, 2)),
        ("set[int]", "set()", set()),
        ("SecretStr", "'secret://env/A'", "secret://env/A"),
        ("SecretStr", "SecretStr('secret://env/A')", "secret://env/A"),
        ("Level", "Level.HIGH", 2),
        ("Kind", "Kind('b')", "b"),
        ("Kind", "Kind['B']", "b"),
        ("str | Path", "'a'", "a"),
        ("date | str", "'2026-01-01'", "2026-01-01"),
    ],
)
def test_simple_defaults_are_known_without_a_kernel(annotation, expression, expected):
    parameter = declare(annotation, expression)
    assert parameter.default == expected
    assert not parameter.required


@pytest.mark.parametrize("expression", ["now()", "Path.home()", "rows // 2", "9 ** 9 ** 9", "[i for i in x]"])
def test_what_is_computed_is_left_to_the_kernel(expression):
    found = read_parameters(f"x = {expression}\ny: int = {expression}")
    assert all(p.default is None and not p.required for p in found.values())
    assert found["x"].annotation == "Any"


@pytest.mark.parametrize(
    ("line", "part", "fix"),
    [
        (
            "x: Annotated[int, Ge(1)] = 0",
            "`x` has the type `Annotated[int, Ge(1)]`: its default 0 does not fit (it should be greater",
            "widen",
        ),
        ("x: int = None", "its default None does not fit", "widen"),
        ("x: int = 0.5", "its default 0.5 does not fit", "widen"),
        ("x: int = True", "its default True does not fit", "widen"),
        ("x: Path = 'data'", "it should be a path", "widen"),
        ("x: tuple = [1]", "its default [1] does not fit", "widen"),
        ("x: Colour = 'red'", "'red' (RED)", "widen"),
        ("x: float = float('inf')", "finite", "widen"),
        ("x: dict = {1: 2}", "its default {1: 2} does not fit", "widen"),
        ("x: Colour = Colour.GREN", "`Colour` has no member `GREN`", "Known: BLUE, RED"),
        ("x: datetime = datetime(2026, 13, 1)", "month must be in 1..12", "correct"),
        ("x: itn = 3", "`x` has the type `itn`", "did you mean `int`"),
        ("x: os.PathLike = 3", "nobody knows the type `os.PathLike`", "`"),
        ("x: Annotated[int, 3]", "`3` does not bound", "Ge, Gt"),
        ("x: Annotated[int, Field(strict=False)]", "does not bound", "ge, "),
        ("x: Literal[1.5]", "a Literal holds texts", "Enum"),
        ("x: SecretStr | str", "a secret may be any text", "SecretStr | None"),
        ("x: Annotated[str, Field(pattern='(')]", "do not go together", "correct the annotation"),
        ("x: timezone", "cannot be `timezone`", "JSON"),
        ("x: dict[str | int, int]", "keys of a mapping", "all keys"),
        ("x: complex", "nobody knows the type", "Known: "),
        ("x: SecretStr = 'hunter22'", "no reference to a secret", "secret://env/NAME"),
        ("x: SecretStr = 'hun' + 'ter22'", "no reference to a secret", "secret://env/NAME"),
        ("x: SecretStr = f'hunter22'", "no reference to a secret", "secret://env/NAME"),
        ("x: SecretStr = SecretStr('hunter22', 1)", "no reference to a secret", "secret://env/NAME"),
        ("x: int = " + "-" * 900 + "1", "nested too deeply", "more simply"),
        ("x: Plain = 3", "the class `Plain` is no Enum", "Literal"),
        ("x: Odd = 3", "`X = f()` in the Enum `Odd`", "plain values"),
    ],
)
def test_a_declaration_that_cannot_hold_is_found_when_the_notebook_is_read(line, part, fix):
    code = f"{HEAD}\nclass Plain: pass\nclass Odd(Enum): X = f()\n{line}"
    with pytest.raises(NotebookError) as caught:
        read_parameters(code, "01_a.ipynb, cell 2")
    assert caught.value.what.startswith("01_a.ipynb, cell 2: `x`")
    assert part in caught.value.what
    assert fix in caught.value.fix
    seen = repr((caught.value, caught.value.args))
    assert "hunter22" not in seen


def test_an_enum_is_found_in_earlier_cells_in_modules_and_at_the_project_root(root, write):
    folder = root / "pipelines" / "a"
    step = write(
        folder / "02_a.ipynb", "from enum import Enum\nclass Here(Enum): A = 'a'", parameters="x: Here = Here.A"
    )
    nb = json.loads(step.read_text())
    nb["cells"].reverse()
    nb["cells"][0]["source"] += "\nfrom colours import Colour as C\nimport shades\n%matplotlib inline\nbad = !ls"
    nb["cells"][1]["source"] = (
        "x: Here = Here.A\ny: C = C.RED\nz: shades.Shade = shades.Shade.DARK\nw: shades.Colour | None = None"
    )
    step.write_text(json.dumps(nb))
    (folder / "colours.py").write_text(
        "import enum as e\nclass Colour(e.StrEnum):\n    RED = e.auto()\n    BLUE = 'blue'"
    )
    (root / "shades.py").write_text(
        "from enum import IntEnum\nfrom colours import Colour\nclass Shade(IntEnum):\n    DARK = 1\n"
    )
    found = read_step(step).parameters
    assert found["y"].default == "red"
    assert found["z"].default == 1
    codes = [to_code(found[name].default, found[name]) for name in "xyz"]
    assert codes == ["Here('a')", "C('red')", "shades.Shade(1)"]
    assert to_code("RED", found["w"]) == "shades.Colour('red')"


def test_modules_that_import_each_other_end(root, write):
    path = write(root / "01_a.ipynb", parameters="from one import X\nx: X")
    (root / "one.py").write_text("from two import X")
    (root / "two.py").write_text("from one import X")
    with pytest.raises(NotebookError, match="nobody knows the type `X`"):
        read_step(path)


def test_a_member_of_the_users_own_class_is_taken_for_the_notebooks():
    class Colour(enum.Enum):
        RED = "red"
        BLUE = 3

    parameter = declare("Colour")
    assert parameter.check(Colour.RED).value == "red"
    with pytest.raises(ParameterError):
        parameter.check(Colour.BLUE)  # 2 in the notebook


def random_text(draw: random.Random) -> str:
    return "".join(draw.choice("aä€'\"\\\n\u2028 7[]{}:,-None\x00\U0001f600") for _ in range(draw.randrange(12)))


def random_number(draw: random.Random) -> float:
    return draw.choice(
        [draw.uniform(-1, 1) * 10.0 ** draw.randint(-300, 300), 0.0, -0.0, 1e16, 5e-324, float(draw.randint(-9, 9))]
    )


def random_moment(draw: random.Random) -> datetime:
    moment = datetime.min + timedelta(microseconds=draw.randrange(10**17 * 3))
    zone = draw.choice([None, UTC, timezone(timedelta(minutes=draw.randint(-900, 900)))])
    return moment.replace(tzinfo=zone, microsecond=draw.choice([0, moment.microsecond]))


LEAVES = {
    "int": lambda draw: draw.choice([draw.randint(-9, 9), draw.randint(-(10**40), 10**40)]),
    "float": random_number,
    "bool": lambda draw: draw.random() < 0.5,
    "str": random_text,
    "None": lambda draw: None,
    "Path": lambda draw: Path(random_text(draw).replace("\x00", "") or "."),
    "datetime": random_moment,
    "date": lambda draw: random_moment(draw).date(),
    "time": lambda draw: random_moment(draw).timetz(),
    "timedelta": lambda draw: timedelta(
        draw.randint(-99999, 99999), draw.randint(0, 86399), draw.choice([0, 1, 999999])
    ),
    "Decimal": lambda draw: Decimal(draw.randint(-(10**30), 10**30)).scaleb(draw.randint(-40, 40)),
    "Literal['a', 1, True, None]": lambda draw: draw.choice(["a", 1, True, None]),
    "SecretStr": lambda draw: f"secret://env/{draw.choice('ABC')}",
    "Colour": lambda draw: draw.choice(["red", 2]),
    "Level": lambda draw: draw.choice([1, 2]),
    "Kind": lambda draw: draw.choice(["a", "b"]),
    "Old": lambda draw: "x",
}


def random_value(draw: random.Random, depth: int = 0):
    "(an annotation, a value that fits it)"
    if depth > 2 or draw.random() < 0.5:
        name = draw.choice(sorted(LEAVES))
        return name, lambda: LEAVES[name](draw)
    inner, make = random_value(draw, depth + 1)
    key = draw.choice(["str", "int", "date", "bool", "Decimal", "Colour", "tuple[int, int]"])
    make_key = LEAVES.get(key, lambda draw: (draw.randint(0, 9), draw.randint(0, 9)))
    size = lambda: range(draw.randrange(4))  # noqa: E731
    return draw.choice(
        [
            (f"list[{inner}]", lambda: [make() for _ in size()]),
            (f"tuple[{inner}, ...]", lambda: tuple(make() for _ in size())),
            (f"tuple[{inner}, int]", lambda: (make(), 3)),
            (f"dict[{key}, {inner}]", lambda: {make_key(draw): make() for _ in size()}),
            (f"t.Optional[{inner}]", lambda: draw.choice([None, make()])),
            (f"{inner} | None", lambda: draw.choice([None, make()])),
        ]
    )


@pytest.mark.parametrize("seed", range(8))
def test_what_is_written_down_is_read_as_the_same_value(seed):
    draw = random.Random(seed)
    for _ in range(40):
        annotation, make = random_value(draw)
        parameter = declare(annotation)
        for _ in range(3):
            given = make()
            value = parameter.check(given, text=False)
            plain = json.loads(json.dumps(to_plain(value), allow_nan=False))
            again = parameter.check(plain, text=False)
            assert again == value, (annotation, given)
            assert repr(again) == repr(value), (annotation, given)


@pytest.mark.parametrize("name", [n for n in LEAVES if n != "None"])
def test_a_plain_text_is_no_riddle_where_a_type_is_no_union(name):
    draw, parameter = random.Random(1), declare(name)
    for _ in range(50):
        value = parameter.check(LEAVES[name](draw), text=False)
        assert parameter.check(to_plain(value)) == value


@pytest.mark.parametrize("seed", range(4))
def test_what_is_written_as_code_is_the_same_value_in_a_kernel_that_imported_nothing(seed):
    draw = random.Random(seed)
    for _ in range(40):
        annotation, make = random_value(draw)
        parameter = declare(annotation)
        value = parameter.check(make(), text=False)
        code = to_code(value, parameter)
        assert len(code.splitlines()) == 1
        names = {}
        exec(HEAD, names)
        made = eval(code, {name: names[name] for name in ("Colour", "Level", "Kind", "Old")})
        assert to_plain(made) == to_plain(value), (annotation, code)


def test_a_set_is_written_in_the_same_order_every_time():
    assert to_plain({3, 1, 2}) == [1, 2, 3]
    assert to_code({"b", "a"}, declare("set[str]")) == "set(['a', 'b'])"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), b"a", {1j}, [10**5000]])
def test_what_json_cannot_keep_is_refused(value):
    with pytest.raises(ParameterError, match="cannot be kept as JSON"):
        to_plain([value])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"seed": 7, "train.depth": [1]}'),
        ("a.yaml", "seed: 7\ntrain.depth:\n  - 1\n"),
        ("a.YML", "{seed: 7, train.depth: [1]}"),
        ("a.toml", '\ufeffseed = 7\n"train.depth" = [1]\n'),
    ],
)
def test_a_file_of_parameters_is_json_yaml_or_toml(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_given(tmp_path / name) == {"seed": 7, "train.depth": [1]}


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("a.json", '{"a": 1,\n "b" 2}', "line 2, column 6"),
        ("a.json", '{"a": 1,\n "b": {"c": 1,\n "c": 2}}', "line 3: the key `c` stands twice"),
        ("a.json", "[1]", "line 1: the file holds a list"),
        ("a.json", "", "line 1"),
        ("a.yaml", "a: 1\nb: [1\n", "line 3"),
        ("a.yaml", "a: 1\nb: 2\na: 3\n", "line 3: the key `a` stands twice"),
        ("a.yaml", "a: &x [1]\nb: *x\n", "line 2: `*` refers"),
        ("a.yaml", "a: !!python/object:os.system x\n", "line 1"),
        ("a.yaml", "- 1\n", "holds a list"),
        ("a.yaml", "? [1]\n: 2\n", "line 1"),
        ("a.yaml", "1: 2\n", "the name 1 is no text"),
        ("a.toml", "a = 1\na = 2", "line 2"),
        ("a.toml", "a = \n", "line 1"),
        ("a.txt", "", "no file of parameters"),
    ],
)
def test_a_file_that_is_wrong_is_told_with_its_line(tmp_path, name, text, part):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_given(tmp_path / name)
    assert str(tmp_path / name) in caught.value.what
    assert part in caught.value.what
    assert caught.value.fix


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path):
    (tmp_path / "small.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"did you mean `small\.yaml`"):
        read_given(tmp_path / "smal.yaml")
    with pytest.raises(ConfigError, match=r"small\.yaml"):
        read_given(tmp_path / "small.yaml")


KNOWN = ["seed", "rows", "train.seed", "fit-model.depth", "Rows"]


def test_the_environment_gives_parameters_whatever_the_capitals():
    given = {
        "MLOPS_NB_PARAM_SEED": "7",
        "mlops_nb_param_train__seed": "8",
        "MLOPS_NB_PARAM_FIT_MODEL__DEPTH": "",
        "PATH": "x",
    }
    assert from_environment(given, KNOWN) == {"seed": "7", "train.seed": "8", "fit-model.depth": ""}
    assert from_environment({"MLOPS_NB_PARAM_Rows": "1", "MLOPS_NB_PARAM_rows": "2"}, KNOWN) == {
        "Rows": "1",
        "rows": "2",
    }
    assert from_environment({"HOME": "/"}, KNOWN) == {}


def test_variables_that_fit_none_or_two_are_refused_at_once_without_their_values():
    given = {"MLOPS_NB_PARAM_SED": "hunter22", "MLOPS_NB_PARAM_ROWS": "hunter22",
             "MLOPS_NB_PARAM_SEED": "1", "MLOPS_NB_PARAM_seed": "2"}  # fmt: skip
    with pytest.raises(ParameterError) as caught:
        from_environment(given, [k for k in KNOWN if k != "train.seed"])
    text = str(caught.value)
    assert "MLOPS_NB_PARAM_SED gives a parameter that no step has" in text
    assert "did you mean `MLOPS_NB_PARAM_SEED`" in text
    assert "MLOPS_NB_PARAM_ROWS may mean Rows or rows" in text
    assert "hunter22" not in text


DECLARED = {
    "draw": read_parameters("rows: Annotated[int, Ge(1)] = 9\nseed: int = 1"),
    "train": read_parameters("seed: int = 1\ndepth: int\noptions: dict = {}"),
    "report": read_parameters("seed: int = 1\ntitle: str"),
}


def test_the_nearer_source_wins_and_within_one_the_step():
    sources = [
        ("pipeline.toml: ", {"seed": 1, "train": {"seed": 2}, "title": "a"}),
        ("small.yaml: ", {"depth": 3, "train.seed": 5, "seed": 4}),
        ("environment: ", {"title": "7"}),
    ]
    assert resolve_given(DECLARED, sources) == {
        "draw": {"seed": 4},
        "train": {"seed": 5, "depth": 3},
        "report": {"seed": 4, "title": "7"},
    }
    sources.append(("-p: ", {"seed": "6"}))
    assert {s: v["seed"] for s, v in resolve_given(DECLARED, sources).items()} == dict.fromkeys(DECLARED, 6)


def test_a_mapping_for_a_parameter_is_no_table_of_a_step():
    declared = {"options": DECLARED["train"]}
    found = resolve_given(declared, [("", {"options": {"depth": 1}, "depth": 2})])
    assert found == {"options": {"options": {"depth": 1}, "depth": 2}}


def test_everything_wrong_is_said_at_once_each_once_with_its_origin():
    sources = [
        ("pipeline.toml: ", {"seed": "x", "depht": 1}),
        ("-p: ", {"rows": "0", "trian.seed": 1, "train.sed": 1, "depth": "a"}),
    ]
    with pytest.raises(ParameterError) as caught:
        resolve_given(DECLARED, sources)
    lines = caught.value.what.splitlines()
    assert len(lines) == 7
    assert lines[0].startswith("pipeline.toml: draw, train, report: parameter `seed` is `int`, but 'x' was given")
    assert "pipeline.toml: no step has the parameter `depht`" in lines
    assert any(line.startswith("-p: draw: parameter `rows`") and "equal to 1" in line for line in lines)
    assert "-p: `trian.seed`: there is no step `trian`" in lines
    assert "-p: the step `train` has no parameter `sed`" in lines
    assert any(line.startswith("-p: train: parameter `depth` is `int`, but 'a'") for line in lines)
    assert "report: the parameter `title` has no default" in lines
    for part in ("did you mean `depth`", "did you mean `train`", "did you mean `train.seed`", "-p title=…"):
        assert part in caught.value.fix


def test_a_missing_parameter_of_many_steps_is_said_once():
    declared = {name: read_parameters("key: str") for name in ("a", "b")}
    with pytest.raises(ParameterError) as caught:
        resolve_given(declared, [])
    assert caught.value.what == "a, b: the parameter `key` has no default"


def test_steps_that_do_not_run_need_nothing_and_take_nothing():
    assert resolve_given(DECLARED, [("", {"depth": "wrong", "train.seed": 1, "seed": 3})], ["draw"]) == {
        "draw": {"seed": 3}
    }
    with pytest.raises(ParameterError, match="no step has the parameter `dpth`"):
        resolve_given(DECLARED, [("", {"dpth": 1})], ["draw"])
