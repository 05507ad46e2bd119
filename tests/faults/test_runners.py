"""Runs that are killed or stopped, at every point of their life: nothing hangs, nothing is lost, and they go on."""

import signal
import time
from collections import Counter

import pytest
from scene import MARK, STICK, Scene, summary, wait_for

from mlops_nb.run.record import list_runs, outbox, read_run

DEAF = "signal.signal(signal.SIGINT, signal.SIG_IGN); " + STICK
ENDED = {"draw": "FINISHED", "total": "FINISHED"}

# Before or after which file is in its place the runner is killed, and what the steps are then; none without a record.
POINTS = {
    "the environment": ("before 1 environment/requirements.txt", None),
    "the record": ("before 1 runs/*/run.json", None),
    "the record is there": ("after 1 runs/*/run.json", {}),
    "a notebook from the cache": ("before 1 runs/*/draw/01_draw.ipynb", {"draw": "KILLED"}),
    "a manifest from the cache": ("before 1 runs/*/draw/step.json", {"draw": "KILLED"}),
    "a step from the cache is there": ("after 1 runs/*/draw/step.json", {"draw": "FINISHED"}),
    "the newest output": ("before 1 newest/*/numbers.json", {"draw": "FINISHED"}),
    "a notebook for the cache": ("before 1 objects/*.ipynb", ENDED),
    "an entry of the cache": ("before 1 cache/entries/*.json", ENDED),
    "an entry is there": ("after 1 cache/entries/*.json", ENDED),
}
LATE = {  # all steps come from the cache
    "between two steps": ("before 1 runs/*/report/step.json", ENDED | {"report": "KILLED"}),
    "the end": ("before 2 runs/*/run.json", ENDED | {"report": "FINISHED"}),
    "the end is there": ("after 2 runs/*/run.json", ENDED | {"report": "FINISHED"}),
}


def expect_killed(scene: Scene, place: str, statuses: dict | None, undisturbed, status: str = "KILLED") -> None:
    "Kill a runner there; the run is as it should be, and can be gone on with."
    done = scene.doomed(f"runner {place}", "run", "sums")
    assert done.code == -signal.SIGKILL, done
    scene.expect_in_order()
    if statuses is None:
        assert list_runs(scene.root) == []
        scene.expect_finished(scene.call("run", "sums"), undisturbed)
    else:
        (run,) = list_runs(scene.root)
        assert (run.status, scene.statuses(run)) == (status, statuses)
        scene.expect_goes_on(run, undisturbed)


@pytest.mark.parametrize("point", POINTS)
def test_a_runner_that_is_killed_while_it_writes_leaves_nothing_that_cannot_be_gone_on_with(scene, undisturbed, point):
    expect_killed(scene, *POINTS[point], undisturbed)


@pytest.mark.parametrize("point", LATE)
def test_a_runner_that_is_killed_near_its_end_leaves_nothing_that_cannot_be_gone_on_with(known, undisturbed, point):
    status = "FINISHED" if point == "the end is there" else "KILLED"
    expect_killed(known, *LATE[point], undisturbed, status)


def test_a_runner_that_is_killed_in_the_middle_of_a_cell_takes_all_with_it(scene, undisturbed):
    scene.fault("total", STICK)
    runner = scene.start("run", "sums", courier=True)
    scene.begun()
    runner.kill()
    scene.expect_no_orphans()
    run = scene.newest()
    assert (run.status, scene.statuses(run)) == ("KILLED", {"draw": "FINISHED", "total": "KILLED"})
    scene.expect_goes_on(run, undisturbed)


# At which file of the second step its worker, or its kernel, is killed; and what the step is then.
HELPERS = {
    "the context": ("worker before 1 total/context.json", "FAILED", "the process that ran the step was killed"),
    "the notebook": ("worker before 1 total/02_total.ipynb", "FAILED", "the process that ran the step was killed"),
    "the manifest": ("worker before 1 total/step.json", "FAILED", "the process that ran the step was killed"),
    "the manifest is there": ("worker after 1 total/step.json", "FINISHED", "total finished"),
    "an output": ("kernel before 1 objects/*.json", "FAILED", "the kernel died of SIGKILL"),
    "an output is there": ("kernel after 1 objects/*.json", "FAILED", "the kernel died of SIGKILL"),
}


@pytest.mark.parametrize("point", HELPERS)
def test_a_worker_or_a_kernel_that_is_killed_while_it_writes_fails_its_step(scene, undisturbed, point):
    place, status, words = HELPERS[point]
    done = scene.doomed(place, "run", "sums")
    (run,) = list_runs(scene.root)
    assert (done.code, done.says(words)) == (int(status == "FAILED"), True), done
    assert (run.status, scene.statuses(run)["total"]) == (status, status)
    scene.expect_goes_on(run, undisturbed)


