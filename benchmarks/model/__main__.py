"""What training and tuning cost, and what they find, beside those who do the same by hand.

    python -m benchmarks.model [--only CASE]... [--rounds N] [--trials N] [--save]

`tune` searches 64 times for the parameters of boosted trees, on two cores and, the same study, in one process with
Optuna's own loop; every trial costs the same, so that nobody is lucky. `tracking` runs the same search as a step,
with and without a nested MLflow run for each trial, until MLflow has it all. `overhead` holds `train` against the bare
`fit` on 100,000 rows of 20 columns. `quality` lets the default search and scikit-learn's HistGradientBoosting at its
defaults predict the same held-out folds of five data sets; the search sees the other folds only, and has a minute for
its trials. `gate` counts how
often the gate of the heart pipeline lets through what has learnt nothing or was shown the target, a worse challenger
is not refused, and an equal one is called better.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.model import gate, overhead, quality, tracking, tuning
from benchmarks.report import Report

CASES = {"tune": tuning, "tracking": tracking, "overhead": overhead, "quality": quality, "gate": gate}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model", description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=CASES, metavar="CASE", help=f"one of {', '.join(CASES)}")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way runs (default 3)")
    parser.add_argument("--trials", type=int, default=64, help="of each search (default 64)")
    parser.add_argument("--save", action="store_true", help="keep the results for the site")
    options = parser.parse_args()
    report = Report("model", options.rounds)
    for name in options.only or CASES:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
            CASES[name].run(report, Path(place), options.trials)
        if options.save:
            report.save()
    return 0


if __name__ == "__main__":
    sys.exit(main())
