"Requests that meet are answered together, and nobody pays for a neighbour."

import asyncio
from contextlib import suppress

import numpy as np
import orjson
import pytest
from served_models import MODELS, WHOLE, X, plain, serve

from mlops_nb.model.store import connect
from mlops_nb.serve.batching import Batcher
from mlops_nb.serve.problems import Problem
from mlops_nb.serve.requests import read_records

JSON = "application/json"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    "One model for each way, and two that are alike."
    folder = tmp_path_factory.mktemp("registry")
    connect(folder)
    names = {"quick": "xgboost", "other": "xgboost", "strict": "a strict encoder", "frames": "products of columns",
             "dates": "dates", "joined": "dates and a strict encoder",
             "alone": "principal components"}  # fmt: skip
    return {name: serve(*MODELS[model][0](), folder) for name, model in names.items()}


def tables(model, frame, count: int, rows: int = 1) -> list:
    records = plain(frame[list(model.signature.names)])
    parts = [records[place * rows : place * rows + rows] for place in range(count)]
    return [read_records(orjson.dumps(part), JSON, model.signature)[0] for part in parts]


def run(work):
    "What a coroutine that is given a batcher returns; whether the batcher ends."

    async def inner():
        batcher = Batcher(waiting=64)
        try:
            return await asyncio.wait_for(work(batcher), 60), batcher
        finally:
            batcher.close()

    return asyncio.run(inner())


def theirs(model, table) -> list:
    return model.reference(table).predictions()


async def gather(batcher, asked):
    return await asyncio.gather(*(batcher.answer(*one) for one in asked), return_exceptions=True)


def test_what_comes_at_once_is_one_batch_and_each_gets_its_own_answer(models):
    model = models["quick"]
    asked = [(model, table) for size in (1, 3, 7) for table in tables(model, X, 10, size)]
    answers, batcher = run(lambda batcher: gather(batcher, asked))
    assert [answer.predictions() for answer in answers] == [theirs(*one) for one in asked]
    assert (batcher.batches, batcher.answered, batcher.waiting) == (1, 30, 0)


def test_a_batch_holds_no_more_rows_than_it_may(models):
    model = models["quick"]
    asked = [(model, table) for table in tables(model, X, 5, 90)] * 4
    answers, batcher = run(lambda batcher: gather(batcher, asked))
    assert [answer.predictions() for answer in answers[:5]] == [theirs(*one) for one in asked[:5]]
    assert batcher.batches == 4  # of 450 rows each


def test_two_models_never_share_a_batch(models):
    first, second = models["quick"], models["other"]
    seen = []

    def spy(model):
        before = type(model).quick
        return lambda asked: (seen.append((model, len(asked))), before(model, asked))[1]

    for model in (first, second):
        model.quick = spy(model)
    try:
        asked = list(zip([first, first, second, second, second, first], tables(first, X, 6), strict=True))
        answers, _ = run(lambda batcher: gather(batcher, asked))
    finally:
        del first.quick, second.quick
    assert seen == [(first, 2), (second, 3), (first, 1)]
    assert [answer.predictions() for answer in answers] == [theirs(*one) for one in asked]


@pytest.mark.parametrize("name", ["strict", "frames", "joined", "alone"])
def test_one_offender_costs_nobody_else_an_answer(models, name):
    model = models[name]
    assert (model.path, model.joins) == ("numpy" if name == "strict" else "native", name == "joined")
    frame = WHOLE.assign(seen="2026-01-01T00:00:00")
    asked = [(model, table) for table in tables(model, frame, 8)]
    bad = tables(model, frame.assign(region="nobody knows", tobacco=None), 1)[0]
    asked.insert(3, (model, bad))
    answers, batcher = run(lambda batcher: gather(batcher, asked))
    refused = [place for place, answer in enumerate(answers) if isinstance(answer, Problem)]
    assert refused == [3]
    assert (answers[3].status, answers[3].code) == (400, "MODEL_INPUT_ERROR")
    for place, (answer, one) in enumerate(zip(answers, asked, strict=True)):
        if place not in refused:
            assert answer.predictions() == theirs(*one)
    assert batcher.waiting == 0


def test_a_request_that_only_the_model_can_answer_does_not_hold_up_the_loop(models):
    model = models["strict"]
    assert model.path == "numpy"
    odd = tables(model, WHOLE.assign(region="nobody knows"), 1)[0]
    usual = tables(model, WHOLE, 20)

    async def work(batcher):
        order = []

        async def ask(name, table):
            with suppress(Problem):
                await batcher.answer(model, table)
            order.append(name)

        await asyncio.gather(ask("odd", odd), *(ask("usual", table) for table in usual))
        return order

    order, _ = run(work)
    assert order == ["usual"] * 20 + ["odd"]


