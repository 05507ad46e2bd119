"""One way to run notebooks, as a process that is asked again and again: python runner.py NAME.

It reads lines of JSON (`notebooks`, each with an output; sometimes `combinations` of parameters), runs the notebooks
one after the other, and answers with the seconds that it took. It imports nothing of the project but where the project
is what is measured.
"""

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path

QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True}


def _papermill(job: tuple[str, str, dict]) -> None:
    import papermill

    notebook, output, parameters = job
    papermill.execute_notebook(notebook, output, parameters, progress_bar=False)


def papermill_api() -> Callable[..., None]:
    import papermill  # noqa: F401

    def run(notebook: str, output: str, combinations: list[dict] = ({},)) -> None:
        for parameters in combinations:
            _papermill((notebook, output, parameters))

    return run


def papermill_pool() -> Callable[..., None]:
    "Two at once, in processes of their own."
    from concurrent.futures import ProcessPoolExecutor

    pool = ProcessPoolExecutor(2)

    def run(notebook: str, output: str, combinations: list[dict]) -> None:
        jobs = [(notebook, f"{output}.{i}.ipynb", parameters) for i, parameters in enumerate(combinations)]
        list(pool.map(_papermill, jobs))

    return run


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
    "The cells alone, in a process forked from one that has imported all that they import: no Jupyter, nothing written."
    import nbformat

    seen = set()

    def run(notebook: str, output: str, combinations: list[dict] = ({},)) -> None:
        parameters, *cells = [cell.source for cell in nbformat.read(notebook, 4).cells]
        if notebook not in seen:
            seen.add(notebook)
            _import_what_is_imported([parameters, *cells])
        for values in combinations:
            if child := os.fork():
                if os.waitpid(child, 0)[1]:
                    raise RuntimeError(f"a cell of {notebook} failed")
                continue
            os._exit(_run_cells([parameters, *(f"{name} = {value!r}" for name, value in values.items()), *cells]))

    return run


def _import_what_is_imported(cells: list[str]) -> None:
    "Run cells in a fork, and import here whatever they have imported by their end."
    end, start = os.pipe()
    if os.fork() == 0:
        _run_cells(cells)
        os.write(start, " ".join(sys.modules).encode())
        os._exit(0)
    os.close(start)
    with open(end) as names:
        for name in names.read().split():
            with suppress(ImportError):
                importlib.import_module(name)
    os.wait()


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


def mlops_nb_cold() -> Callable[[str, str], None]:
    "The same with kernels that are started."
    return mlops_nb()


def mlops_nb_pipeline(jobs: int = 1) -> Callable[[str, str], None]:
    "The folder of a notebook as a pipeline, nothing taken from the cache, everything in MLflow at the end."
    from mlops_nb.run.execute import run_pipeline
    from mlops_nb.run.pipeline import read_pipeline

    def run(notebook: str, output: str) -> None:
        done = run_pipeline(read_pipeline(Path(notebook).parent), cache=False, jobs=jobs, wait=True)
        if done.status != "FINISHED":
            raise RuntimeError(f"the run ended as {done.status}")

    return run


def mlops_nb_untracked() -> Callable[[str, str], None]:
    "The same without MLflow."
    from concurrent.futures import Future

    from mlops_nb.run import runner

    class Nobody:
        def __init__(self, *_):
            self.send, self.finish = lambda: None, lambda seconds: ""

        def open(self, record, notebook):
            nowhere = Future()
            nowhere.set_result("")
            return nowhere

    runner.Courier = Nobody
    return mlops_nb_pipeline()


def mlops_nb_wide() -> Callable[[str, str], None]:
    "As many steps at once as there are processors."
    return mlops_nb_pipeline(os.cpu_count())


def mlops_nb_sweep() -> Callable[..., None]:
    "A sweep, two members at once, all in MLflow at the end."
    from mlops_nb.run.pipeline import read_pipeline
    from mlops_nb.run.sweep import sweep

    def run(notebook: str, output: str, combinations: list[dict]) -> None:
        space = {name: list(dict.fromkeys(c[name] for c in combinations)) for name in combinations[0]}
        done = sweep(read_pipeline(Path(notebook).parent), space, jobs=2, cache=False)
        if done.status != "FINISHED":
            raise RuntimeError(f"the sweep ended as {done.status}")

    return run


def mlops_nb_http() -> Callable[[str, str], None]:
    "The same with a tracking server, whose address is in the environment."
    return mlops_nb_pipeline()


def _around(name: str):
    "What is there before the first notebook: where kernels are forked, the process that they are forked from."
    if not name.startswith("mlops_nb") or name.endswith("_cold"):
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
            request, begun = json.loads(line), time.perf_counter()
            for notebook, output in request["notebooks"]:
                if combinations := request.get("combinations"):
                    run(notebook, output, combinations)
                else:
                    run(notebook, output)
            print(json.dumps({"seconds": time.perf_counter() - begun}), file=answers)


if __name__ == "__main__":
    main()
