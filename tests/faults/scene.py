"""A small pipeline to which bad things happen, and what has to be true of it afterwards."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import psutil
from click.testing import CliRunner
from mlflow import MlflowClient
from projects import VARIABLES
from quick import quickly

from mlops_nb.cli import main
from mlops_nb.run import line
from mlops_nb.run.cache import StepCache, entries
from mlops_nb.run.manifest import Manifest, read_manifest
from mlops_nb.run.record import Run, list_runs, outbox
from mlops_nb.run.store import Store

COMMAND = [str(Path(sys.executable).parent / "mlops-nb")]
WITHOUT_COURIER = [sys.executable, "-c", "from quick import begin; begin()"]
HERE = Path(__file__).parent
USE = "import os, signal, time\nfrom mlops_nb import step"
MARK = "open('../../mark', 'a').write(f'{os.getpid()} {time.time()}\\n'); "  # the cell says that it has begun
STICK = MARK + "time.sleep(60)"


def fault(step: str) -> str:
    "A cell that does what a file asks of it: the notebook is the same with the fault and without."
    return f"exec(open(os.path.join('..', '..', '{step}.fault')).read())"


def wait_for(condition: Callable[[], object], seconds: float = 60) -> object:
    "Look often until something is true."
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.002)
    raise TimeoutError(f"not true within {seconds} s")


@dataclass
class Done:
    "A command that has ended."

    code: int
    said: str  # On both channels

    def says(self, words: str) -> bool:
        "Whether it said so, wherever its lines were broken."
        return words in " ".join(self.said.split())


class Command:
    "A command that goes on."

    def __init__(self, command: list[str], root: Path, **environment: str):
        surroundings = {k: v for k, v in os.environ.items() if k not in VARIABLES}
        surroundings |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        self.process = subprocess.Popen(
            command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=surroundings | environment, start_new_session=True,
        )  # fmt: skip

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        "As a system does that is out of memory, or whose power is cut."
        self.process.kill()
        self.process.wait()

    def end(self, seconds: float = 120) -> Done:
        "Wait for it; whatever it says, it is never a raw traceback."
        try:
            said, _ = self.process.communicate(timeout=seconds)
        finally:
            self.process.kill()
        assert "Traceback" not in said, said
        return Done(self.process.returncode, said)


class Scene:
    "A project with the pipeline `sums`: draw numbers, add them up, report."

    def __init__(self, root: Path):
        self.root, self.home, self.mark = root, root / ".mlops_nb", root / "mark"
        self.uri = f"sqlite:///{root}/mlflow.db"
        self.mend()

    def fault(self, step: str, does: str) -> None:
        "What a step does from now on, before it saves anything."
        (self.root / f"{step}.fault").write_text(does)
        self.mark.unlink(missing_ok=True)

    def mend(self) -> None:
        for step in ("draw", "total", "report"):
            self.fault(step, "")

    def start(self, *words: str, courier: bool = False, path: tuple[Path, ...] = (), **environment: str) -> Command:
        "Begin a command in a process of its own."
        folders = os.pathsep.join(map(str, [*path, HERE.parent]))
        return Command(
            [*(COMMAND if courier else WITHOUT_COURIER), *words], self.root, PYTHONPATH=folders, **environment
        )

    def call(self, *words: str, **environment: str) -> Done:
        "Do a command in this process, which is quicker; its worker is kept for the next one."
        with quickly(), chdir(self.root), patch.dict(os.environ):
            for name in VARIABLES:
                os.environ.pop(name, None)
            done = CliRunner().invoke(main, words, env=environment)
        assert "Traceback" not in done.output, done.output
        return Done(done.exit_code, done.output)

    def doomed(self, doom: str, *words: str, courier: bool = False) -> Done:
        "Do a command of which a process is killed as it puts a file in its place: who, before or after, which."
        return self.start(*words, courier=courier, path=(HERE / "doom",), DOOM=doom).end()

    def toml(self, text: str) -> None:
        (self.root / "pipelines" / "sums" / "pipeline.toml").write_text(text)

    def begun(self) -> tuple[int, float]:
        "Wait until the faulty cell has begun: its process, and when [s since 1970]."
        return wait_for(self.marks)[-1]

    def marks(self) -> list[tuple[int, float]]:
        "Each time that the faulty cell has begun."
        lines = self.mark.read_text().splitlines() if self.mark.exists() else []
        return [(int(number), float(moment)) for number, moment in map(str.split, lines)]

    def new_run(self) -> str:
        "Wait for the only run; its id."
        (run,) = wait_for(lambda: [path.parent.name for path in self.home.glob("runs/*/run.json")])
        return run

    def newest(self) -> Run:
        return list_runs(self.root)[0]

    def statuses(self, run: Run) -> dict[str, str]:
        return {m.step: m.status for m in run.manifests()}

    def processes(self) -> list[psutil.Process]:
        "Every process that works in this project: runners, workers, kernels, couriers; not what waits for more work."
        found, idle = [], {one.process.pid for lines in line._idle.values() for one in lines}
        for process in psutil.process_iter():
            try:
                if (
                    process.pid not in idle
                    and process.status() != psutil.STATUS_ZOMBIE
                    and Path(process.cwd()).is_relative_to(self.root)
                ):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def find(self, word: str) -> psutil.Process | None:
        "The process with a word in its command line."
        for process in self.processes():
            try:
                if word in " ".join(process.cmdline()):
                    return process
            except psutil.Error:
                continue
        return None

    def expect_no_orphans(self, seconds: float = 30) -> None:
        "Kernels and workers are gone at once; a courier may take the time to deliver what it has."
        deadline = time.monotonic() + seconds
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not left, [p.cmdline() for p in left]

    def expect_whole(self) -> None:
        "No file is half written, and nothing that a finished step saved is lost."
        for path in self.home.rglob("*.json"):
            if not path.name.startswith(".") and not path.parent.name.startswith(".new-"):  # not yet in its place
                json.loads(path.read_text())
        store = Store(self.home)
        for path in self.home.glob("runs/*/*/step.json"):
            manifest = read_manifest(path.parent)
            if manifest.status == "FINISHED":
                assert [store.state(o) for o in manifest.outputs] == ["whole"] * len(manifest.outputs)
        done = self.call("cache", "verify")
        assert (done.code, done.said) == (0, "everything is whole\n"), done.said

    def expect_delivered(self) -> None:
        "MLflow has each run, each try at a step, exactly once and as it ended."
        if outbox(self.home):
            done = self.call("sync", MLFLOW_TRACKING_URI=self.uri)
            assert done.code == 0, done
        assert outbox(self.home) == []
        wanted = {}
        for run in list_runs(self.root):
            wanted[f"{run.id}/"] = run.status
            wanted |= {f"{run.id}/{name}": read_manifest(folder).status for name, folder in run.attempts()}
        client = MlflowClient(self.uri)
        ours = {name.split("/")[0] for name in wanted}
        found = client.search_runs([e.experiment_id for e in client.search_experiments()])
        found = [(r.data.tags["mlops_nb.record"], r.info.status) for r in found if r.data.tags["mlops_nb.run"] in ours]
        assert sorted(found) == sorted(wanted.items())  # a list: none is there twice

    def expect_in_order(self) -> None:
        "Nobody is left behind, and nothing is half done."
        self.expect_no_orphans()
        self.expect_whole()

    def expect_finished(self, done: Done, undisturbed) -> Run:
        "The newest run came to what an undisturbed one comes to, and MLflow has it, and all before it."
        run = self.newest()
        assert (done.code, run.status) == (0, "FINISHED"), done
        assert summary(run.manifests()) == undisturbed.summary
        self.expect_in_order()
        self.expect_delivered()
        return run

    def expect_goes_on(self, run: Run, undisturbed) -> Run:
        "Once the fault is mended, `resume` comes to what an undisturbed run comes to, and repeats nothing."
        self.expect_in_order()
        done = {m.step: m.cached or run.id for m in run.manifests() if m.status == "FINISHED"}
        self.mend()
        resumed = self.expect_finished(self.call("resume", run.id), undisturbed)
        assert done.items() <= {m.step: m.cached for m in resumed.manifests()}.items()
        return resumed


def summary(manifests: list[Manifest]) -> dict:
    "What a run is about: the metrics and the digests of the outputs, by step."
    return {m.step: (m.metrics, {o.name: o.digest for o in m.outputs}) for m in manifests}


def forget(scene: Scene, step: str) -> None:
    "Take a step out of the cache."
    cache = StepCache(Store(scene.home))
    (path,) = [cache.path(entry.key) for entry, _ in entries(cache) if entry.manifest.step == step]
    path.unlink()
