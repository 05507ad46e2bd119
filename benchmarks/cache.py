"""What a second, unchanged run of the heart pipeline costs beside the first.

    python -m benchmarks.cache

Runs the pipeline in a project of its own: once with cold kernels, once more without the cache and with warm kernels,
then five times unchanged. Prints the wall times, and the ratios of the first two to the median of the others.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HEART = Path(__file__).parents[1] / "nbs" / "pipelines" / "heart"
COMMAND = Path(sys.executable).parent / "mlops-nb"


def run(root: Path, *words: str) -> tuple[float, int]:
    "Wall time [s] and number of cached steps of one run."
    begun, command = time.perf_counter(), [COMMAND, "run", "heart", "--json", *words]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - begun
    return seconds, sum(bool(m["cached"]) for m in json.loads(done.stdout)["manifests"])


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "settings.ini").touch()
        shutil.copytree(HEART, root / "nbs" / "pipelines" / "heart")
        cold, _ = run(root, "--cold")
        print(f"cold      {cold:7.2f} s")
        warm, _ = run(root, "--no-cache")
        print(f"warm      {warm:7.2f} s")
        seconds = []
        for _ in range(5):
            one, cached = run(root)
            assert cached == 8, f"{cached} of 8 steps came from the cache"
            seconds.append(one)
            subprocess.run([COMMAND, "sync"], cwd=root, capture_output=True, check=True)  # nothing runs beside the next
        print(f"unchanged {statistics.median(seconds):7.2f} s  (median of {len(seconds)}; worst {max(seconds):.2f} s)")
    print(f"RATIO heart_unchanged_limit_1.5s {1.5 / statistics.median(seconds):.2f} 1")
    print(f"RATIO heart_cold_over_unchanged {cold / statistics.median(seconds):.1f} 33.3")
    print(f"{'':6}heart_warm_over_unchanged {warm / statistics.median(seconds):.1f}, without a bar")
    return 0


if __name__ == "__main__":
    sys.exit(main())
