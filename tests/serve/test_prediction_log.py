"Whatever is killed, full or folded: an answer that was promised to be in the log is there, once."

import asyncio
import errno
import multiprocessing
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as some
from mortal import die_at
from servers import QUIET

from mlops_nb.errors import DataError
from mlops_nb.serve import compaction
from mlops_nb.serve import segments as segments_module
from mlops_nb.serve.predictions import Logged, PredictionLog, compact, prune, read_predictions
from mlops_nb.serve.segments import FAST_LINES, LogError, segments

WRITER = Path(__file__).with_name("log_writer.py")
DAY = 86_400.0
PAST = 1_793_600_000.0  # a day that is over


def start_writer(folder: Path, durability: str, rotate: float = 300.0) -> subprocess.Popen:
    command = [sys.executable, str(WRITER), str(folder), durability, str(rotate)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | QUIET)


def kill(writer: subprocess.Popen, after: float = 0.0) -> list[str]:
    "Kill a writer some time after its first answer; what it was promised."
    told = writer.stdout.read(1)
    time.sleep(after)
    writer.kill()
    told += writer.stdout.read()
    writer.wait()
    return told.decode().split("\n")[:-1]


def answer(name: str, at: float = PAST, values=(52, "Present"), output=0.25, **more) -> Logged:
    names = [f"column{i}" for i in range(len(values))]
    table = SimpleNamespace(signature=SimpleNamespace(names=names), values=[list(values)])
    facts = {"model": "heart", "version": 1, "role": "champion", "latency_ms": 0.8, "output": [output]} | more
    return Logged(name, at, table=table, **facts)


@pytest.mark.parametrize("durability", ["ack", "disk"])
def test_a_killed_writer_loses_nothing_that_it_was_promised(tmp_path, durability):
    chance, promised = random.Random(1), []
    for _ in range(3):
        writers = [start_writer(tmp_path / "log", durability, 0.05) for _ in range(3)]
        for writer in writers:
            promised += kill(writer, chance.uniform(0, 0.2))
    found = read_predictions(tmp_path / "log")["request_id"]
    assert found.is_unique
    assert set(promised) <= set(found)
    assert len(found) - len(promised) <= 9  # written, and killed before it could be told
    compact(tmp_path / "log")
    assert set(read_predictions(tmp_path / "log")["request_id"]) == set(found)


def test_fast_loses_at_most_what_it_says(tmp_path):
    promised = kill(start_writer(tmp_path / "log", "fast"), 1.5)
    found = set(read_predictions(tmp_path / "log")["request_id"])
    lost = [name for name in promised if name not in found]
    assert lost == promised[len(promised) - len(lost) :]  # the last ones
    assert len(found) > 0
    assert len(lost) <= FAST_LINES


def test_fast_writes_within_a_second_although_nothing_more_comes(tmp_path):
    log = PredictionLog(tmp_path / "log", "fast")
    log.write_now([answer("only")])
    assert read_predictions(tmp_path / "log").empty
    time.sleep(1.5)
    assert list(read_predictions(tmp_path / "log")["request_id"]) == ["only"]
    log.close()


def test_off_writes_nothing(tmp_path):
    log = PredictionLog(tmp_path / "log", "off")
    log.write_now([answer("never")])
    asyncio.run(log.write([answer("never")]))
    assert not (tmp_path / "log").exists()


def test_many_answers_share_a_trip_to_the_disk(tmp_path, monkeypatch):
    trips, real = [], os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda place: (trips.append(place), time.sleep(0.01), real(place)))

    async def write_many(log):
        await asyncio.gather(*(log.write([answer(f"r{number}")]) for number in range(200)))

    with closing(PredictionLog(tmp_path / "log", "disk")) as log:
        asyncio.run(write_many(log))
    assert len(read_predictions(tmp_path / "log")) == 200
    assert len(trips) <= 3


def test_whoever_stops_waiting_stops_nobody_else(tmp_path):
    async def write(log):
        tasks = [asyncio.create_task(log.write([answer(f"r{number}")])) for number in range(5)]
        await asyncio.sleep(0)
        tasks[2].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    with closing(PredictionLog(tmp_path / "log", "disk")) as log:
        told = asyncio.run(write(log))
    assert [type(each) for each in told].count(asyncio.CancelledError) == 1
    assert len(read_predictions(tmp_path / "log")) >= 4


