"""What a step costs on a Dask cluster, and how far that carries.

    python -m benchmarks.dask

Starts a cluster on this machine with a worker a processor, and measures in one run: tasks that do nothing, bytes
through a shared store in a folder, and a fan of small steps: in local processes, on the cluster in the project's own
folder, and on the cluster with everything through the store. All are tracked. Then works out where the limits are.
"""

import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import nbformat

from mlops_nb.run.cache import Remote
from mlops_nb.run.dask_executor import DaskExecutor
from mlops_nb.run.execute import run_pipeline
from mlops_nb.run.pipeline import read_pipeline
from mlops_nb.run.store import Store

STEPS, TASKS, MEGABYTES, REPEATS = 32, 2000, 256, 3


class Apart(DaskExecutor):
    "Sends everything through the store, as if no folder were shared."

    def _prove(self, plan, cache):
        notes = super()._prove(plan, cache)
        self.stores[cache.store.home] = cache.remote.url
        return notes


def write_fan(folder: Path) -> None:
    "Steps that depend on nothing, and save a number each."
    folder.mkdir(parents=True)
    for i in range(STEPS):
        tagged = nbformat.v4.new_code_cell("number: int = 0", metadata={"tags": ["parameters"]})
        cell = nbformat.v4.new_code_cell(f"from mlops_nb import step\nstep.save('part_{i}', number + {i})")
        nb = nbformat.v4.new_notebook(cells=[tagged, cell])
        nb.metadata["kernelspec"] = {"name": "python3", "display_name": "python3", "language": "python"}
        nbformat.write(nb, folder / f"{i:03}_part{i}.ipynb")


def time_tasks(executor: DaskExecutor) -> float:
    "Tasks a second that do nothing."
    client, begun = executor.client, time.perf_counter()
    client.gather(client.map(lambda i: i, range(TASKS), pure=False))
    return TASKS / (time.perf_counter() - begun)


def time_store(root: Path) -> float:
    "Megabytes a second from a store to the shared one and into another, held against their digests."
    store, other, url = Store(root / "store"), Store(root / "other"), f"file://{root}/bucket"
    (root / "large").write_bytes(os.urandom(MEGABYTES << 20))
    kept = store.keep(root / "large")
    begun = time.perf_counter()
    assert Remote(url, store.home).push(kept.file)
    assert Remote(url, other.home).fetch(kept.file)
    assert other.state(kept) == "whole"
    return MEGABYTES / (time.perf_counter() - begun)


def time_fan(folder: Path, executor, jobs: int) -> tuple[float, float]:
    "Wall time, and processor time of the runner itself, for each step of a fan [s]."
    used, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    run = run_pipeline(read_pipeline(folder), executor=executor, jobs=jobs, cache=False)
    seconds, now = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
    assert run.status == "FINISHED", run.error()
    return seconds / STEPS, (now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime) / STEPS


def measure(root: Path) -> dict[str, float]:
    "All figures: per second, or milliseconds a step."
    folder = root / "pipelines" / "fan"
    write_fan(folder)
    os.environ["MLOPS_NB_CACHE"] = f"file://{root}/shared"
    near = DaskExecutor("", root)
    far = Apart(near.about["scheduler"], root)
    try:
        found = {"tasks": time_tasks(near), "megabytes": time_store(root)}
        seconds: dict[str, list] = {"local": [], "folder": [], "store": []}
        for _ in range(REPEATS + 1):
            for name, executor in (("local", "local"), ("folder", near), ("store", far)):
                seconds[name].append(time_fan(folder, executor, near.jobs))
    finally:
        far.close()
        near.close()
    for name, pairs in seconds.items():  # the first time, all processes had to start
        found[name] = 1000 * statistics.median(wall for wall, _ in pairs[1:])
        found[f"runner_{name}"] = 1000 * statistics.median(own for _, own in pairs[1:])
    return found | {"jobs": near.jobs}


def tell(found: dict[str, float]) -> None:
    "Print the figures, and what follows from them."
    print(f"tasks that do nothing            {found['tasks']:8.0f} a second")
    print(f"bytes through the store          {found['megabytes']:8.0f} MB a second, there and back, with digests")
    print(f"a step, {found['jobs']} at once, tracked            wall  of it the runner's own processor time")
    kinds = {"local": "local processes", "folder": "Dask, shared folder", "store": "Dask, through a store"}
    for name, words in kinds.items():
        print(f"  {words:<30} {found[name]:8.0f} ms {found[f'runner_{name}']:8.1f} ms")
    own, minute = found["runner_store"] / 1000, 60
    print(f"\nWhat limits a run whose steps take {minute} s each, on as many workers as you like:")
    print(f"  the scheduler  {found['tasks']:8.0f} steps a second, or {found['tasks'] * minute:10.0f} busy workers")
    print(f"  the runner     {1 / own:8.0f} steps a second, or {minute / own:10.0f} busy workers")
    for size in (1, 100):
        rate = found["megabytes"] / size
        print(f"  {size:3} MB a step  {rate:8.1f} steps a second, or {rate * minute:10.0f} busy workers")
    for name in ("folder", "store"):
        print(f"{'':6}dask_{name}_over_local {found[name] / found['local']:.2f}, without a bar")


def main() -> int:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        (root / "settings.ini").touch()
        tell(measure(root))
    return 0


if __name__ == "__main__":
    sys.exit(main())
