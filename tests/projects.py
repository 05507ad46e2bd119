"""Projects for tests: where the heart pipeline is, and an empty project with a store of its own."""

import shutil
from pathlib import Path

import nbclient

from mlops_nb.run.kernel import private_transport

HEART = Path(__file__).parents[1] / "nbs" / "pipelines" / "heart"
VARIABLES = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_RUN_ID",
    "MLOPS_NB_HOME",
    "MLOPS_NB_CONTEXT",
    "MLOPS_NB_CACHE",
    "CI",
)


def make_project(folder: Path, store: Path) -> Path:
    "A project with an empty store, in a folder whose name trips careless paths."
    root = folder / "a project #1, 100 %"
    root.mkdir()
    (root / "settings.ini").touch()
    shutil.copy(store, root / "mlflow.db")
    return root


def run_by_hand(notebook, folder: Path) -> None:
    "Run every cell in a kernel that starts in `folder`, without the runner, as a person would."
    with private_transport() as transport:  # TCP ports are raced for when tests run side by side
        nbclient.NotebookClient(
            notebook, timeout=300, resources={"metadata": {"path": str(folder)}}, config=transport
        ).execute()
