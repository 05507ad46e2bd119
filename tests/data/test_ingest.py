"Taking in what does not fit into memory."

import json
import subprocess
import sys

import pytest

LINES = 40_000  # in a piece of the file, about 3.3 MB
INGEST = """
import json, sys
from mlops_nb.data.ingest import ingest
from mlops_nb.data.schema import Column, Schema

number = {name: Column("float", minimum=0, maximum=10) for name in "abcdefgh"}
schema = Schema(number | {"row": Column("int", minimum=0), "town": Column("text", categories=("Bern", "Basel"))})
taken = ingest(sys.argv[1], "large", schema, home=sys.argv[2])
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if "VmHWM" in line) / 1024
print(json.dumps([taken.version.rows, peak]))
"""


def write(path, pieces: int):
    "A table of `pieces` times `LINES` rows, no two of them the same."
    numbers = [",".join(f"{(i * k) % 9973 / 1000:.6f}" for k in range(3, 11)) for i in range(LINES)]
    with path.open("w") as file:
        file.write(f"row,{','.join('abcdefgh')},town\n")
        for piece in range(pieces):
            file.writelines(
                f"{piece * LINES + i},{line},{'Bern' if i % 3 else 'Basel'}\n" for i, line in enumerate(numbers)
            )
    return path


@pytest.mark.timeout(300)
def test_memory_does_not_grow_with_the_file(tmp_path):
    "The bar is 5 GB in less than 2 GB of memory: `python -m benchmarks.data --only large --gigabytes 5`."
    peaks = []
    for pieces in (12, 66):
        path, home = write(tmp_path / f"{pieces}.csv", pieces), tmp_path / str(pieces)
        done = subprocess.run([sys.executable, "-c", INGEST, path, home], capture_output=True, text=True, check=False)
        assert not done.returncode, done.stderr
        rows, peak = json.loads(done.stdout.splitlines()[-1])
        assert rows == pieces * LINES
        peaks.append(peak)
        size = path.stat().st_size / 2**20
        path.unlink()
    assert size > 200
    assert peaks[1] < 500, f"{peaks[1]:.0f} MiB for a file of {size:.0f} MiB"
    assert peaks[1] - peaks[0] < 150, f"a file five times as large took {peaks[1] - peaks[0]:.0f} MiB more"
