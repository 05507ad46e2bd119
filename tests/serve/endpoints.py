"""Endpoints for tests: a project with registered models, and `mlops-nb serve` as a process of its own."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import requests

COMMAND = Path(sys.executable).with_name("mlops-nb")


def patients(rows: int = 300, seed: int = 0) -> tuple[pd.DataFrame, pd.Series]:
    "A table with numbers, whole numbers, texts and gaps, and a target that depends on it."
    random = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "age": random.integers(20, 80, rows),
            "pressure": random.normal(130, 15, rows),
            "cholesterol": np.where(random.random(rows) < 0.1, np.nan, random.normal(5, 1, rows)),
            "ward": random.choice(["north", "south", "west"], rows),
        }
    )
    risk = (X["age"] - 50) / 15 + (X["pressure"] - 130) / 20 + (X["ward"] == "west")
    return X, (risk + random.normal(0, 0.5, rows) > 0.5).astype(int)


def classifier(strength: float = 1.0, unknown: str = "ignore"):
    "A pipeline over these columns, not fitted."
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    words = OneHotEncoder(handle_unknown=unknown, sparse_output=False)
    prepare = ColumnTransformer([("n", numbers, ["age", "pressure", "cholesterol"]), ("w", words, ["ward"])])
    return make_pipeline(prepare, LogisticRegression(C=strength))


def register(root: Path, model, X: pd.DataFrame, champion: bool = True, name: str = "heart") -> int:
    "Register a fitted model, and promote it if wanted; its version."
    from mlops_nb.model.registry import connect, promote
    from mlops_nb.model.registry import register as keep

    connect(root)
    version = keep(model, name, X).version
    if champion:
        promote(name, version, force=True, reason="a test")
    return version


class Running:
    "An endpoint that runs."

    def __init__(self, root: Path, *arguments: str, log: Path, environment: dict[str, str] | None = None):
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
        self.log = log
        with open(log, "wb") as file:
            self.process = subprocess.Popen(
                [COMMAND, "serve", *arguments],
                cwd=root,
                stdout=subprocess.PIPE,
                stderr=file,
                env=environment,
                text=True,
            )
        self.address, self.home = "", root / ".mlops_nb" / "serve" / "heart"
        self.session = requests.Session()

    def wait(self, seconds: float = 120.0) -> "Running":
        "Until it says where it is."
        timer = threading.Timer(seconds, self.process.kill)
        timer.start()
        for line in self.process.stdout:
            if found := re.search(r"http\S*://[^/\s]+", line):
                self.address = found[0]
                break
        timer.cancel()
        assert self.address, self.log.read_text()
        return self

    def get(self, path: str, **options) -> requests.Response:
        return self.session.get(self.address + path, timeout=60, **options)

    def post(self, path: str, **options) -> requests.Response:
        return self.session.post(self.address + path, timeout=60, **options)

    def predict(self, *records: dict, **options) -> requests.Response:
        return self.post("/predict", json={"records": list(records)}, **options)

    def serves(self, version: int, seconds: float = 60.0) -> None:
        "Wait until a version answers."
        until(lambda: self.get("/model").json()["version"] == version, seconds, self.log)

    def workers(self) -> list[int]:
        "The processes that answer."
        from mlops_nb.serve.deployment import Board

        board = Board(self.home)
        return [int(board.lines[line, 0]) for line in board.living()]

    def children(self) -> list[int]:
        import psutil

        return [child.pid for child in psutil.Process(self.process.pid).children(recursive=True)]

    def stop(self, seconds: float = 60.0) -> int:
        "End it as an operating system would; its exit code."
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"it did not end\n{self.log.read_text()}") from None
        finally:
            self.process.stdout.close()
            self.session.close()


def until(holds, seconds: float = 60.0, log: Path | None = None) -> None:
    "Wait for something that has to come."
    deadline = time.monotonic() + seconds
    while True:
        try:
            if holds():
                return
        except (requests.RequestException, OSError):
            pass
        assert time.monotonic() < deadline, log.read_text() if log else "it never came"
        time.sleep(0.05)


class Load:
    "Callers that ask all the time."

    def __init__(self, endpoint: Running, record: dict, callers: int = 4):
        self.endpoint, self.record = endpoint, record
        self.answers: list[tuple[float, float, int, int, str]] = []  # begun, ended, status, version, request id
        self.failures: list[str] = []
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(callers)]

    def _ask(self) -> None:
        session = requests.Session()
        while not self._enough.is_set():
            begun = time.monotonic()
            try:
                answer = session.post(f"{self.endpoint.address}/predict", json=[self.record], timeout=60)
                told = answer.json()
                row = begun, time.monotonic(), answer.status_code, told.get("version", 0), told.get("request_id", "")
                self.answers.append(row)
                if answer.status_code != 200:
                    self.failures.append(answer.text)
            except requests.RequestException as error:
                self.failures.append(repr(error))
                session = requests.Session()

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join(90)
