"""A small pipeline in git, and clones of it that share a store of runs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from projects import VARIABLES

COMMAND = Path(sys.executable).parent / "mlops-nb"
USE = "import pandas as pd\nfrom mlops_nb import step"


class Sums:
    "A project in git, and a store of runs that all its clones share."

    def __init__(self, folder: Path, store: Path):
        self.folder, self.root = folder, folder / "one"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        shutil.copy(store, folder / "mlflow.db")
        self.environment = {k: v for k, v in os.environ.items() if k not in VARIABLES} | {
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}", "MLOPS_NB_HOME": str(folder / "home"),
            "TMPDIR": str(self.temporary), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_AUTHOR_NAME": "A",
            "GIT_AUTHOR_EMAIL": "a@b.c", "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@b.c",
        }  # fmt: skip

    def write(self, name: str, text: str) -> None:
        path = self.root / "pipelines" / "sums" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def notebook(self, name: str, *cells: str, parameters: str = "") -> None:
        code = nbformat.v4.new_code_cell
        tagged = code(parameters, metadata={"tags": ["parameters"]})
        nb = nbformat.v4.new_notebook(cells=[tagged, *map(code, cells)])
        nb.metadata["kernelspec"] = {"name": "python3", "display_name": "python3", "language": "python"}
        self.write(name, nbformat.writes(nb))

    def begin(self) -> None:
        "Commit all there is."
        (self.root / "settings.ini").touch()
        self.git("init", "-q")
        self.git("add", ".")
        self.git("commit", "-qm", "Begin")

    def git(self, *words: str, cwd: Path | None = None) -> str:
        done = subprocess.run(["git", *words], cwd=cwd or self.root, env=self.environment, check=True,
                              capture_output=True, text=True)  # fmt: skip
        return done.stdout

    def call(self, *words: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run([COMMAND, *words], cwd=cwd or self.root, env=self.environment | environment,
                              capture_output=True, text=True)  # fmt: skip

    def run(self, *words: str) -> str:
        "Run the pipeline, and say which run it was."
        done = self.call("run", "sums", "--wait", "--json", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)["id"]
