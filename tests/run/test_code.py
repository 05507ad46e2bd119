"""Which edits of a project change the code that a notebook depends on, and what they are called."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_nb.run.code import cell_digest, code_digest, code_parts, explain

ROOT = Path(__file__).parents[2]
FILES = {
    "feats.py": """
"Features of the notebook."
import functools
import math
from lib import shared as s
from lib.util import times as multiply, offset

LIMIT = 3
UNUSED = 4

def clean(x, low=LIMIT):
    "Cut off."
    return s.bounded(multiply(x, 1), low)

@functools.cache
def cached(x):
    return math.sqrt(x)

def scale(x):
    return x * UNUSED

def outer(x):
    def inner(y):
        return y + LIMIT
    return inner(x)

class Base:
    def fit(self):
        return self

class Model(Base):
    depth = 1
    def predict(self, x):
        return helper(x)

def helper(x):
    return x

def lonely(x):
    from lib import rare
    return rare.odd(x)

if __name__ == "__main__":
    print(scale(1))
""",
    "stars.py": "from lib.deep import *\n__all__ = ['one']\ndef one(): return 1\ndef two(): return 2\n",
    "acting.py": """
REGISTRY = []

def register(f):
    REGISTRY.append(f)
    return f

@register
def first(): return 1

@register
def second(): return 2

