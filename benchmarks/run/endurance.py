"""A thousand short jobs in a row: whether anything grows, and whether the last are as fast as the first."""

import sys
import time
from pathlib import Path

import psutil

from benchmarks.report import Report
from benchmarks.run.notebooks import EMPTY, write
from benchmarks.run.ways import Way

JOBS, GROUP = 1000, 50


def lasting(root: psutil.Process) -> list[psutil.Process]:
    "The processes below one that are not about to go."
    return [process for process in root.children(recursive=True) if process.status() != psutil.STATUS_ZOMBIE]


def family(pid: int) -> dict[str, psutil.Process]:
    "The processes that last: the one that runs the jobs, the zygote, the courier; and the number of all."
    root, names = psutil.Process(pid), {"zygote": "run.zygote", "courier": "run.delivery"}
    found = {"runner": root}
    for process in lasting(root):
        command = " ".join(process.cmdline())
        for name, mark in names.items():
            if mark in command and process.ppid() == pid:
                found.setdefault(name, process)
    return found


def run(report: Report, folder: Path) -> None:
    "Lone notebooks, each a tracked run, in one process."
    notebook = write(folder / "short.ipynb", EMPTY)
    way, rows = Way("mlops_nb", folder), []
    way.ask([notebook] * GROUP)  # whatever is done once
    for done in range(GROUP, JOBS + GROUP, GROUP):
        seconds = way.ask([notebook] * GROUP)["seconds"]
        time.sleep(1)  # the last kernel goes, and the last page is made
        processes = family(way.process.pid)
        row = {"jobs": done, "jobs a second": GROUP / seconds}
        row |= {f"{name} MB": p.memory_full_info().uss / 1e6 for name, p in processes.items()}
        row |= {"descriptors": sum(p.num_fds() for p in processes.values()),
                "processes": len(lasting(processes["runner"]))}  # fmt: skip
        rows.append(row)
        print(".", end="", file=sys.stderr, flush=True)
    way.close()
    report.table("endurance", rows[:: len(rows) // 10 or 1] + rows[-1:])
    fifth = len(rows) // 5
    mean = lambda column, part: sum(row[column] for row in part) / len(part)  # noqa: E731
    first, last = rows[:fifth], rows[-fifth:]
    report.ratio("throughput_end_vs_start", mean("jobs a second", last) / mean("jobs a second", first), 0.9)
    for column in [c for c in rows[0] if c.endswith(" MB")] + ["descriptors", "processes"]:
        name = column.replace(" MB", "_memory")
        report.ratio(f"{name}_start_vs_end", mean(column, first) / mean(column, last), 0.95)
