"""What a notebook job costs, beside those who run notebooks otherwise.

    python -m benchmarks.run [--rounds N]

Every way is a process of its own that is asked for one notebook at a time, in turn with all others, so that whatever
else the machine does hits all of them alike. The first round warms up and does not count. `limit` is the cells alone,
executed in a process forked from a warm one, without Jupyter and without a saved notebook. Ours tracks in MLflow, the
others track nothing. ploomber-engine and execnb run the cells in their own process: whatever a notebook before has
imported or changed is still there.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import peers
from benchmarks.run.notebooks import EMPTY, STEPS, TRAIN, chained_cells, step_cells, write

PEERS = ("papermill_api", "papermill_cli", "nbconvert_cli", "nbclient", "ploomber_engine", "execnb")
BARS = {  # larger is better: how many times as fast as a peer, and how near to the limit
    "empty": {"papermill_api": 8, "papermill_cli": 20},
    "train": {"papermill_api": 7, "papermill_cli": 9, "limit": 1 / 1.5},
    "steps": {"papermill_api": 12, "limit": 1 / 2.2},
}


class Way:
    "A process that runs notebooks in one way."

    def __init__(self, name: str, program: Path, folder: Path):
        self.name = name
        environment = os.environ | {"PYTHONWARNINGS": "ignore", "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        self.process = subprocess.Popen(
            [program, Path(__file__).with_name("runner.py"), name], cwd=folder, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open(folder / f"{name}.log", "w"),  # noqa: SIM115
        )  # fmt: skip
        self.read()

    def read(self) -> float:
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended: {(Path(self.process.args[1]).name)} {self.process.wait()}")
        return json.loads(line)

    def run(self, notebooks: list[Path]) -> float:
        "The seconds that it takes."
        pairs = [(str(path), str(path.with_name(f"{self.name}_{path.stem}_out.ipynb"))) for path in notebooks]
        print(json.dumps(pairs), file=self.process.stdin, flush=True)
        return self.read()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(30)


def measure(ways: dict[str, Way], notebooks: dict[str, list[Path]], rounds: int) -> dict[str, float]:
    "The median of the rounds, for each way; all take turns."
    seconds = {name: [] for name in notebooks}
    for number in range(rounds + 1):
        for name, paths in notebooks.items():
            took = ways[name].run(paths)
            if number:
                seconds[name].append(took)
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each way runs each notebook (default 5)")
    rounds = parser.parse_args().rounds
    theirs = peers.python("ploomber-engine", "execnb")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "settings.ini").touch()
        single = {case: write(folder / f"{case}.ipynb", cells) for case, cells in (("empty", EMPTY), ("train", TRAIN))}
        steps = [write(folder / f"{number}_step.ipynb", step_cells(number)) for number in range(STEPS)]
        chain = [
            write(folder / "chain" / f"{number}_part_{number}.ipynb", chained_cells(number)) for number in range(STEPS)
        ]
        programs = dict.fromkeys(PEERS, theirs) | dict.fromkeys(
            ("limit", "mlops_nb", "mlops_nb_pipeline"), sys.executable
        )
        ways = {name: Way(name, program, folder) for name, program in programs.items()}
        singles = [name for name in ways if name != "mlops_nb_pipeline"]
        cases = {case: {name: [path] for name in singles} for case, path in single.items()}
        cases["steps"] = dict.fromkeys(("papermill_api", "limit"), steps) | {"mlops_nb_pipeline": chain[:1]}
        for case, notebooks in cases.items():
            report(case, measure(ways, notebooks, rounds))
        for way in ways.values():
            way.close()
    return 0


def report(case: str, seconds: dict[str, float]) -> None:
    "The table of a case, and a line for each of its bars."
    ours = next(name for name in seconds if name.startswith("mlops_nb"))
    print(f"\n{case:<18} {'seconds':>8}  times ours")
    for name, value in sorted(seconds.items(), key=lambda item: item[1]):
        print(f"  {name:<16} {value:>8.3f}  {value / seconds[ours]:>6.2f}")
    for peer, bar in BARS[case].items():
        print(f"RATIO {case}_vs_{peer} {seconds[peer] / seconds[ours]:.2f} {bar:.2f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