def total(): return len(REGISTRY)
def silent(): return 0
""",
    "broken.py": "def f(:\n",
    "lib/__init__.py": "from . import shared\nREADY = True\nprint('lib')\n",
    "lib/shared.py": "from .deep import floor\ndef bounded(x, low): return floor(max(x, low))\ndef spare(): ...\n",
    "lib/deep.py": "def floor(x): return x // 1\ndef ceil(x): return -floor(-x)\n",
    "lib/util.py": "def times(x, y): return x * y\ndef offset(x): return x + 1\n",
    "lib/rare.py": "def odd(x): return x % 2\n",
    "space/part.py": "def deep(x): return x\ndef shallow(x): return x\n",
    "shapes.py": "class Shape: ...\nclass Disk(Shape): ...\ndef known(): return Shape.__subclasses__()\n",
    "dynamic.py": "def one(): return 1\ndef two(): return 2\ndef call(name): return globals()[name]()\n",
    "typed.py": "class Row: ...\ndef read(path) -> 'list[Row]': ...\n",
    "counted.py": "COUNT = 0\ndef grow():\n    global COUNT\n    COUNT += 1\n",
    "loop_a.py": "import loop_b\ndef a(n): return loop_b.b(n)\n",
    "loop_b.py": "import loop_a\ndef b(n): return n and loop_a.a(n - 1)\n",
}
CELLS = [
    "import feats\nimport feats as f",
    "y = feats.clean(5)  # once",
    "z = f.cached(y)\nfeats.outer(1)\nfeats.Model()",
]
STAR = ["from stars import *", "one()"]
GROW = ["import counted as c", "c.grow()"]
TYPED = ["from typed import read", "read(1)"]
WHOLE = ["import feats", "getattr(feats, name)"]


@pytest.fixture
def project(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def parts(folder: Path, *cells: str, root: Path | None = None) -> dict[str, str]:
    return code_parts([(f"cell {i}", text) for i, text in enumerate(cells, start=1)], folder, root)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, old
    path.write_text(text.replace(old, new, 1))


SCALE = "return x * UNUSED"
LIMIT = "LIMIT = 3"
FIRST, SECOND = "@register\ndef first(): return 1\n\n", "@register\ndef second(): return 2\n\n"
TIMES, OFFSET = FILES["lib/util.py"].splitlines(keepends=True)
# fmt: off
EDITS = {
    # what is edited: cells, file, text before, text after, what is said of it
    "a comment": (CELLS, "feats.py", '"Cut off."', '"Cut off."  # really', []),
    "blank lines": (CELLS, "feats.py", "def clean", "\n\n\n\ndef clean", []),
    "formatting": (CELLS, "feats.py", "return y + LIMIT", "return (\n            y+LIMIT)", []),
    "the docstring of a file": (CELLS, "feats.py", "Features of", "All features of", []),
    "a docstring": (CELLS, "feats.py", "Cut off.", "Cut it off.", ["feats.py: clean"]),
    "a local variable": (CELLS, "feats.py", "(y):\n        return y", "(v):\n        return v", ["feats.py: outer"]),
    "functions in another order": (CELLS, "lib/util.py", TIMES + OFFSET, OFFSET + TIMES, []),
    "the part that only a script runs": (CELLS, "feats.py", "print(scale(1))", "print(scale(2))", []),
    # what is mentioned
    "a function": (CELLS, "feats.py", ", low)\n\n@", ", -low)\n\n@", ["feats.py: clean"]),
    "an unused function": (CELLS, "feats.py", SCALE, "return x / UNUSED", []),
    "a new function": (CELLS, "feats.py", "def helper", "def fresh(): ...\ndef helper", []),
    "a constant": (CELLS, "feats.py", LIMIT, "LIMIT = 4", ["feats.py: LIMIT"]),
    "an unused constant": (CELLS, "feats.py", "UNUSED = 4", "UNUSED = 5", []),
    "a default value": (CELLS, "feats.py", "low=LIMIT", "low=1", ["feats.py: clean"]),
    "a decorator": (CELLS, "feats.py", "@functools.cache", "@functools.lru_cache", ["feats.py: cached"]),
    "a method": (CELLS, "feats.py", "return helper(x)", "return helper(-x)", ["feats.py: Model"]),
    "what a method calls": (CELLS, "feats.py", "(x):\n    return x\n", "(x):\n    return -x\n", ["feats.py: helper"]),
    "a base class": (CELLS, "feats.py", "return self", "return None", ["feats.py: Base"]),
    "a class attribute": (CELLS, "feats.py", "depth = 1", "depth = 2", ["feats.py: Model"]),
    "a type in quotes": (TYPED, "typed.py", "Row: ...", "Row: x = 1", ["typed.py: Row"]),
    "a global that is written": (GROW, "counted.py", "= 0", "= 5", ["counted.py: COUNT"]),
    # through imports
    "two imports away": (CELLS, "lib/shared.py", "max(x, low)", "min(x, low)", ["lib/shared.py: bounded"]),
    "three imports away": (CELLS, "lib/deep.py", "x // 1", "x // 2", ["lib/deep.py: floor"]),
    "unused, two imports away": (CELLS, "lib/shared.py", "spare(): ...", "spare(): pass", []),
    "what a name is imported from": (CELLS, "feats.py", "times as multiply, offset",
        "offset as multiply, times as offset",
        ["feats.py: <imports>", "lib/util.py: offset (new)", "lib/util.py: times (gone)"]),
    "an unused import": (CELLS, "feats.py", "import math", "import json\nimport math", []),
    "what an unused function imports": (CELLS, "lib/rare.py", "x % 2", "x % 3", []),
    "an import in a function": (["def g():\n    from feats import clean\n    return clean(1)"], "feats.py", LIMIT,
        "LIMIT = 4", ["feats.py: LIMIT"]),
    "an import under a condition": (["try:\n    import feats as t\nexcept ImportError:\n    t = None", "t.clean(1)"],
        "feats.py", LIMIT, "LIMIT = 4", ["feats.py: LIMIT"]),
    "an import by its name": (["import importlib", "m = importlib.import_module('feats')"], "feats.py", "UNUSED = 4",
        "UNUSED = 5", ["feats.py: UNUSED"]),
    "a star": (STAR, "stars.py", "return 2", "return 3", ["stars.py: two"]),
    "a star of a star": (STAR, "lib/deep.py", "-floor(-x)", "floor(x)", ["lib/deep.py: ceil"]),
    "a star from elsewhere": (STAR, "stars.py", "def one", "from math import *\ndef one", ["stars.py: <module>"]),
    "a circle": (["import loop_a as l", "l.a(3)"], "loop_b.py", "n - 1", "n - 2", ["loop_b.py: b"]),
    "a package without __init__": (["import space.part", "space.part.deep(1)"], "space/part.py", "deep(x): return x",
        "deep(x): return -x", ["space/part.py: deep"]),
    "unused, in a package without __init__": (["import space.part", "space.part.deep(1)"], "space/part.py",
        "shallow(x): return x", "shallow(x): return -x", []),
    # what acts on import
    "what a package does": (CELLS, "lib/__init__.py", "print('lib')", "print('lib!')", ["lib/__init__.py: <module>"]),
    "what a package merely defines": (CELLS, "lib/__init__.py", "READY = True", "READY = False", []),
    "an unknown decorator's function": (["import acting", "acting.total()"], "acting.py", "return 2", "return 3",
        ["acting.py: second"]),
    "a function beside it": (["import acting", "acting.total()"], "acting.py", "return 0", "return 1", []),
    "the order in which they act": (["import acting", "acting.total()"], "acting.py", FIRST + SECOND, SECOND + FIRST,
        ["acting.py: <module>"]),
    "a new call on import": (CELLS, "feats.py", LIMIT, "LIMIT = 3\nprint(UNUSED)",
        ["feats.py: <module> (new)", "feats.py: UNUSED (new)"]),
    # what could be anything
    "a module handed on": (["import feats", "use(feats)"], "feats.py", SCALE, "return x", ["feats.py: scale"]),
    "a module asked by getattr": (WHOLE, "feats.py", SCALE, "return x", ["feats.py: scale"]),
    "a name that the text does not define": (["import feats", "feats.__dict__"], "feats.py", SCALE, "return x",
        ["feats.py: scale"]),
    "globals()": (["import dynamic", "dynamic.call('two')"], "dynamic.py", "return 2", "return 3", ["dynamic.py: two"]),
    "globals() that nobody calls": (["import dynamic", "dynamic.one()"], "dynamic.py", "return 2", "return 3", []),
    "a subclass that is looked for": (["import shapes", "shapes.known()"], "shapes.py", "Disk(Shape): ...",
        "Disk(Shape): x = 1", ["shapes.py: Disk"]),
    "a file that is not Python": (["import broken"], "broken.py", "f(:", "g(:", ["broken.py: <module>"]),
    # magics
    "behind a magic": (["import feats", "%time feats.scale(1)"], "feats.py", "UNUSED = 4", "UNUSED = 5",
        ["feats.py: UNUSED"]),
    "below a cell magic": (["%%time\nimport feats\nfeats.scale(1)"], "feats.py", "UNUSED = 4", "UNUSED = 5",
        ["feats.py: UNUSED"]),
    "a script": (["!python feats.py --fast"], "feats.py", "print(scale(1))", "print(scale(2))", ["feats.py: __main__"]),
}
# fmt: on


@pytest.mark.parametrize(("cells", "name", "old", "new", "said"), EDITS.values(), ids=EDITS)
def test_edit_of_a_file(project, cells, name, old, new, said):
    before = parts(project, *cells)
    edit(project / name, old, new)
    after = parts(project, *cells)
    assert explain(before, after) == said
    assert (code_digest(before) == code_digest(after)) == (not said)


# fmt: off
HEAD = "def f(): return 1\n"
NOTEBOOK = json.dumps({"cells": [{"cell_type": "code", "source": "import u\nu.f(1)"}]})
CORNERS = {
    # what counts although it is easily missed: files (the last is edited: 1 becomes 2), cells, the place
    "handed on by a package": ({"p/__init__.py": "from .x import f as z", "p/x.py": HEAD},
        "from p import z\nz()", "p/x.py: f"),
    "handed on by a star": ({"p/__init__.py": "from .x import *", "p/x.py": HEAD}, "import p\np.f()", "p/x.py: f"),
    "a module of a package": ({"p/__init__.py": "from . import x", "p/x.py": HEAD}, "import p\np.x.f()", "p/x.py: f"),
    "a module named like its function": ({"p/__init__.py": "from .f import f", "p/f.py": HEAD},
        "import p\np.f()", "p/f.py: f"),
    "two packages up": ({"p/__init__.py": "", "p/q/__init__.py": "",
        "p/q/r.py": "from ..s import f\ndef g(): return f()",
        "p/s.py": HEAD}, "from p.q import r\nr.g()", "p/s.py: f"),
    "a star of modules": ({"p/__init__.py": "__all__ = ['s']", "p/s.py": HEAD}, "from p import *\ns.f()", "p/s.py: f"),
    "a module that came with a star": ({"m.py": "import u", "u.py": HEAD}, "from m import *\nu.f()", "u.py: f"),
    "a module imported for its effect": ({"p/__init__.py": "", "p/x.py": "print(1)"},
        "from p import x", "p/x.py: <module>"),
    "a function put into another module": ({"m.py": "def f(): ...", "n.py": "import m\nm.f = lambda: 1"},
        "import m, n\nm.f()",
        "n.py: <module>"),
    "a table of functions": ({"m.py": HEAD + "T = {'f': f}\ndef run(n): return T[n]()"},
        "import m\nm.run('f')", "m.py: f"),
    "a variant for a type": ({"m.py": "from functools import singledispatch\n@singledispatch\ndef f(x): ...\n"
        "@f.register\ndef _(x: int): return 1"}, "from m import f\nf(0)", "m.py: _"),
    "a class that its metaclass counts": ({"m.py": "class M(type): ...\nclass B(metaclass=M): ...\nclass C(B): x = 1\n"
        "def f(): return M"}, "import m\nm.f()", "m.py: C"),
    "a subclass in another file": ({"b.py": "class B:\n    def __init_subclass__(cls): ALL.append(cls)\nALL = []",
        "n.py": "from b import B\nclass C(B): x = 1"}, "import b, n\nb.ALL", "n.py: C"),
    "a definition under a condition": ({"m.py": "if True:\n    def f(): return 1"},
        "import m\nm.f()", "m.py: <module>"),
    "a module's own __getattr__": ({"m.py": HEAD + "def __getattr__(name): return f"}, "from m import g", "m.py: f"),
    "an import that a function makes global": (
        {"m.py": "def init():\n    global h\n    import u as h\ndef g(): return h.f()",
        "u.py": HEAD}, "import m\nm.init(), m.g()", "u.py: f"),
    "a module that asks itself": ({"m.py": HEAD + "import sys\ndef g(n): return getattr(sys.modules[__name__], n)"},
        "from m import g\ng(1)", "m.py: f"),
    "text that is evaluated": ({"m.py": HEAD}, "import m\neval('m.f()')", "m.py: f"),
    "help on a function": ({"m.py": HEAD}, "import m\nm.f?", "m.py: f"),
    "a notebook that is run": ({"u.py": HEAD, "n.ipynb": NOTEBOOK}, "%run n.ipynb", "n.ipynb: cell 1"),
    "what such a notebook uses": ({"n.ipynb": NOTEBOOK, "u.py": HEAD}, "%run n.ipynb", "u.py: f"),
    "what a script finds beside it": ({"tools/s.py": "import u\nu.f()", "tools/u.py": HEAD},
        "!python tools/s.py", "tools/u.py: f"),
    "a file in an unknown encoding": ({"m.py": "# coding: none\nx = 1"}, "import m", "m.py: <module>"),
}
# fmt: on


@pytest.mark.parametrize(("files", "cell", "place"), CORNERS.values(), ids=CORNERS)
def test_what_is_easily_missed_counts(tmp_path, files, cell, place):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    before = parts(tmp_path, cell)
    edit(tmp_path / name, "1", "2")
    assert explain(before, parts(tmp_path, cell)) == [place]


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([CELLS[0], "# only a comment", *CELLS[1:]], []),
        ([CELLS[0], "", CELLS[1].replace("once", "twice"), CELLS[2]], []),
        ([CELLS[0], CELLS[1].replace("5", "6"), CELLS[2]], ["cell 2"]),
        ([CELLS[0], "w = 0", *CELLS[1:]], ["cell 2 (new)"]),
        ([CELLS[0], "", CELLS[2], CELLS[1]], ["cell 3 (moved)"]),
        ([*CELLS, "%matplotlib inline"], ["cell 4 (new)"]),
        ([*CELLS, "f.scale(1)"], ["cell 4 (new)", "feats.py: UNUSED (new)", "feats.py: scale (new)"]),
    ],
)
def test_edit_of_the_notebook(project, cells, said):
    before, after = parts(project, *CELLS), parts(project, *cells)
    assert explain(before, after) == said
    assert (code_digest(before) == code_digest(after)) == (not said)


def test_what_a_cell_alone_had_used_goes_with_it(project):
    said = explain(parts(project, *CELLS), parts(project, *CELLS[:2]))
    assert said[0] == "cell 3 (gone)"
    assert {"feats.py: Base (gone)", "feats.py: Model (gone)", "feats.py: cached (gone)"} < set(said)


def test_cells_count_in_their_order(project):
    assert code_digest(parts(project, "a = 1", "b = 2")) != code_digest(parts(project, "b = 2", "a = 1"))


def test_the_order_of_cells_outlives_sorted_json(project):
    found = parts(project, *(f"x = {i}" for i in range(12)))
    assert code_digest(dict(sorted(found.items()))) == code_digest(found)
    assert explain(dict(sorted(found.items())), found) == []


def test_formatting_is_no_change_of_a_cell():
    assert cell_digest("def f( x ):\n\n    return x # same") == cell_digest("def f(x):\n  return x")
    assert cell_digest("x = 'a'") != cell_digest("x = 'b'")
    assert cell_digest("%time f(1)") != cell_digest("%time f(2)")


def test_places_are_paths_below_the_project(project):
    deep = project / "nbs" / "heart"
    deep.mkdir(parents=True)
    (deep / "near.py").write_text("def f(): ...\n")
    found = parts(deep, "import near", "near.f()", root=project)
    assert list(found)[2:] == ["nbs/heart/near.py: f"]


@pytest.mark.parametrize("line", ["sys.path.append('../../other')", "sys.path.insert(0, str(Path('../../other')))"])
def test_a_notebook_that_bends_the_path(project, line):
    (project / "other").mkdir()
    (project / "other" / "far.py").write_text("def f(): ...\n")
    (project / "nbs" / "heart").mkdir(parents=True)
    found = parts(project / "nbs" / "heart", f"import sys\n{line}\nimport far\nfar.f()", root=project)
    assert list(found)[1:] == ["other/far.py: f"]


def test_a_neighbour_comes_before_what_is_installed_under_its_name(project):
    (project / "pandas.py").write_text("def read(): ...\n")
    assert list(parts(project, "import pandas", "pandas.read()"))[2:] == ["pandas.py: read"]


def test_what_is_installed_is_left_to_the_lock(project):
    found = parts(project, "import json, os.path, pytest, pluggy", "json.dumps(pytest.main())")
    assert list(found) == ["cell 1", "cell 2"]


def test_an_editable_installation_is_code_of_the_project(project):
    found = parts(project, "from mlops_nb.errors import nearest as n", "n('a', ['b'])", root=ROOT)
    assert list(found)[2:] == ["mlops_nb/errors.py: <imports>", "mlops_nb/errors.py: nearest"]


def test_a_file_added_a_moment_ago_is_seen(project):
    before = parts(project, "import late", "late.f()")
    (project / "late.py").write_text("def f(): ...\n")
    assert explain(before, parts(project, "import late", "late.f()")) == ["late.py: f (new)"]


def test_nothing_is_imported_or_run(project):
    (project / "loud.py").write_text("raise SystemExit('imported')\n")
    assert list(parts(project, "import loud", "raise SystemExit"))[2:] == ["loud.py: <module>"]
    assert "loud" not in sys.modules


def test_digests_are_the_same_in_every_process(project):
    program = "import sys; from pathlib import Path; from mlops_nb.run.code import *\n"
    program += "cells = [('cell 1', sys.argv[2]), ('cell 2', sys.argv[3])]\n"
    program += "print(code_digest(code_parts(cells, Path(sys.argv[1]))))"
    use = ["from stars import *\nimport feats, acting, dynamic, shapes", "use(feats, acting, dynamic, shapes)"]
    said = set()
    for seed in ("0", "1", "2"):
        command = [sys.executable, "-c", program, str(project), *use]
        environment = os.environ | {"PYTHONHASHSEED": seed}
        said.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip())
    assert said == {code_digest(parts(project, *use))}


def test_the_heart_pipeline_is_followed_quickly():
    program = """
import sys, time
from pathlib import Path
from mlops_nb.run.code import code_parts
from mlops_nb.run.notebook import read_notebook, source
root, begun = Path(sys.argv[1]), time.process_time()
for path in sorted((root / "nbs/pipelines/heart").glob("*.ipynb")):
    cells = [source(c) for c in read_notebook(path)["cells"] if c["cell_type"] == "code"]
    parts = code_parts([(f"cell {i}", c) for i, c in enumerate(cells)], path.parent, root)
    assert any("mlops_nb/step.py: " in place for place in parts)
print(time.process_time() - begun)
"""
    done = subprocess.run([sys.executable, "-c", program, str(ROOT)], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.0  # CPU seconds; 0.1 on a quiet machine
