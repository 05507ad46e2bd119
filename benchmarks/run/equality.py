"""Whether a forked kernel gives what a started one gives: realistic notebooks fifty times each way."""

import sys
from pathlib import Path

import nbformat

from benchmarks.report import Report
from benchmarks.run.notebooks import FIGURE, TRAIN, TRAIN_PARAMETERS, step_cells, write
from benchmarks.run.ways import Way

ROUNDS = 50


def outputs(path: Path) -> list:
    "All that the cells of an executed notebook have put out; in how many pieces a text came is chance."
    found = []
    for cell in (c for c in nbformat.read(path, 4).cells if c.cell_type == "code"):
        found.append([])
        for output in (dict(output) | {"execution_count": None} for output in cell.outputs):
            if found[-1] and output["output_type"] == "stream" and found[-1][-1].get("name") == output["name"]:
                found[-1][-1]["text"] += output["text"]
            else:
                found[-1].append(output)
    return found


def run(report: Report, folder: Path) -> None:
    "The first cold run of each notebook is what all others are held against."
    cases = {"train": TRAIN, "figure": FIGURE, "step": [*step_cells(0), "df.describe()"]}
    notebooks = [write(folder / f"{name}.ipynb", cells, TRAIN_PARAMETERS) for name, cells in cases.items()]
    ways, first, rows = [Way("mlops_nb_cold", folder), Way("mlops_nb", folder)], {}, []
    same = {(way.name, path.stem): 0 for path in notebooks for way in ways}
    for _ in range(ROUNDS):
        for way in ways:
            way.ask(notebooks)
            for path in notebooks:
                found = outputs(way.output(path))
                same[way.name, path.stem] += found == first.setdefault(path.stem, found)
                if found != first[path.stem]:
                    print(f"\n{way.name} {path.stem}: {found}\ninstead of {first[path.stem]}", file=sys.stderr)
            print(".", end="", file=sys.stderr, flush=True)
    for (way, name), count in same.items():
        cells = sum(bool(cell) for cell in first[name])
        rows.append({"notebook": name, "way": way, "runs": ROUNDS, "equal": count, "cells with output": cells})
    for way in ways:
        way.close()
    report.table("equality", rows)
    report.ratio("equal_warm_and_cold", sum(same.values()) / len(same) / ROUNDS, 1)
