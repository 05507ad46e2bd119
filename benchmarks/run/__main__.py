"""What a notebook job costs, beside those who run notebooks otherwise.

    python -m benchmarks.run [--only CASE]... [--rounds N] [--save]

Every way is a process of its own that is asked for one notebook at a time, in turn with all others, so that whatever
else the machine does hits all of them alike. The first round warms up and does not count. `limit` is the cells alone,
executed in a process forked from a warm one, without Jupyter and without a saved notebook. Ours tracks in MLflow, the
others track nothing. ploomber-engine and execnb run the cells in their own process: whatever a notebook before has
imported or changed is still there.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.report import Report
from benchmarks.run import combinations, endurance, equality, scale, single, tracking

CASES = {
    "single": (single, "one notebook, and eight in a row, beside six others"),
    "combinations": (combinations, "32 combinations of parameters on two cores"),
    "tracking": (tracking, "what MLflow costs a step"),
    "endurance": (endurance, "a thousand short jobs in a row"),
    "scale": (scale, "1 to 256 steps"),
    "equality": (equality, "forked kernels against started ones, fifty times each"),
}


def main() -> int:
    cases = "; ".join(f"{name}: {about}" for name, (_, about) in CASES.items())
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__.splitlines()[0], epilog=cases)
    parser.add_argument("--only", action="append", choices=CASES, metavar="CASE", help="this case; all without it")
    parser.add_argument("--rounds", type=int, default=5, help="how often each way runs each notebook (default 5)")
    parser.add_argument("--save", action="store_true", help="keep the results for the site")
    options = parser.parse_args()
    report = Report("run", options.rounds)
    for name in options.only or CASES:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
            (Path(place) / "settings.ini").touch()
            CASES[name][0].run(report, Path(place))
        if options.save:
            report.save()
    return 0


if __name__ == "__main__":
    sys.exit(main())
