"""Kernels that die, hang or run out of something: the step says why, and the run can be gone on with."""

from dataclasses import dataclass
from datetime import datetime

import pytest
from scene import MARK, STICK

from mlops_nb.run.manifest import read_manifest

LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_{}, ({}, resource.RLIM_INFINITY)); "
HELD = "int(open('/proc/self/statm').read().split()[0]) * 4096"
DEAF = "signal.signal(signal.SIGINT, signal.SIG_IGN); "
KILL = "os.kill(os.getpid(), signal.{}); time.sleep(60)"
LIMITED = "[steps.total]\ntimeout = 5"
AGAIN = "[steps.total]\nretries = 2\nbackoff = 0.2"


@dataclass(frozen=True)
class Case:
    "What the second step does, and what the command has to say about it."

    does: str
    says: str
    toml: str = ""
    words: tuple[str, ...] = ()  # More words for the command


CASES = {
    "SIGKILL": Case(KILL.format("SIGKILL"), "the kernel died of SIGKILL"),
    "SIGSEGV": Case("import ctypes; ctypes.string_at(0)", "the kernel died of SIGSEGV"),
    "SIGABRT": Case("os.abort()", "the kernel died of SIGABRT"),
    "SIGTERM": Case(KILL.format("SIGTERM"), "the kernel died"),
    "os._exit": Case("os._exit(3)", "the kernel died: its process ended with exit code 3"),
    "sys.exit": Case("import sys; sys.exit(3)", "SystemExit: 3"),
    "memory": Case(LIMIT.format("AS", HELD + " + 2**26") + "bytearray(2**30)", "MemoryError"),
    "file size": Case(LIMIT.format("FSIZE", 0), "File too large"),
    "step limit": Case(STICK, "the step is over its time limit of 5 s", LIMITED),
    "run limit": Case(STICK, "the run is over its time limit of 6 s", words=("--timeout", "6")),
    "deaf": Case(DEAF + STICK, "the step is over its time limit of 5 s", LIMITED),
    "sockets": Case("os.closerange(3, 256); time.sleep(60)", "the kernel died"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_whatever_a_kernel_comes_to_the_step_says_so_and_the_run_can_be_gone_on_with(scene, undisturbed, case):
    scene.toml(case.toml)
    scene.fault("total", case.does)
    done = scene.call("run", "sums", *case.words)
    run = scene.newest()
    assert (done.code, done.says(case.says)) == (1, True), done
    assert (run.status, scene.statuses(run)) == ("FAILED", {"draw": "FINISHED", "total": "FAILED"})
    scene.toml("")
    scene.expect_goes_on(run, undisturbed)


def test_a_death_is_noticed_within_two_seconds_and_the_step_is_tried_again(scene, undisturbed):
    scene.toml(AGAIN)
    scene.fault("total", MARK + KILL.format("SIGKILL"))
    done = scene.call("run", "sums")
    run = scene.newest()
    assert (done.code, run.status) == (1, "FAILED"), done
    tries = [read_manifest(folder) for name, folder in run.attempts() if name.startswith("total")]
    ends = [datetime.fromisoformat(m.started).timestamp() + m.seconds for m in tries]
    noticed = [end - killed for end, (_, killed) in zip(ends, scene.marks(), strict=True)]
    assert min(noticed) < 2, noticed  # [s]; of three, as other programs run meanwhile
    assert max(noticed) < 10, noticed
    scene.toml("")
    scene.expect_goes_on(run, undisturbed)


def test_a_step_is_tried_again_and_every_try_is_kept(scene, undisturbed):
    scene.toml(AGAIN)
    stumble = "n = len(open('../../mark').readlines()); assert n == 3, f'{n} of 3'"
    scene.fault("total", MARK + stumble)
    done = scene.call("run", "sums")
    assert "total failed (AssertionError: 1 of 3); again in 0.2 s" in done.said
    assert "total failed (AssertionError: 2 of 3); again in 0.4 s" in done.said
    run = scene.newest()
    tries = [(name, read_manifest(folder).status) for name, folder in run.attempts() if name.startswith("total")]
    assert tries == [("total/1", "FAILED"), ("total/2", "FAILED"), ("total/3", "FINISHED")]
    scene.expect_finished(done, undisturbed)