def test_the_loop_turns_while_frames_are_computed(models):
    model = models["dates"]
    asked = [(model, table) for table in tables(model, WHOLE.assign(seen="2026-01-01T00:00:00"), 12, 20)]

    async def work(batcher):
        turns, done = 0, asyncio.ensure_future(gather(batcher, asked))
        while not done.done():
            await asyncio.sleep(0.001)
            turns += 1
        return turns, done.result()

    (turns, answers), _ = run(work)
    assert turns > 3
    assert [answer.predictions() for answer in answers] == [theirs(*one) for one in asked]


def test_what_waits_for_the_worker_thread_goes_together(models):
    model = models["dates"]
    assert model.joins
    asked = [(model, table) for table in tables(model, WHOLE.assign(seen="2026-01-01T00:00:00"), 30)]
    answers, batcher = run(lambda batcher: gather(batcher, asked))
    assert batcher.batches <= 2
    assert [answer.predictions() for answer in answers] == [theirs(*one) for one in asked]


def test_whoever_goes_away_is_not_computed_and_harms_nobody(models):
    model = models["dates"]
    asked = tables(model, WHOLE.assign(seen="2026-01-01T00:00:00"), 10)

    async def work(batcher):
        tasks = [asyncio.ensure_future(batcher.answer(model, table)) for table in asked]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers, batcher = run(work)
    assert [isinstance(answer, asyncio.CancelledError) for answer in answers] == [True, False] * 5
    assert [answer.predictions() for answer in answers[1::2]] == [theirs(model, table) for table in asked[1::2]]
    assert (batcher.answered, batcher.waiting) == (5, 0)


def test_whoever_comes_when_too_many_wait_is_turned_away_at_once(models):
    model = models["quick"]
    asked = [(model, table) for table in tables(model, X, 100)]

    async def work(batcher):
        first = await gather(batcher, asked)
        return first, await gather(batcher, asked[:10])

    (first, later), _ = run(work)
    turned = [answer for answer in first if isinstance(answer, Problem)]
    assert [(one.status, one.code, one.retry_after) for one in turned] == [(503, "OVERLOADED", 1)] * 36
    assert not any(isinstance(answer, Problem) for answer in later)


def test_those_who_went_away_take_nobody_a_place(models):
    model = models["alone"]
    asked = tables(model, WHOLE, 130)

    async def work(batcher):
        tasks = [asyncio.ensure_future(batcher.answer(model, table)) for table in asked[:64]]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.sleep(0)
        return await gather(batcher, [(model, table) for table in asked[64:104]])

    answers, _ = run(work)
    assert not any(isinstance(answer, BaseException) for answer in answers)


def test_a_large_request_goes_to_the_worker_thread(models):
    model = models["quick"]
    records = plain(X) * 4
    table = read_records(orjson.dumps(records), JSON, model.signature)[0]

    async def work(batcher):
        small = tables(model, X, 1)[0]
        large = asyncio.ensure_future(batcher.answer(model, table))
        await batcher.answer(model, small)
        early = not large.done()
        return early, await large

    (early, answer), _ = run(work)
    assert early
    assert answer.predictions() == theirs(model, table)


def test_one_answer_of_so_many_is_held_against_mlflows(models):
    model = models["other"]
    asked = tables(model, X, 20)

    async def work():
        batcher = Batcher(check_every=5)
        for table in asked:
            await batcher.answer(model, table)
        batcher.close()  # waits for the checks
        return batcher

    batcher = asyncio.run(work())
    assert (batcher.checked, batcher.differed, model.path) == (4, 0, "numpy")


def test_a_way_that_goes_wrong_is_left_and_the_right_answers_go_on(models):
    model = models["other"]
    learner = model.fast.model.learner
    asked = tables(model, X, 10)
    model.fast.model.learner = learner._replace(finish=lambda raw: np.nextafter(learner.finish(raw), np.float32(2)))

    async def work():
        batcher = Batcher(check_every=2)
        for table in asked[:2]:
            await batcher.answer(model, table)
        while not batcher.differed:
            await asyncio.sleep(0.01)
        answers = [await batcher.answer(model, table) for table in asked]
        batcher.close()
        return answers

    answers = asyncio.run(work())
    assert (model.path, model.differences) == ("pyfunc", 1)
    assert [answer.predictions() for answer in answers] == [theirs(model, table) for table in asked]
