"Many promote at once, and any of them may die at any moment: one champion, and a history that is whole."

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from databases import postgres
from mlflow.exceptions import MlflowException
from servers import QUIET, tracking_server

from mlops_nb.errors import RegistryError, TrackingError
from mlops_nb.model import ledger, registry, store
from mlops_nb.model.gate import Check, Verdict
from mlops_nb.model.ledger import Entry, Ledger
from mlops_nb.model.standing import decide, replay
from mlops_nb.model.versions import aliases_of

PASSED = Verdict((Check("roc_auc >= 0.7", 0.8, 0.7, True, "roc_auc 0.800 on 139 rows"),))
PROMOTER = Path(__file__).with_name("promoter.py")


def kill_by_chance(children: dict[str, str], seconds: float, chance: random.Random) -> None:
    "Let them work until they were told something a few times, then kill one after the other, whatever they do."
    deadline = time.monotonic() + 120
    while sum(path.read_bytes().count(b'"told": "done"') for path in map(Path, children.values()) if path.exists()) < 4:
        assert time.monotonic() < deadline, "the promoters did not start"
        time.sleep(0.05)
    left = list(map(int, children))
    chance.shuffle(left)
    for child in left:
        time.sleep(chance.uniform(0, 2 * seconds / len(left)))
        os.kill(child, signal.SIGKILL)


def promote_and_kill(place: Path, folder: Path, address: str, rounds: int, count: int, seconds: float) -> list[Path]:
    "Rounds of so many promoters each, none of whom survives; their journals."
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")} | QUIET
    environment |= {"MLFLOW_TRACKING_URI": address, "OMP_NUM_THREADS": "1", "MLFLOW_LOGGING_LEVEL": "CRITICAL"}
    command = [sys.executable, str(PROMOTER), str(place), str(folder), str(rounds), str(count)]
    chance, journals = random.Random(1), []
    nursery = subprocess.Popen(command, env=environment, cwd=place, stdout=subprocess.PIPE, start_new_session=True)
    try:
        for _ in range(rounds):
            children = json.loads(nursery.stdout.readline())
            journals += map(Path, children.values())
            kill_by_chance(children, seconds, chance)
        assert nursery.wait(60) == 0
    finally:
        if nursery.poll() is None:
            os.killpg(nursery.pid, signal.SIGKILL)
            nursery.wait()
    return journals


def reigned(entries: list, version: int, since: str, until: str) -> bool:
    "Whether a version was the champion at some time between two moments."
    since, until = (datetime.fromisoformat(at) for at in (since, until))
    begins = [(datetime.fromisoformat(entry.at), entry.after) for entry in entries]
    ends = [at + timedelta(seconds=2) for at, _ in begins[1:]] + [until]  # an entry is dated before it is written
    return any(after == version and at <= until and end >= since for (at, after), end in zip(begins, ends, strict=True))


def check(journals: list[Path], already: int) -> Counter:
    "One champion, a history that is complete and holds nothing else, and aliases that follow it."
    lines = [json.loads(line) for path in journals for line in path.read_bytes().split(b"\n")[:-1]]
    asked = {line["asked"]: line["at"] for line in lines if "asked" in line}
    told = {line["mark"]: line for line in lines if "told" in line}
    entries = Ledger("heart").entries()
    new = entries[already:]
    assert {entry.what for entry in new} <= {"promoted", "rolled back"}  # no alias seems to be moved by hand
    written = Counter(entry.why for entry in new)
    assert set(written) <= set(asked)
    assert max(written.values()) == 1
    for mark, line in told.items():
        if line["told"] == "done":  # it is written, or there was nothing to do
            assert mark in written or reigned(entries, line["version"], asked[mark], line["at"]), line
        elif not line["told"].startswith("TrackingError"):  # a store that did not answer may have written it
            assert mark not in written, line
    champion = None
    for entry in entries:
        assert entry.before == champion
        champion = entry.after
    assert registry.champion("heart").version == champion
    registry.register(registry.load_model("heart").model, "heart", rows(), PASSED)  # whoever comes next ...
    assert aliases_of("heart") == replay(Ledger("heart").entries()).aliases  # ... puts the aliases right
    report = registry.audit("heart")
    assert report.passed, report
    return Counter(line["told"] for line in told.values()) + Counter(written=len(new))


def rows():
    import pandas as pd
    from projects import HEART

    return pd.read_csv(HEART / "data" / "saheart.csv").drop(columns="chd")


class Killed(BaseException):
    "Stands for kill -9: nothing that cleans up after an ordinary error sees it."


