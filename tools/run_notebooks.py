"""Run lesson notebooks in place and keep their outputs, as the documentation shows them.

    .venv/bin/python tools/run_notebooks.py nbs/data/sources.ipynb ...     these
    .venv/bin/python tools/run_notebooks.py                                 all that nbdev_test tests

Cells that `nbdev_test` skips (`eval: false`, the flags of `tst_flags`) are skipped and keep the outputs they have.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ["IN_TEST"] = "1"

from execnb.nbio import read_nb, write_nb
from execnb.shell import CaptureShell
from fastcore.xtras import working_directory
from nbdev.clean import nbdev_clean
from nbdev.config import get_config
from nbdev.doclinks import nbglob
from nbdev.process import NBProcessor

SECONDS = 120  # time limit of one cell


def run(path: Path) -> None:
    "Run one notebook in its own folder and save it, cleaned; raise what its first failing cell raised."
    notebook = read_nb(path)
    flags = set(get_config().tst_flags.split())
    cells = NBProcessor(path, process=True).nb.cells
    directives = {cell.id: cell.directives_ for cell in cells if cell.cell_type == "code"}

    def skip(cell) -> bool:
        found = directives.get(cell.id, {})
        unevaluated = found.get("eval:", [""])[0].lower() == "false"
        return cell.cell_type != "code" or unevaluated or bool(flags & found.keys())

    for cell in notebook.cells:
        if not skip(cell):
            cell.outputs = []  # a cell that says nothing any more would keep what it said before
    shell = CaptureShell(path, timeout=SECONDS)
    with working_directory(path.parent):
        shell.run_all(notebook, preproc=skip, exc_stop=True)
    write_nb(notebook, path)
    nbdev_clean.__wrapped__(str(path))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path)
    given = parser.parse_args().notebooks
    for path in given or sorted(Path(p) for p in nbglob(skip_folder_re="^[_.]|pipelines|tutorials")):
        print(f"running {path}", flush=True)
        run(path.resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