@pytest.mark.parametrize(("call", "durability"), [("write", "ack"), ("write", "disk"), ("fdatasync", "disk")])
def test_a_failing_disk_is_told_and_leaves_whole_lines(tmp_path, monkeypatch, call, durability):
    real = getattr(os, call)

    def fail(place, *data):
        if call == "write":
            real(place, bytes(data[0])[:20])  # half a line gets through
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with closing(PredictionLog(tmp_path / "log", durability)) as log:
        log.write_now([answer("before")])
        monkeypatch.setattr(segments_module.os, call, fail)
        with pytest.raises(LogError, match="Input/output error"):
            log.write_now([answer("lost")])
        assert "Input/output error" in log.trouble
        monkeypatch.undo()
        log.write_now([answer("after")])
        assert (log.written, log.lost, log.trouble) == (2, 1, "")
    assert sorted(read_predictions(tmp_path / "log")["request_id"]) == ["after", "before"]
    assert compact(tmp_path / "log").damaged == 0


def test_a_log_that_is_not_required_counts_what_it_loses(tmp_path, monkeypatch):
    def fail(place, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    log = PredictionLog(tmp_path / "log", required=False)
    with monkeypatch.context() as patched:
        patched.setattr(segments_module.os, "write", fail)
        for _ in range(3):
            log.write_now([answer("lost")])
    assert (log.written, log.lost) == (0, 3)
    assert "No space left" in log.trouble
    assert segments(tmp_path / "log" / "predictions") == []  # no empty file for each


def test_a_file_that_somebody_removes_is_begun_again(tmp_path):
    with closing(PredictionLog(tmp_path / "log")) as log:
        log.write_now([answer("removed")])
        segments(tmp_path / "log" / "predictions")[0].unlink()
        time.sleep(1.5)
        log.write_now([answer("kept")])
    assert list(read_predictions(tmp_path / "log")["request_id"]) == ["kept"]


def test_nobody_else_can_look_into_the_log(tmp_path):
    with closing(PredictionLog(tmp_path / "log")) as log:
        log.write_now([answer("one"), answer("two", PAST + DAY)])
    compact(tmp_path / "log")
    with closing(PredictionLog(tmp_path / "log")) as log:
        log.write_now([answer("three")])
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "log").rglob("*") if path.is_file()}
        assert {mode for path, mode in modes.items() if path.suffix in (".jsonl", ".parquet")} == {0o600}
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o700


def test_private_values_are_nowhere_on_the_disk(tmp_path):
    private = {"column0": "drop", "column1": "hash", "entity": "hash", "caller": "drop"}
    with closing(PredictionLog(tmp_path / "log", private=private, key="a key for this test alone")) as log:
        values = ("Miriam-7701", "Postcode-7702")
        log.write_now([answer("one", values=values, entity=["Patient-7703"], caller="Caller-7704")])
        held = b"".join(path.read_bytes() for path in segments(tmp_path / "log" / "predictions"))
    compact(tmp_path / "log")
    found = read_predictions(tmp_path / "log").astype(str).to_csv().encode()
    for text in (b"7701", b"7702", b"7703", b"7704"):
        assert text not in held + found


def test_readers_find_each_answer_once_while_others_write_and_compact(tmp_path):
    folder, stop, promised, problems = tmp_path / "log", threading.Event(), [], []
    writers = [start_writer(folder, "ack", 0.1) for _ in range(2)]

    def listen(writer):
        for line in writer.stdout:
            promised.append(line.decode().rstrip("\n"))

    def tidy():
        while not stop.wait(0.05):
            try:
                compact(folder)
            except Exception as error:
                problems.append(error)

    threads = [threading.Thread(target=listen, args=(writer,)) for writer in writers] + [threading.Thread(target=tidy)]
    while not folder.exists():
        time.sleep(0.05)
    for thread in threads:
        thread.start()
    try:
        deadline = time.monotonic() + 6
        while time.monotonic() < deadline:
            before = set(promised)
            found = read_predictions(folder)["request_id"]
            assert found.is_unique
            assert before <= set(found)
    finally:
        for writer in writers:
            writer.kill()
        stop.set()
        for thread in threads:
            thread.join()
    assert not problems
    assert set(promised) <= set(read_predictions(folder)["request_id"])
    assert len(promised) > 500


