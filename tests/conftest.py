"""What all tests share: projects of their own, away from the runs of whoever tests."""

import shutil
from pathlib import Path

import nbformat
import pytest
from projects import HEART, VARIABLES, make_project

LONGEST = (  # modules, the longest first
    "test_dask", "test_heart", "test_sweep", "test_runners", "test_surroundings", "test_warm", "test_drop_in",
    "test_image", "test_batch_scoring", "test_prediction_log", "test_trace",
    "test_tutorials", "test_control", "test_cache", "test_reproduce", "test_cli", "test_kernels", "test_engine",
    "test_diff", "test_version_diff", "test_arrivals", "test_writers", "test_versions_s3", "test_malformed",
    "test_databases", "test_fast_answers",
    "test_streams", "test_promotions", "test_registry", "test_models_command", "test_tune", "test_feature_sets",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    "Begin with what takes longest, so that no worker is left alone with it at the end."
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(LONGEST)))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    "No test sees, or leaves, a setting of the surroundings."
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    "An empty MLflow database, made once: creating one takes seconds."
    from mlops_nb.model.registry import connect

    folder = tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        connect(folder)
    return folder / "mlflow.db"


@pytest.fixture
def root(tmp_path, empty_store):
    "The folder of an empty project."
    return make_project(tmp_path, empty_store)


@pytest.fixture
def write():
    "Write a notebook: `write(path, cell, cell, parameters='…')`; no tagged cell when parameters is None."

    def make(path: Path, *cells: str, parameters: str | None = "", kernel: str = "python3") -> Path:
        code = nbformat.v4.new_code_cell
        tagged = [] if parameters is None else [code(parameters, metadata={"tags": ["parameters"]})]
        notebook = nbformat.v4.new_notebook(cells=[*tagged, *map(code, cells)])
        notebook.metadata["kernelspec"] = {"name": kernel, "display_name": kernel, "language": "python"}
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, path)
        return path

    return make


@pytest.fixture
def heart(root):
    "The heart pipeline in a project of its own."
    return Path(shutil.copytree(HEART, root / "nbs" / "pipelines" / "heart"))
