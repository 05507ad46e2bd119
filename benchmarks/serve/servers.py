"""A model, and those who serve it, each as its users start it."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from benchmarks import peers

NUMBERS, WORDS = [f"number_{i}" for i in range(12)], [f"word_{i}" for i in range(4)]
NAME = "bench"


def table(rows: int, seed: int = 0) -> tuple[pd.DataFrame, pd.Series]:
    "Twelve columns of numbers, four of words, and a target that depends on some."
    random = np.random.default_rng(seed)
    X = pd.DataFrame({name: random.normal(size=rows) for name in NUMBERS})
    for name in WORDS:
        X[name] = random.choice(list("abcdefgh"), rows)
    return X, ((X["number_0"] + X["number_1"] * X["number_2"] + (X["word_0"] == "a")) > 0.5).astype(int)


def register(root: Path, versions: int = 1) -> None:
    "A scikit-learn pipeline with xgboost at its end, registered and promoted; the next versions differ in their seed."
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from xgboost import XGBClassifier

    from mlops_nb.model.registry import connect, promote
    from mlops_nb.model.registry import register as keep

    (root / "settings.ini").touch()
    connect(root)
    X, y = table(20_000)
    for seed in range(versions):
        words = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        prepare = ColumnTransformer([("numbers", StandardScaler(), NUMBERS), ("words", words, WORDS)])
        learner = XGBClassifier(n_estimators=100, max_depth=6, n_jobs=1, subsample=0.9, random_state=seed)
        keep(Pipeline([("prepare", prepare), ("learn", learner)]).fit(X, y), NAME, X)
    promote(NAME, 1, force=True, reason="a benchmark")


def body(rows: int) -> str:
    "A request in MLflow's protocol, which all of them understand."
    X, _ = table(rows, seed=1)
    return json.dumps({"dataframe_split": {"columns": list(X), "data": X.to_numpy(object).tolist()}})


def free_port() -> int:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return line.getsockname()[1]


def commands(root: Path, port: int) -> dict[str, list[str]]:
    "How each is started, with one worker."
    here = Path(sys.executable).parent
    return {
        "mlops_nb": [str(here / "mlops-nb"), "serve", NAME, "--port", str(port)],
        "mlops_nb_no_log": [str(here / "mlops-nb"), "serve", NAME, "--port", str(port), "--log", "off"],
        "mlflow": [str(here / "mlflow"), "models", "serve", "-m", f"models:/{NAME}@champion", "--env-manager", "local",
                   "--port", str(port)],
        "mlserver": [str(root / "mlserver" / "start"), str(root / "mlserver")],
    }  # fmt: skip


def prepare_mlserver(root: Path, port: int) -> None:
    "Lay out a folder as MLServer wants it, with a copy of the model's files."
    from mlops_nb.model.registry import connect, find_version

    folder = root / "mlserver"
    folder.mkdir(exist_ok=True)
    if not (folder / "model").exists():
        import mlflow.artifacts

        connect(root)
        shutil.copytree(mlflow.artifacts.download_artifacts(find_version(NAME).uri), folder / "model")
    needed = (folder / "model" / "requirements.txt").read_text().split()
    program = peers.alone("mlserver", "mlserver>=1.7", "mlserver-mlflow>=1.7", "setuptools<82", *needed)
    settings = {"http_port": port, "host": "127.0.0.1", "grpc_port": free_port(), "metrics_port": free_port(),
                "parallel_workers": 0, "debug": False}  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings))
    model = {"name": NAME, "implementation": "mlserver_mlflow.MLflowRuntime", "parameters": {"uri": "./model"}}
    (folder / "model-settings.json").write_text(json.dumps(model))
    (folder / "start").write_text(f'#!/bin/sh\nexec {program.parent / "mlserver"} start "$1"\n')
    (folder / "start").chmod(0o755)


class Server:
    "One that runs."

    def __init__(self, process: subprocess.Popen, port: int, seconds: float):
        self.process, self.port, self.seconds = process, port, seconds

    def family(self) -> list[psutil.Process]:
        first = psutil.Process(self.process.pid)
        return [first, *first.children(recursive=True)]

    def cpu(self) -> float:
        "Seconds that all of its processes have worked."
        return sum(p.cpu_times().user + p.cpu_times().system for p in self.family())

    def worker(self) -> psutil.Process:
        "The process that answers: of those that hold the listening port, the one that has done most."

        def holds(process: psutil.Process) -> bool:
            with contextlib.suppress(psutil.Error):
                return any(c.status == "LISTEN" and c.laddr.port == self.port for c in process.net_connections())
            return False

        return max(filter(holds, self.family()), key=lambda p: p.cpu_times().user)

    def worker_memory(self) -> float:
        "Of the process that answers [MiB]."
        return self.worker().memory_info().rss / 2**20


@contextlib.contextmanager
def serving(way: str, root: Path, timeout: float = 120) -> Iterator[Server]:
    "Start a server and wait for its first answer."
    port = free_port()
    if way == "mlserver":
        prepare_mlserver(root, port)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": f"sqlite:///{root}/mlflow.db",
                   "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}  # fmt: skip
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", body(1).encode(), {"content-type": "application/json"}
    )
    begun = time.perf_counter()
    with open(root / f"{way}.log", "wb") as log:
        process = subprocess.Popen(
            commands(root, port)[way], cwd=root, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    try:
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(asked, timeout=10) as answer:
                json.load(answer)
                break
            if process.poll() is not None or time.perf_counter() - begun > timeout:
                raise SystemExit(f"{way} did not start:\n{(root / f'{way}.log').read_text()[-3000:]}")
            time.sleep(0.02)
        yield Server(process, port, time.perf_counter() - begun)
    finally:
        with contextlib.suppress(psutil.Error):
            family = Server(process, port, 0).family()
            process.terminate()
            _, alive = psutil.wait_procs(family, timeout=20)
            for each in alive:
                each.kill()
        process.wait()


UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def load(port: int, rows: int, connections: int, seconds: float, folder: Path) -> dict[str, float]:
    "Ask as often as it answers, over connections that stay: requests a second, median and 99th percentile [s], errors."
    if not shutil.which("wrk"):
        raise SystemExit("wrk is missing\n  fix: apt install wrk")
    script = folder / f"rows {rows}.lua"
    if not script.exists():
        head = 'wrk.method = "POST"\nwrk.headers["content-type"] = "application/json"\n'
        script.write_text(f"{head}wrk.body = [==[{body(rows)}]==]\n")
    done = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "30s", "--latency", "-s", script,
         f"http://127.0.0.1:{port}/invocations"], capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip

    def latency(share: str) -> float:
        number, unit = re.search(rf"{share}%\s+([\d.]+)(us|ms|s|m)\b", done).groups()
        return float(number) * UNITS[unit]

    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", done)
    lost = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", done)
    return {
        "requests": int(re.search(r"(\d+) requests in", done)[1]),
        "per_second": float(re.search(r"Requests/sec:\s+([\d.]+)", done)[1]),
        "median": latency("50"),
        "p99": latency("99"),
        "errors": (int(wrong[1]) if wrong else 0) + (sum(map(int, lost.groups())) if lost else 0),
    }
