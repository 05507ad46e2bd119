"Eight writers that are killed at random: what was acknowledged is there, whole, and nothing else is."

import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from mlops_nb.data.tags import collect_garbage, tag_version
from mlops_nb.data.versions import find_version, frame_digest, load_version, snapshot, versions

WRITERS, COMMITS = 8, 200
WRITER = """
import json, sys
import numpy as np, pandas as pd
from mlops_nb.data.versions import snapshot

home, writer, start = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with open(f"{home}/acknowledged-{writer}.jsonl", "a", buffering=1) as file:
    for number in range(start, 10_000):
        rng = np.random.default_rng([writer, number])
        df = pd.DataFrame({"writer": writer, "number": number, "value": rng.normal(size=rng.integers(1, 2000))})
        if number % 5 == 0:
            version = snapshot(df, "replaced", home=home, message=f"{writer}/{number}")
        else:
            version = snapshot(df, "appended", mode="append", batch=f"{writer}/{number}", home=home)
        file.write(json.dumps([number, version.name, version.version, version.digest, len(df)]) + "\\n")
"""


def start(home, writer, number):
    command = [sys.executable, "-c", WRITER, home, str(writer), str(number)]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def acknowledged(home, writer):
    path = home / f"acknowledged-{writer}.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def rows_of(writer, number):
    rng = np.random.default_rng([writer, number])
    return pd.DataFrame({"writer": writer, "number": number, "value": rng.normal(size=rng.integers(1, 2000))})


@pytest.fixture(scope="module")
def battle(tmp_path_factory):
    "200 commits of eight writers, each of which is killed now and then and goes on where it was."
    home, chance, kills = tmp_path_factory.mktemp("battle"), random.Random(7), 0
    running = {writer: start(home, writer, 0) for writer in range(WRITERS)}
    deadline = time.monotonic() + 240
    while sum(len(acknowledged(home, writer)) for writer in running) < COMMITS and time.monotonic() < deadline:
        time.sleep(chance.uniform(0.1, 0.4))
        writer = chance.randrange(WRITERS)
        if len(acknowledged(home, writer)) and running[writer].poll() is None:
            running[writer].send_signal(signal.SIGKILL)
            kills += 1
        if running[writer].poll() is not None:
            said = running[writer].communicate()[1].decode()
            assert running[writer].returncode == -signal.SIGKILL, said
            done = acknowledged(home, writer)
            running[writer] = start(home, writer, done[-1][0] + 1 if done else 0)  # the last may have come through
    for process in running.values():
        process.send_signal(signal.SIGKILL)
        process.communicate()
    told = {writer: acknowledged(home, writer) for writer in running}
    assert sum(map(len, told.values())) >= COMMITS
    assert kills >= 20
    return home, told


def test_every_acknowledged_version_is_there_with_its_digest(battle):
    home, told = battle
    known = {name: {v.version: v for v in versions(name, home=home)} for name in ("appended", "replaced")}
    for writer, lines in told.items():
        for number, name, version, digest, rows in lines:
            assert known[name][version].digest == digest
            if name == "replaced":
                assert known[name][version].rows == rows
                assert known[name][version].message == f"{writer}/{number}"
            else:
                assert known[name][version].batch == f"{writer}/{number}"


def test_every_version_can_be_read_and_none_is_torn(battle):
    home, _ = battle
    for name in ("appended", "replaced"):
        for version in versions(name, home=home):
            df = load_version(name, version.version, home=home)  # held against its digest
            assert len(df) == version.rows
            last = df[["writer", "number"]].iloc[-1]
            wrote = version.batch or version.message
            assert f"{last['writer']}/{last['number']}" == wrote


def test_no_batch_is_lost_and_none_came_twice(battle):
    home, told = battle
    df = load_version("appended", home=home)
    counts = df.groupby(["writer", "number"]).size()
    for writer, lines in told.items():
        for number, name, _, _, rows in lines:
            assert name != "appended" or counts[writer, number] == rows
    for (writer, number), group in df.groupby(["writer", "number"]):
        expected = rows_of(writer, number)
        pd.testing.assert_frame_equal(group.reset_index(drop=True), expected)
        assert group.index.max() - group.index.min() == len(group) - 1  # in one piece, too
    known = versions("appended", home=home)
    assert len({v.batch for v in known}) == len(known)
    assert [v.parent for v in known[1:]] == [v.version for v in known[:-1]]
    assert frame_digest(df) == known[-1].digest


def test_files_of_the_dead_go_by_garbage_collection_only(battle):
    home, _ = battle
    before = {v.version: v.digest for v in versions("appended", home=home)}
    files = {path.name for path in (home / "data" / "appended").glob("*.parquet")}
    old = time.time() - 3600
    for path in (home / "data" / "appended").glob("*.parquet"):
        os.utime(path, (old, old))
    kept = collect_garbage("appended", older_than=60, home=home)
    assert {path.name for path in (home / "data" / "appended").glob("*.parquet")} == files
    gone = collect_garbage("appended", older_than=60, dry=False, home=home)
    assert gone == kept
    left = {path.name for path in (home / "data" / "appended").glob("*.parquet")}
    assert files - left == {name for name, _ in gone["appended"]}
    assert {v.version: v.digest for v in versions("appended", home=home)} == before
    assert len(load_version("appended", home=home)) == versions("appended", home=home)[-1].rows


def test_a_batch_that_was_sent_again_changes_nothing(battle):
    home, told = battle
    writer, (number, _, version, digest, _) = next(
        (writer, line) for writer, lines in told.items() for line in lines if line[1] == "appended"
    )
    before = len(versions("appended", home=home))
    again = snapshot(rows_of(writer, number), "appended", mode="append", batch=f"{writer}/{number}", home=home)
    assert (again.version, again.digest) == (version, digest)
    assert len(versions("appended", home=home)) == before


@pytest.mark.parametrize("attempt", range(10))
def test_writers_that_make_a_data_set_at_the_same_moment_lose_nothing(tmp_path, attempt):
    def add(number):
        return snapshot(pd.DataFrame({"number": [number]}), "new", mode="append", home=tmp_path)

    def name(number):
        return tag_version("new", f"tag-{number}", 1, home=tmp_path)

    with ThreadPoolExecutor(4) as pool:
        added = list(pool.map(add, range(6)))
        list(pool.map(name, range(8)))
    assert sorted(load_version("new", home=tmp_path)["number"]) == list(range(6))
    assert {version.version for version in added} == {version.version for version in versions("new", home=tmp_path)}
    assert set(find_version("new", 1, home=tmp_path).tags) == {f"tag-{number}" for number in range(8)}
