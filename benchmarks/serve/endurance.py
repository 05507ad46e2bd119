"""A million requests: does the memory of a worker stay what it was?"""

from pathlib import Path

from benchmarks.report import Report
from benchmarks.serve.servers import load, register, serving

REQUESTS = 1_000_000


def run(report: Report, folder: Path, seconds: float) -> None:
    "Memory is looked at after each tenth; the first tenth warms up."
    register(folder)
    rows, done = [], 0
    with serving("mlops_nb", folder) as server:
        while done < REQUESTS:
            found = load(server.port, 1, 16, 2, folder)
            assert not found["errors"], found
            done += int(found["requests"])
            if done >= (len(rows) + 1) * REQUESTS / 10:
                rows.append({"requests": done, "worker_mib": server.worker_memory()})
    report.table("endurance", rows)
    report.ratio("endurance_memory", rows[0]["worker_mib"] / rows[-1]["worker_mib"], 0.97)
