"""What a step costs in pipelines of 1 to 256 steps, one after the other and side by side, and what planning costs."""

import time
from pathlib import Path

from benchmarks.report import Report
from benchmarks.run.notebooks import write
from benchmarks.run.ways import Way

SIZES = (1, 4, 16, 64, 256)


def cells(number: int, shape: str) -> list[str]:
    "A step that does next to nothing."
    load = f"value = step.load('value_{number - 1}')" if number and shape == "chain" else "value = 0"
    return ["from mlops_nb import step", load, f"step.save('value_{number}', value + 1)"]


def plan_ms(folder: Path, repeats: int = 5) -> float:
    "What it costs to read, order and plan a pipeline, in ms of one core for each of its steps."
    from mlops_nb.run.pipeline import make_plan, read_pipeline

    spent = []
    for _ in range(repeats):
        begun = time.process_time()
        steps = len(make_plan(read_pipeline(folder)))
        spent.append(1000 * (time.process_time() - begun) / steps)
    return sorted(spent)[repeats // 2]


def run(report: Report, folder: Path) -> None:
    "Each pipeline once in a row of rounds; nothing comes from the cache."
    rows, cost = [], {}
    for shape in ("chain", "fan"):
        way = Way("mlops_nb_wide" if shape == "fan" else "mlops_nb_pipeline", folder)
        for size in SIZES:
            place = folder / f"{shape}_{size}"
            paths = [write(place / f"{i:03}_step_{i}.ipynb", cells(i, shape)) for i in range(size)]
            way.ask(paths[:1])
            seconds = min(way.ask(paths[:1])["seconds"] for _ in range(2 if size < 64 else 1))
            cost[shape, size] = 1000 * seconds / size
            rows.append({"shape": shape, "steps": size, "seconds": seconds, "ms a step": cost[shape, size],
                         "planning ms a step": plan_ms(place)})  # fmt: skip
            print(".", end="", flush=True)
        way.close()
    report.table("scale", rows)
    for shape in ("chain", "fan"):
        report.ratio(f"{shape}_of_16_vs_256_ms_a_step", cost[shape, 16] / cost[shape, 256], 0.8)
    report.ratio("planning_under_1ms_a_step", 1 / max(row["planning ms a step"] for row in rows[4::5]), 1)
