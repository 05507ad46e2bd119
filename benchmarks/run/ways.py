"""Processes that are asked, in turn, to run notebooks each in its own way."""

import json
import os
import statistics
import subprocess
import sys
from functools import cache
from pathlib import Path

from benchmarks import peers


@cache
def program() -> Path:
    "The interpreter of all ways, in an environment where everybody is installed as for a user."
    return peers.python("run", "ploomber-engine", "execnb")


class Way:
    "A process that runs notebooks in one way."

    def __init__(self, name: str, folder: Path, **environment: str):
        self.name, self.log = name, folder / f"{name}.log"
        env = os.environ | {"PYTHONWARNINGS": "ignore", "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        env.pop("PYTHONDONTWRITEBYTECODE", None)  # whoever compiles anew in each process is slow for no reason
        self.process = subprocess.Popen(
            [program(), Path(__file__).with_name("runner.py"), name], cwd=folder, env=env | environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open(self.log, "w"),  # noqa: SIM115
        )  # fmt: skip
        self.read()

    def read(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended with exit code {self.process.wait()}:\n{self.log.read_text()[-2000:]}")
        return json.loads(line)

    def output(self, path: Path) -> Path:
        "Where a notebook is written when it has run: not beside it, where it would be a step of the pipeline."
        folder = self.log.with_suffix("")
        folder.mkdir(exist_ok=True)
        return folder / path.name

    def ask(self, notebooks: list[Path], **options: object) -> dict:
        "Run notebooks; `seconds` is what it took."
        pairs = [(str(path), str(self.output(path))) for path in notebooks]
        print(json.dumps({"notebooks": pairs} | options), file=self.process.stdin, flush=True)
        return self.read()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(60)


def measure(asked: dict[Way, list[Path]], rounds: int, warm_up: int = 1, **options: object) -> dict[str, float]:
    "The median seconds of the rounds, for each way; all take turns, and the first rounds do not count."
    seconds = {way.name: [] for way in asked}
    for number in range(rounds + warm_up):
        for way, notebooks in asked.items():
            took = way.ask(notebooks, **options)["seconds"]
            if number >= warm_up:
                seconds[way.name].append(took)
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {name: statistics.median(values) for name, values in seconds.items()}