def test_a_compaction_that_is_killed_at_any_step_loses_and_doubles_nothing(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mlops_nb.serve.compaction", "pyarrow.parquet", "pyarrow.compute", "duckdb"])
    names, killed = {f"r{number}" for number in range(12)}, 0
    for call in range(1, 200):
        folder = tmp_path / f"log{call}"
        for number in range(0, 12, 4):  # three segments, each over two days, one of them today's
            with closing(PredictionLog(folder)) as log:
                now = time.time()
                log.write_now([answer(f"r{number + i}", now - DAY * (2 * (i % 2))) for i in range(4)])
        process = context.Process(target=die_at, args=(call, str(folder)))
        process.start()
        process.join(60)
        found = read_predictions(folder)["request_id"]
        assert found.is_unique
        assert set(found) == names, f"step {call}"
        compact(folder)
        again = read_predictions(folder)["request_id"]
        assert again.is_unique
        assert set(again) == names, f"after step {call}"
        assert segments(folder / "predictions") == []
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        killed += 1
    assert process.exitcode == 0
    assert killed > 20


def test_columns_and_types_may_change_between_versions(tmp_path):
    rows = [
        (1, (1, "a", True, None), 0.5), (1, (2.5, "b", False, None), 1.5), (2, ("three", 4, None, [1, 2]), "yes"),
        (2, (None, None, None, {"k": None}), None), (3, (2**62, 1e300, True), [0.25, 0.75]), (3, (5,), [1.0, 2.0, 3.0]),
    ]  # fmt: skip
    for number, (version, values, output) in enumerate(rows):
        with closing(PredictionLog(tmp_path / "log")) as log:
            classes = ["no", "yes"] if isinstance(output, list) and len(output) == 2 else None
            log.write_now([answer(f"r{number}", PAST + number, values, output, version=version, classes=classes)])
    before = read_predictions(tmp_path / "log")
    done = compact(tmp_path / "log")
    assert (done.segments, done.merged) == (6, 3)
    pd.testing.assert_frame_equal(read_predictions(tmp_path / "log"), before)
    assert list(before["column0"]) == ["1", "2.5", "three", None, str(2**62), "5"]
    assert list(read_predictions(tmp_path / "log", version=1)["column0"]) == [1.0, 2.5]
    assert list(before["prediction"]) == ["0.5", "1.5", "yes", None, "yes", None]


def test_names_of_columns_may_differ_in_their_case_alone_or_be_odd(tmp_path):
    names, facts = ["Age", "age", "row", "prediction", "q\"x'", "a.b"], {"model": "heart", "version": 1}
    for number in range(2):
        table = SimpleNamespace(signature=SimpleNamespace(names=names), values=[list(range(number, number + 6))])
        with closing(PredictionLog(tmp_path)) as log:
            log.write_now([Logged(f"r{number}", PAST + number, **facts, role="champion", latency_ms=1.0, table=table,
                                  output=[0.5])])  # fmt: skip
    before = read_predictions(tmp_path)
    assert list(before.columns[10:]) == ["Age", "age", "input.row", "input.prediction", "q\"x'", "a.b", "prediction"]
    assert compact(tmp_path).merged == 1
    pd.testing.assert_frame_equal(read_predictions(tmp_path), before)
    assert before.iloc[1, 10:16].tolist() == [1, 2, 3, 4, 5, 6]


def test_an_answer_counts_rather_than_the_failure_before_it(tmp_path):
    with closing(PredictionLog(tmp_path / "log")) as log:
        failed = answer("r", PAST, error="TIMEOUT", output=None)
        log.write_now([failed, answer("r", PAST + 1, output=0.5), answer("r", PAST + 2, output=0.75)])
        log.write_now([Logged("bad", PAST + 3, "heart", 1, "champion", 0.1, error="MISSING_COLUMNS")])
    for _ in range(2):
        found = read_predictions(tmp_path / "log")
        assert list(found["prediction"].dropna()) == [0.5]
        assert list(found["error"]) == [None, "MISSING_COLUMNS"]
        compact(tmp_path / "log")


def test_only_one_compacts_at_a_time(tmp_path):
    with closing(PredictionLog(tmp_path / "log")) as log:
        log.write_now([answer("one")])
    with compaction._alone(tmp_path / "log" / "predictions"), pytest.raises(DataError, match="already"):
        compact(tmp_path / "log")


def test_pruning_takes_old_days_and_nothing_else(tmp_path):
    now = time.time()
    with closing(PredictionLog(tmp_path / "log")) as log:
        log.write_now([answer(f"r{days}", now - days * DAY) for days in range(10)])
    compact(tmp_path / "log")
    with closing(PredictionLog(tmp_path / "log")) as log:
        log.write_now([answer("forgotten", now - 20 * DAY)])
    os.utime(segments(tmp_path / "log" / "predictions")[0], (now - 20 * DAY, now - 20 * DAY))
    with closing(PredictionLog(tmp_path / "log")) as log:
        log.write_now([answer("written now", now)])
        assert prune(tmp_path / "log", 4.5 * DAY).rows in (4, 5)
        prune(tmp_path / "log", 4.5 * DAY, dry=False)
    left = set(read_predictions(tmp_path / "log")["request_id"])
    assert {f"r{days}" for days in range(5)} | {"written now"} <= left
    assert not {f"r{days}" for days in range(6, 10)} & left
    assert "forgotten" not in left


def test_arrays_of_all_kinds_become_rows(tmp_path):
    outputs = [np.array([1.5, 2.5], np.float32), np.array([[1, 2], [3, 4]])[:, ::-1], np.array(["a", "b"]), [1, 2],
               pd.DataFrame({"low": [1, 2], "high": [3, 4]}), pd.Series([5, 6])]  # fmt: skip
    table = SimpleNamespace(signature=SimpleNamespace(names=["x"]), values=[[1], [2]])
    with closing(PredictionLog(tmp_path / "log")) as log:
        for number, output in enumerate(outputs):
            log.write_now([Logged(f"r{number}", PAST + number, "m", number, "shadow", 1.0, table=table, output=output)])
    read = [read_predictions(tmp_path / "log", version=number).iloc[:, 11:] for number in range(len(outputs))]
    assert [list(each.columns) for each in read] == [
        ["prediction"], ["0", "1"], ["prediction"], ["prediction"], ["low", "high"], ["prediction"]]  # fmt: skip
    assert [each.values.tolist() for each in read] == [
        [[1.5], [2.5]], [[2, 1], [4, 3]], [["a"], ["b"]], [[1], [2]], [[1, 3], [2, 4]], [[5], [6]]]  # fmt: skip


TEXT = some.text(some.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = {
    "number": some.floats(allow_nan=False, allow_infinity=False),
    "whole": some.integers(-(2**63), 2**63 - 1),
    "text": TEXT,
    "flag": some.booleans(),
}


@some.composite
def tables(draw):
    "Names and kinds of columns, and rows of them, with holes."
    names = draw(some.lists(TEXT, min_size=1, max_size=4, unique=True))
    kinds = [draw(some.sampled_from(list(VALUES))) for _ in names]
    row = some.tuples(*(some.none() | VALUES[kind] for kind in kinds))
    return names, draw(some.lists(row, min_size=1, max_size=6))


@effort(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=tables())
def test_what_was_sent_is_what_is_read_before_and_after_folding(tmp_path_factory, found):
    folder, (names, rows) = tmp_path_factory.mktemp("log"), found
    for number, row in enumerate(rows):  # a segment each, so that folding has to merge them
        table = SimpleNamespace(signature=SimpleNamespace(names=names), values=[list(row)])
        with closing(PredictionLog(folder)) as log:
            log.write_now([Logged(f"r{number}", PAST + number, "m", 1, "champion", 1.0, table=table, output=[0.5])])
    first = read_predictions(folder)
    for name, sent in zip(names, zip(*rows, strict=True), strict=True):
        read = first[name if name in first and f"input.{name}" not in first else f"input.{name}"]
        for back, value in zip(read, sent, strict=True):
            assert pd.isna(back) if value is None else back == value or float(back) == float(value)
    compact(folder)
    pd.testing.assert_frame_equal(read_predictions(folder), first)
