"""One way to run notebooks, as a process that is asked again and again: python runner.py NAME.

It reads lines of JSON (`notebooks`, each with an `output`), runs the notebooks one after the other, and answers with
the seconds that it took. It imports nothing of the project but where the project is what is measured.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True}


def papermill_api() -> Callable[[str, str], None]:
    import papermill

    return lambda notebook, output: papermill.execute_notebook(notebook, output, progress_bar=False)


def papermill_cli() -> Callable[[str, str], None]:
    program = [sys.executable, "-m", "papermill", "--no-progress-bar"]
    return lambda notebook, output: subprocess.run([*program, notebook, output], **QUIET)


def nbconvert_cli() -> Callable[[str, str], None]:
    program = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--output"]
    return lambda notebook, output: subprocess.run([*program, output, notebook], **QUIET)


def nbclient() -> Callable[[str, str], None]:
    import nbformat
    from nbclient import NotebookClient

    def run(notebook: str, output: str) -> None:
        nbformat.write(NotebookClient(nbformat.read(notebook, 4)).execute(), output)

    return run


def ploomber_engine() -> Callable[[str, str], None]:
    from ploomber_engine import execute_notebook

    return lambda notebook, output: execute_notebook(notebook, output, progress_bar=False)


def execnb() -> Callable[[str, str], None]:
    from execnb.shell import CaptureShell

    return lambda notebook, output: CaptureShell().execute(notebook, output)


def limit() -> Callable[[str, str], None]:
    "The cells alone, in a process forked from one that has imported what they import: no Jupyter, nothing written."
    import mlflow  # noqa: F401
    import nbformat
    import pandas  # noqa: F401
    import sklearn.datasets
    import sklearn.model_selection
    import sklearn.preprocessing  # noqa: F401
    import xgboost  # noqa: F401

    def run(notebook: str, output: str) -> None:
        cells = [cell.source for cell in nbformat.read(notebook, 4).cells]
        if child := os.fork():
            if os.waitpid(child, 0)[1]:
                raise RuntimeError(f"a cell of {notebook} failed")
            return
        os._exit(_run_cells(cells))

    return run


def _run_cells(cells: list[str]) -> int:
    names = {"__name__": "__main__"}
    for text in cells:
        exec(compile(text, "cell", "exec"), names)
    return 0


def mlops_nb() -> Callable[[str, str], None]:
    "Tracked in MLflow, on SQLite; the kernels are forked."
    import papermill

    return lambda notebook, output: papermill.execute_notebook(
        notebook, output, engine_name="mlops_nb", progress_bar=False
    )


def mlops_nb_pipeline() -> Callable[[str, str], None]:
    "The folder of a notebook as a pipeline, nothing taken from the cache, everything in MLflow at the end."
    from mlops_nb.run.execute import run_pipeline
    from mlops_nb.run.pipeline import read_pipeline

    def run(notebook: str, output: str) -> None:
        done = run_pipeline(read_pipeline(Path(notebook).parent), cache=False, jobs=1, wait=True)
        if done.status != "FINISHED":
            raise RuntimeError(f"the run ended as {done.status}")

    return run


def _around(name: str):
    "What is there before the first notebook: where kernels are forked, the process that they are forked from."
    if not name.startswith("mlops_nb"):
        return nullcontext()
    from mlops_nb.run.warm import Zygote

    return Zygote()


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    name = sys.argv[1]
    with _around(name):
        run = globals()[name]()
        print(json.dumps("ready"), file=answers)
        for line in sys.stdin:
            begun = time.perf_counter()
            for notebook, output in json.loads(line):
                run(notebook, output)
            print(json.dumps(time.perf_counter() - begun), file=answers)


if __name__ == "__main__":
    main()