def test_a_worker_that_is_killed_in_the_middle_of_a_cell_fails_its_step(scene, undisturbed):
    scene.fault("total", STICK)
    runner = scene.start("run", "sums")
    scene.begun()
    scene.find("mlops_nb.run.worker").kill()
    done = runner.end()
    assert (done.code, done.says("the process that ran the step was killed")) == (1, True), done
    run = scene.newest()
    assert (run.status, scene.statuses(run)) == ("FAILED", {"draw": "FINISHED", "total": "FAILED"})
    scene.expect_goes_on(run, undisturbed)


# Which note of what MLflow has the courier does not come to write: that the run is about to be made, that it is made,
# that a step is all there.
NOTES = ["before 1", "before 2", "before 5"]


@pytest.mark.parametrize("note", NOTES)
def test_a_courier_that_is_killed_while_it_writes_costs_nothing_and_delivers_nothing_twice(known, undisturbed, note):
    done = known.doomed(f"courier {note} runs/*/tracked.json", "run", "sums", "--wait", courier=True)
    assert done.says("(the process that talks to MLflow has died); when it is back: mlops-nb sync"), done
    assert outbox(known.home) == [known.newest().id]
    known.expect_finished(done, undisturbed)


def test_a_courier_that_is_killed_before_a_step_ends_costs_nothing(scene, undisturbed):
    scene.fault("total", MARK + "time.sleep(2)")
    runner = scene.start("run", "sums", courier=True)
    scene.begun()
    scene.find("mlops_nb.run.delivery").kill()
    done = runner.end()
    assert done.says("(the process that talks to MLflow has died); when it is back: mlops-nb sync"), done
    assert outbox(scene.home) == [scene.newest().id]
    scene.expect_finished(done, undisturbed)


def interrupt_twice(scene: Scene, run: str, runner) -> None:
    runner.send(signal.SIGINT)
    time.sleep(0.5)
    runner.send(signal.SIGINT)


def terminate_twice(scene: Scene, run: str, runner) -> None:
    runner.send(signal.SIGTERM)
    time.sleep(0.5)
    runner.send(signal.SIGTERM)


def cancel(scene: Scene, run: str, runner) -> None:
    done = scene.call("cancel", run[:8])
    assert (done.code, done.said.splitlines()[-1]) == (0, "ended")


# What the second step does, and what is done to the run then.
STOPS = {
    "SIGINT": (STICK, lambda scene, run, runner: runner.send(signal.SIGINT)),
    "SIGTERM": (STICK, lambda scene, run, runner: runner.send(signal.SIGTERM)),
    "cancelled": (STICK, cancel),
    "SIGINT twice": (DEAF, interrupt_twice),
    "SIGTERM twice": (DEAF, terminate_twice),
}


def expect_stopped(scene: Scene, done, begun: float, undisturbed) -> None:
    "The command ended in order, and soon."
    assert time.monotonic() - begun < 15  # [s]; the grace of a step that does not listen is longer
    assert (done.code, done.says("stopped")) == (130, True), done
    run = scene.newest()
    assert (run.status, scene.statuses(run)) == ("KILLED", {"draw": "FINISHED", "total": "KILLED"})
    scene.expect_goes_on(run, undisturbed)


@pytest.mark.parametrize("how", STOPS)
def test_a_stopped_run_ends_in_order_and_can_be_gone_on_with(scene, undisturbed, how):
    does, stop = STOPS[how]
    scene.fault("total", does)
    runner = scene.start("run", "sums")
    run = scene.new_run()
    scene.begun()
    begun = time.monotonic()
    stop(scene, run, runner)
    expect_stopped(scene, runner.end(), begun, undisturbed)


def test_a_run_that_is_stopped_while_mlflow_is_asked_ends_in_order_as_well(scene, undisturbed):
    runner = scene.start("run", "sums", courier=True)
    wait_for(lambda: scene.find("mlops_nb.run.delivery"))
    begun = time.monotonic()
    runner.send(signal.SIGINT)
    expect_stopped(scene, runner.end(), begun, undisturbed)


def test_the_dead_hold_up_nobody(scene, undisturbed):
    scene.fault("total", STICK)
    runner = scene.start("run", "sums")
    scene.begun()
    runner.kill()
    scene.mend()
    done = scene.call("run", "sums")  # at once
    assert not done.says("another run"), done
    run = scene.expect_finished(done, undisturbed)
    killed = next(r for r in list_runs(scene.root) if r.id != run.id)
    assert (read_run(killed.id, scene.root).status, scene.statuses(killed)["total"]) == ("KILLED", "KILLED")


def test_eight_runs_at_once_compute_each_step_once(bare, undisturbed):
    runners = [bare.start("run", "sums", courier=True) for _ in range(8)]
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
