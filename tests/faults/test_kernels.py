"""Kernels that die, hang or run out of something: the step says why, and the run can be gone on with."""

from dataclasses import dataclass
from datetime import datetime

import pytest
from scene import MARK, STICK

from mlops_nb.run.manifest import read_manifest

LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_{}, ({}, resource.RLIM_INFINITY)); "
HELD = "int(open('/proc/self/statm').read().split()[0]) * 4096"
DEAF = "signal.signal(signal.SIGINT, signal.SIG_IGN); "
LIMITED = "[steps.total]\ntimeout = 10"
AGAIN = "[steps.total]\nretries = 2\nbackoff = 0.2"


@dataclass(frozen=True)
class Case:
    "What the second step does, and what the command has to say about it."

    does: str
    says: str
    toml: str = ""
    words: tuple[str, ...] = ()  # More words for the command


DEATHS = {
    "SIGKILL": Case(MARK + "os.kill(os.getpid(), signal.SIGKILL)", "the kernel died of SIGKILL"),
    "SIGSEGV": Case("import ctypes; ctypes.string_at(0)", "the kernel died of SIGSEGV"),
    "os._exit": Case("os._exit(3)", "the kernel died: its process ended with exit code 3"),
}
LIMITS = {
    "sys.exit": Case("import sys; sys.exit(3)", "SystemExit: 3"),
    "memory": Case(LIMIT.format("AS", HELD + " + 2**26") + "bytearray(2**30)", "MemoryError"),
    "file size": Case(LIMIT.format("FSIZE", 0), "File too large"),
    "step limit": Case(STICK, "the step is over its time limit of 10 s", LIMITED),
    "run limit": Case(STICK, "the run is over its time limit of 15 s", words=("--timeout", "15")),
    "deaf": Case(DEAF + STICK, "the step is over its time limit of 10 s", LIMITED),
}


@pytest.mark.parametrize("cases", [DEATHS, LIMITS], ids=["deaths", "limits"])
def test_whatever_a_kernel_comes_to_the_step_says_so_and_the_run_can_be_gone_on_with(scene, undisturbed, cases):
    command = ["run", "sums"]
    for name, case in cases.items():
        scene.toml(case.toml)
        scene.mark.unlink(missing_ok=True)
        done = scene.call(*command, *case.words, FAULT_TOTAL=case.does)
        run = scene.newest()
        assert (done.code, done.says(case.says)) == (1, True), f"{name}: {done}"
        assert (run.status, scene.statuses(run)) == ("FAILED", {"draw": "FINISHED", "total": "FAILED"}), name
        scene.expect_in_order()
        if name == "SIGKILL":
            _, killed = scene.begun()
            total = run.manifests()[-1]
            noticed = datetime.fromisoformat(total.started).timestamp() + total.seconds - killed
            assert noticed < 4  # [s]; below 2 where nothing else runs
        command = ["resume", run.id]
    scene.toml("")
    scene.expect_finished(scene.call(*command), undisturbed)


def test_a_step_is_tried_again_and_every_try_is_kept(scene, undisturbed):
    scene.toml(AGAIN)
    stumble = "n = int(open('{0}').read() or 0); open('{0}', 'w').write(str(n + 1)); assert n == 2, f'{{n + 1}} of 3'"
    count = scene.root / "count"
    count.touch()
    done = scene.call("run", "sums", FAULT_TOTAL=stumble.format(count))
    run = scene.expect_finished(done, undisturbed)
    assert "total failed (AssertionError: 1 of 3); again in 0.2 s" in done.said
    assert "total failed (AssertionError: 2 of 3); again in 0.4 s" in done.said
    tries = [(name, read_manifest(folder).status) for name, folder in run.attempts() if name.startswith("total")]
    assert tries == [("total/1", "FAILED"), ("total/2", "FAILED"), ("total/3", "FINISHED")]
