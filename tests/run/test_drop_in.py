"""papermill's own command line behaves with `--engine mlops_nb` as it does without."""

import json
import os
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import nbformat
import pytest
from projects import VARIABLES

CELLS = ["print(x, y)", "x * 2"]
DECLARED = "x = 1\ny = 'a'"


def papermill(root: Path, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k not in VARIABLES}
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", *words]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, input=stdin, env=environment)


def said(notebook) -> list:
    "What the code cells print and return, and whether they ran."
    found = []
    for cell in notebook.cells:
        outputs = [
            {k: v for k, v in o.items() if k in ("output_type", "name", "text", "data", "ename", "evalue")}
            for o in cell.get("outputs", [])
        ]
        found.append((cell.cell_type, cell.source, outputs, cell.get("execution_count")))
    return found


CALLS = {  # options that do not touch each other are tried at once; each sets, or shows in, something of its own
    "-p, -r, -f, -y, -b": [
        *["-p", "a", "3", "-r", "b", "7", "-f", "given.yaml", "-y", "{d: 4}"],
        *["-b", b64encode(b"{e: 5}").decode()],
    ],
    "--cwd, -k, --execution-timeout, --start-timeout, --log-output, --autosave-cell-every": [
        *["--cwd", "elsewhere", "-k", "python3", "--execution-timeout", "60", "--start-timeout", "60"],
        *["--log-output", "--autosave-cell-every", "0", "--no-request-save-on-cell-execute"],
    ],
    "--prepare-only": ["--prepare-only", "-p", "a", "6"],
    "--report-mode": ["--report-mode", "-p", "a", "8"],
}


@pytest.mark.parametrize("name", CALLS)
def test_options_do_what_they_do_without_the_engine(root, write, name):
    cells = ["import os", "print(a, b, c, d, e, os.path.basename(os.getcwd()))", "a * 2"]
    write(root / "in.ipynb", *cells, parameters="a = 1\nb = 'b'\nc = 'c'\nd = 2\ne = 2")
    (root / "given.yaml").write_text("c: file\n")
    (root / "elsewhere").mkdir()
    plain = papermill(root, *CALLS[name], "in.ipynb", "plain.ipynb")
    ours = papermill(root, "--engine", "mlops_nb", *CALLS[name], "in.ipynb", "ours.ipynb")
    assert plain.returncode == ours.returncode == 0, ours.stderr
    found = said(nbformat.read(root / "ours.ipynb", 4))
    assert found == said(nbformat.read(root / "plain.ipynb", 4))
    printed = {"-p": "3 7 file 4 5", "--cwd": "1 b c 2 2 elsewhere"}.get(name.split(",")[0], "")
    assert printed in str(found)


def test_a_failing_cell_ends_with_the_same_code_and_the_same_marked_notebook(root, write):
    write(root / "in.ipynb", "1", "1 / 0", "2", parameters=DECLARED)
    plain = papermill(root, "in.ipynb", "plain.ipynb")
    ours = papermill(root, "--engine", "mlops_nb", "in.ipynb", "ours.ipynb")
    assert plain.returncode == ours.returncode == 1
    assert "ZeroDivisionError" in ours.stderr
    a, b = (nbformat.read(root / name, 4) for name in ("plain.ipynb", "ours.ipynb"))
    assert [c.cell_type for c in a.cells] == [c.cell_type for c in b.cells]
    assert any("papermill-error-cell-tag" in (c.metadata.get("tags") or []) for c in b.cells)


def test_a_notebook_goes_through_standard_input_and_output(root, write):
    text = write(root / "in.ipynb", *CELLS, parameters=DECLARED).read_text()
    done = papermill(root, "--engine", "mlops_nb", "-p", "x", "9", "-", "-", stdin=text)
    assert done.returncode == 0, done.stderr
    assert nbformat.reads(done.stdout, 4).cells[-1].outputs[0].data["text/plain"] == "18"


def test_a_notebook_without_a_tagged_cell_gets_its_parameters_on_top(root, write):
    write(root / "in.ipynb", "print(x)", parameters=None)
    done = papermill(root, "--engine", "mlops_nb", "-p", "x", "9", "in.ipynb", "out.ipynb")
    assert done.returncode == 0, done.stderr
    assert nbformat.read(root / "out.ipynb", 4).cells[-1].outputs[0].text == "9\n"


def test_help_notebook_shows_the_parameters(root, write):
    write(root / "in.ipynb", *CELLS, parameters=DECLARED)
    done = papermill(root, "--engine", "mlops_nb", "--help-notebook", "in.ipynb")
    assert done.returncode == 0
    assert "x:" in done.stdout


def test_typed_values_arrive_in_the_kernel_as_what_they_are(root, write):
    declared = "\n".join([
        "day: date = date(2026, 1, 1)", "place: Path = Path('.')", "colour: Colour = Colour.RED",
        "share: Annotated[float, Ge(0)] = 0.5", "names: list[str] = []", "limit: int | None = None",
    ])  # fmt: skip
    code = nbformat.v4.new_code_cell
    imports = (
        "from datetime import date\nfrom enum import Enum\nfrom pathlib import Path\nfrom typing import Annotated\n"
        "from annotated_types import Ge\n\nclass Colour(Enum):\n    RED = 'red'\n    BLUE = 'blue'"
    )
    check = "(day.year, place.name, colour is Colour.BLUE, share, names, limit)"
    cells = [code(imports), code(declared, metadata={"tags": ["parameters"]}), code(check)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "python3", "language": "python"}
    nbformat.write(notebook, root / "in.ipynb")
    given = {"day": "2026-11-21", "place": "data/x.csv", "colour": "blue", "share": 0.25, "names": ["a"], "limit": 3}
    (root / "given.yaml").write_text(json.dumps(given))
    done = papermill(root, "--engine", "mlops_nb", "-f", "given.yaml", "in.ipynb", "out.ipynb")
    assert done.returncode == 0, done.stderr
    result = nbformat.read(root / "out.ipynb", 4).cells[-1].outputs[0].data["text/plain"]
    assert result == "(2026, 'x.csv', True, 0.25, ['a'], 3)"
    bad = papermill(root, "--engine", "mlops_nb", "-p", "share", "-1", "in.ipynb", "out.ipynb")
    assert bad.returncode != 0
    assert "share" in bad.stderr