class Mortal:
    "A client of MLflow whose process dies before a certain call that writes, or right after it."

    WRITES = ("log_param", "log_batch", "set_tag", "delete_tag", "set_registered_model_alias",
              "set_registered_model_tag", "delete_registered_model_alias", "set_model_version_tag")  # fmt: skip

    def __init__(self, client, last: int, after: bool):
        self._client, self._left, self._after = client, last, after

    def __getattr__(self, name: str):
        call = getattr(self._client, name)
        if name not in self.WRITES:
            return call

        def write(*arguments, **options):
            self._left -= 1
            if self._left < 0 or (self._left == 0 and not self._after):
                raise Killed(name)
            call(*arguments, **options)
            if self._left == 0:
                raise Killed(name)

        return write


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_whoever_dies_at_any_step_leaves_one_champion_and_a_whole_history(project, heart, models, monkeypatch, after):
    for model in models:
        registry.register(model, "heart", heart.X, PASSED)
    registry.promote("heart", 1, PASSED)
    client = store.current_client()
    for step in range(1, 100):
        before = registry.champion("heart").version
        other = 3 - before
        monkeypatch.setattr(ledger, "registry_client", lambda last=step: Mortal(client, last, after))
        try:
            registry.promote("heart", other, PASSED, reason=f"try {step}")
        except Killed:
            monkeypatch.setattr(ledger, "registry_client", lambda: client)
            decided = [entry.after for entry in registry.history("heart") if entry.why == f"try {step}"]
            assert registry.champion("heart").version == (decided or [before])[-1]
            assert aliases_of("heart")["champion"] in (before, other)
            assert registry.audit("heart", files=False).passed  # nothing looks as if a hand had moved it
            registry.mend_aliases("heart")
            assert registry.audit("heart", files=False).passed
            assert aliases_of("heart") == replay(Ledger("heart").entries()).aliases
            assert "moved by hand" not in [entry.what for entry in registry.history("heart")]
        else:
            break
    assert step > 8  # all places at which one can die were tried


def test_an_answer_that_is_lost_is_not_a_promotion_that_is_lost(project, heart, models, monkeypatch):
    class Deaf(Mortal):
        WRITES = ("log_param",)

        def __getattr__(self, name):
            call = getattr(self._client, name)

            def write(*arguments):
                call(*arguments)
                raise MlflowException("the connection was reset")

            return write if name in self.WRITES else call

    client = store.current_client()
    registry.register(models[0], "heart", heart.X, PASSED)
    monkeypatch.setattr(ledger, "registry_client", lambda: Deaf(client, 0, True))
    assert registry.promote("heart", 1, PASSED).aliases == ("champion",)
    assert [entry.what for entry in registry.history("heart")] == ["registered", "promoted"]


def test_aliases_that_cannot_be_moved_do_not_hide_the_decision(project, heart, models, monkeypatch):
    class Stuck(Mortal):
        def __getattr__(self, name):
            def refuse(*_):
                raise MlflowException("the disk is full")

            return refuse if name == "set_registered_model_alias" else getattr(self._client, name)

    client = store.current_client()
    registry.register(models[0], "heart", heart.X, PASSED)
    monkeypatch.setattr(ledger, "registry_client", lambda: Stuck(client, 0, True))
    with pytest.raises(TrackingError, match=r"version 1 is the champion \(decision 2\)"):
        registry.promote("heart", 1)
    monkeypatch.setattr(ledger, "registry_client", lambda: client)
    assert registry.champion("heart").version == 1
    assert "champion" not in aliases_of("heart")
    registry.promote("heart", 1)  # nothing to decide, but something to finish
    assert aliases_of("heart")["champion"] == 1


def test_a_model_that_mlflow_knew_before_keeps_its_champion(project, heart, models):
    client = store.current_client()
    for model in models:
        registry.register(model, "heart", heart.X, PASSED)
    client.delete_experiment(client.get_experiment_by_name("heart (decisions)").experiment_id)
    with pytest.raises(RegistryError, match="history of `heart` was deleted"):
        registry.champion("heart")
    client.rename_registered_model("heart", "old")  # under another name it has no history
    client.set_registered_model_alias("old", "champion", "1")
    assert "champion   1 → 2" in str(registry.plan_promotion("old", 2))
    assert registry.promote("old", 2).aliases == ("champion",)
    assert [entry.what for entry in registry.history("old")] == ["began", "promoted"]
    assert registry.find_version("old@previous").version == 1
    assert registry.rollback("old", "it was better").version == 1


def test_the_same_evidence_at_the_same_moment(project, heart, models):
    registry.register(models[0], "heart", heart.X, PASSED)

    def note(i: int) -> None:
        mine = Ledger("heart")
        decide(mine, lambda standing: (Entry("approved", 1, why=str(i)), {"long": "x" * 20_000}))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(note, range(16)))
    entries = Ledger("heart").entries()
    assert {entry.why for entry in entries[1:]} == set(map(str, range(16)))
    assert registry.audit("heart").passed


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("kind", "rounds", "seconds"), [("sqlite", 2, 3.0), ("server", 1, 5.0), ("postgres", 1, 4.0)])
def test_sixteen_promoters_are_killed(project, heart, models, tmp_path, monkeypatch, kind, rounds, seconds):
    with ExitStack() as stack:
        if kind == "sqlite":
            address = f"sqlite:///{project}/mlflow.db"
        elif kind == "server":
            address = stack.enter_context(tracking_server(project)).address
        else:
            server = stack.enter_context(postgres())
            server.sql("ALTER ROLE ann PASSWORD 'plain'; ALTER DATABASE clinic OWNER TO ann")
            address = server.address.replace("ann@", "ann:plain@")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        store.connect(project)
        for model in models * 2:
            registry.register(model, "heart", heart.X, PASSED)
        registry.promote("heart", 1, PASSED)
        already = len(Ledger("heart").entries())
        counts = check(promote_and_kill(project, tmp_path, address, rounds, 16, seconds), already)
        print(kind, dict(counts))
        assert counts["written"] >= 1
        known = {"done", "too late", "written", "`heart` has no previous champion to go back to"}
        told = {line.removeprefix("RegistryError: ") for line in counts if not line.startswith("TrackingError")}
        assert told <= known
