"""The project to which bad things happen, and how it fares when nothing does."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from projects import make_project

pytest.register_assert_rewrite("scene")
from scene import USE, Scene, fault, forget, summary  # noqa: E402


@dataclass(frozen=True)
class Undisturbed:
    "A run to which nothing happened."

    home: Path  # Its store, with all steps in the cache, and without the run
    summary: dict  # What it came to


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory) -> Callable[[Path], None]:
    "Write the pipeline `sums` into a project: draw numbers, add them up, report."
    import nbformat

    def write(path: Path, *cells: str, parameters: str = "") -> None:
        code = nbformat.v4.new_code_cell
        cells = [code(parameters, metadata={"tags": ["parameters"]}), *map(code, (USE, *cells))]
        about = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=about), path)

    folder = tmp_path_factory.mktemp("sums")
    write(
        folder / "01_draw.ipynb", fault("draw"), "step.save('numbers', list(range(rows)))", parameters="rows: int = 9"
    )
    add = ["total = sum(step.load('numbers'))", fault("total"), "step.save('total', total)\nstep.log(total=total)"]
    write(folder / "02_total.ipynb", *add)
    write(folder / "03_report.ipynb", "step.log(half=step.load('total') / 2)", fault("report"))
    return lambda root: shutil.copytree(folder, root / "pipelines" / "sums")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, empty_store, pipeline) -> Undisturbed:
    "The run that all others are held against, done once."
    scene = Scene(make_project(tmp_path_factory.mktemp("undisturbed"), empty_store))
    pipeline(scene.root)
    assert scene.call("run", "sums").code == 0
    manifests = scene.newest().manifests()
    assert [m.cached for m in manifests] == [""] * 3
    for name in ("runs", "newest", "outbox"):
        shutil.rmtree(scene.home / name)
    return Undisturbed(scene.home, summary(manifests))


@pytest.fixture
def bare(root, pipeline) -> Scene:
    "A project in which nothing has run yet."
    pipeline(root)
    return Scene(root)


@pytest.fixture
def known(bare, undisturbed) -> Scene:
    "A project whose steps are in the cache."
    shutil.copytree(undisturbed.home, bare.home, symlinks=True)
    return bare


@pytest.fixture
def scene(known) -> Scene:
    "A project whose second step is not in the cache; the third is, if the second comes to what it should."
    forget(known, "total")
    return known
