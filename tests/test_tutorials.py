"""Every tutorial runs from top to bottom, in a kernel of its own, as its reader would run it."""

from pathlib import Path

import nbformat
import pytest
from projects import run_by_hand

TUTORIALS = sorted((Path(__file__).parents[1] / "nbs" / "tutorials").glob("*.ipynb"))


def printed(cell) -> str:
    "What a cell printed, however many pieces it came in."
    return "".join(o.text for o in cell.get("outputs", []) if o.get("name") == "stdout")


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_runs_and_shows_what_is_saved_in_it(path, tmp_path):
    saved, notebook = nbformat.read(path, 4), nbformat.read(path, 4)
    run_by_hand(notebook, tmp_path)
    for old, new in zip(saved.cells, notebook.cells, strict=True):
        assert printed(new) == printed(old)


def test_there_are_tutorials():
    assert TUTORIALS
