"""How quick, how steady and how safe an endpoint is, beside `mlflow models serve` and MLServer.

    python -m benchmarks.serve [--only CASE]... [--rounds N] [--seconds S] [--save]

All serve the same scikit-learn pipeline with xgboost at its end, with one worker and one thread, and are asked in
MLflow's protocol over connections that stay, by wrk (Debian: `apt install wrk`). `throughput` counts requests, CPU,
memory and the time to the first answer. `swaps` promotes twenty other champions under full load, and one whose files
are spoiled. `crashes` kills workers under load, twenty times, and looks for every answer in the prediction log.
`endurance` asks a million times, and looks at the memory.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.report import Report
from benchmarks.serve import crashes, endurance, swaps, throughput

CASES = {"throughput": throughput, "swaps": swaps, "crashes": crashes, "endurance": endurance}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=CASES, metavar="CASE", help=f"one of {', '.join(CASES)}")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is started (default 3)")
    parser.add_argument("--seconds", type=float, default=5, help="how long each is asked (default 5)")
    parser.add_argument("--save", action="store_true", help="keep the results for the site")
    options = parser.parse_args()
    report = Report("serve", options.rounds)
    for name in options.only or CASES:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
            CASES[name].run(report, Path(place).resolve(), options.seconds)
        if options.save:
            report.save()
    return 0


if __name__ == "__main__":
    sys.exit(main())
