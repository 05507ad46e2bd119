"""Runs that are killed or stopped, at every point of their life: nothing hangs, nothing is lost, and they go on."""

import signal
import time
from collections import Counter

from scene import MARK, STICK, Scene, summary, wait_for

from mlops_nb.run.record import list_runs, outbox, read_run

DEAF = "signal.signal(signal.SIGINT, signal.SIG_IGN); " + STICK


def entries(scene: Scene) -> int:
    return len(list(scene.home.glob("cache/entries/*/[0-9a-f]*.json")))


def waits(scene: Scene, run: str) -> bool:
    "Whether a run is over, and not in MLflow yet."
    return scene.record(run)["status"] != "RUNNING" and run in outbox(scene.home)


# Each goes on where the one before it was killed: when that is, and what the second step does meanwhile.
PHASES = {
    "begun": (lambda scene, run: True, ""),
    "the first step has ended": (lambda scene, run: (scene.home / "runs" / run / "draw" / "step.json").exists(), ""),
    "in a cell of the second": (lambda scene, run: scene.mark.exists(), STICK),
    "a result is in the cache": (lambda scene, run: entries(scene) == 2, ""),
    "the end": (waits, ""),
}


def test_a_killed_runner_leaves_nothing_behind_that_cannot_be_gone_on_with(bare, undisturbed):
    command, done = ["run", "sums"], set()
    for phase, (reached, does) in PHASES.items():
        runner = bare.start(*command, FAULT_TOTAL=does)
        run = bare.new_run()
        wait_for(lambda reached=reached, run=run: reached(bare, run))
        runner.kill()
        bare.expect_no_orphans()
        found = read_run(run, bare.root)
        assert found.status == ("FINISHED" if phase == "the end" else "KILLED"), phase
        computed = {m.step for m in found.manifests() if m.status == "FINISHED" and not m.cached}
        assert not computed & done, f"{phase}: computed again"
        done |= computed
        bare.expect_whole()
        command = ["resume", run]
    assert done == {"draw", "total", "report"}
    bare.expect_delivered()
    bare.expect_finished(bare.call("run", "sums"), undisturbed)


def interrupt_twice(scene: Scene, run: str, runner) -> None:
    runner.send(signal.SIGINT)
    time.sleep(0.5)
    runner.send(signal.SIGINT)


def interrupt_while_mlflow_is_asked(scene: Scene, run: str, runner) -> None:
    wait_for(lambda: scene.find("mlops_nb.run.delivery"))
    runner.send(signal.SIGINT)


def cancel(scene: Scene, run: str, runner) -> None:
    done = scene.call("cancel", run[:8])
    assert (done.code, done.said.splitlines()[-1]) == (0, "ended")


# What the second step does, and what is done to the run then.
STOPS = {
    "SIGINT": (STICK, lambda scene, run, runner: runner.send(signal.SIGINT)),
    "SIGTERM": (STICK, lambda scene, run, runner: runner.send(signal.SIGTERM)),
    "cancelled": (STICK, cancel),
    "SIGINT twice": (DEAF, interrupt_twice),
    "SIGINT before the cells": ("", interrupt_while_mlflow_is_asked),
}


def test_a_stopped_run_ends_in_order_and_can_be_gone_on_with(scene, undisturbed):
    command = ["run", "sums"]
    for name, (does, stop) in STOPS.items():
        scene.mark.unlink(missing_ok=True)
        runner = scene.start(*command, FAULT_TOTAL=does)
        run = scene.new_run()
        if does:  # else it is stopped before
            scene.begun()
        before = time.monotonic()
        stop(scene, run, runner)
        done = runner.end()
        assert time.monotonic() - before < 15, name  # [s]; the grace of a step that does not listen is longer
        assert (done.code, done.says("stopped")) == (130, True), f"{name}: {done}"
        found = read_run(run, scene.root)
        assert found.status == "KILLED"
        assert scene.statuses(found) == {"draw": "FINISHED", "total": "KILLED"}, name
        scene.expect_in_order()
        command = ["resume", run]
    scene.expect_finished(scene.call(*command), undisturbed)


def test_the_dead_hold_up_nobody_a_worker_fails_its_step_and_a_courier_nothing(scene, undisturbed):
    runner = scene.start("run", "sums", FAULT_TOTAL=STICK)
    scene.begun()
    runner.kill()
    scene.mark.unlink()
    runner = scene.start("run", "sums", FAULT_TOTAL=STICK)  # at once
    scene.begun()
    scene.find("mlops_nb.run.worker").kill()
    done = runner.end()
    assert (done.code, done.says("the process that ran the step was killed")) == (1, True), done
    assert not done.says("another run"), done
    failed = scene.newest()
    assert (failed.status, scene.statuses(failed)) == ("FAILED", {"draw": "FINISHED", "total": "FAILED"})
    scene.expect_in_order()
    scene.mark.unlink()
    runner = scene.start("resume", failed.id, FAULT_TOTAL=MARK)
    scene.begun()
    scene.find("mlops_nb.run.delivery").kill()
    done = runner.end()
    assert done.says("(the process that talks to MLflow has died); when it is back: mlops-nb sync"), done
    assert scene.newest().id in outbox(scene.home)  # perhaps with the run whose runner was killed
    scene.expect_finished(done, undisturbed)


def test_eight_runs_at_once_compute_each_step_once(bare, undisturbed):
    runners = [bare.start("run", "sums") for _ in range(8)]
    assert [runner.end().code for runner in runners] == [0] * 8
    bare.expect_no_orphans(120)  # eight couriers
    bare.expect_whole()
    runs = list_runs(bare.root)
    assert [summary(run.manifests()) for run in runs] == [undisturbed.summary] * 8
    computed = Counter(m.step for run in runs for m in run.manifests() if not m.cached)
    assert computed == {"draw": 1, "total": 1, "report": 1}
    bare.expect_delivered()


def test_a_run_that_nobody_wrote_down_is_not_waited_for(scene):
    (scene.home / "outbox").mkdir()
    (scene.home / "outbox" / ("0" * 32)).touch()
    done = scene.call("sync")
    assert (done.code, done.said) == (0, "MLflow has everything\n")
