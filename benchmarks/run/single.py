"""One notebook, and eight in a row, beside those who run notebooks otherwise."""

from pathlib import Path

from benchmarks.report import Report
from benchmarks.run.notebooks import EMPTY, STEPS, TRAIN, TRAIN_PARAMETERS, chained_cells, step_cells, write
from benchmarks.run.ways import Way, measure

PEERS = ("papermill_api", "papermill_cli", "nbconvert_cli", "nbclient", "ploomber_engine", "execnb")
BARS = {  # larger is better: how many times as fast as a peer, and how near to the limit
    "empty": {"papermill_api": 8, "papermill_cli": 20},
    "train": {"papermill_api": 7, "papermill_cli": 9, "limit": 1 / 1.5},
    "steps": {"papermill_api": 12, "limit": 1 / 2.2},
}


def run(report: Report, folder: Path) -> None:
    "All ways take turns, each in a process of its own."
    train = write(folder / "train.ipynb", TRAIN, TRAIN_PARAMETERS)
    single = {"empty": write(folder / "empty.ipynb", EMPTY), "train": train}
    steps = [write(folder / f"{number}_step.ipynb", step_cells(number)) for number in range(STEPS)]
    chain = [write(folder / "chain" / f"{i}_part_{i}.ipynb", chained_cells(i)) for i in range(STEPS)]
    ways = {name: Way(name, folder) for name in (*PEERS, "limit", "mlops_nb", "mlops_nb_pipeline")}
    singles = [way for name, way in ways.items() if name != "mlops_nb_pipeline"]
    cases = {case: {way: [path] for way in singles} for case, path in single.items()}
    cases["steps"] = {ways["papermill_api"]: steps, ways["limit"]: steps, ways["mlops_nb_pipeline"]: chain[:1]}
    for case, asked in cases.items():
        compare(report, case, measure(asked, report.rounds), BARS[case])
    for way in ways.values():
        way.close()


def compare(report: Report, case: str, seconds: dict[str, float], bars: dict[str, float]) -> None:
    "The table of a case, and a line for each of its bars."
    ours = seconds[next(name for name in seconds if name.startswith("mlops_nb"))]
    order = sorted(seconds.items(), key=lambda item: item[1])
    report.table(case, [{"way": name, "seconds": value, "times ours": value / ours} for name, value in order])
    for peer, bar in bars.items():
        report.ratio(f"{case}_vs_{peer}", seconds[peer] / ours, bar)
