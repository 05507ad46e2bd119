"`mlops-nb models` and `mlops-nb audit`, as people and scripts call them."

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mlops_nb.cli import main
from mlops_nb.model import registry
from mlops_nb.model.gate import Check, Verdict
from mlops_nb.model.versions import aliases_of

COMMAND = Path(sys.executable).parent / "mlops-nb"
PASSED = Verdict((Check("roc_auc >= 0.7", 0.8, 0.7, True, "roc_auc 0.800 on 139 rows"),))
REFUSED = Verdict((Check("roc_auc >= 0.7", 0.6, 0.7, False, "roc_auc 0.600 on 139 rows"),))


@pytest.fixture
def call(project, heart, models, monkeypatch):
    "A project with three versions, the last one refused by its gate, and the command in its folder."
    monkeypatch.setenv("MLOPS_NB_USER", "ann")
    for model, verdict in ((models[0], PASSED), (models[1], PASSED), (models[1], REFUSED)):
        registry.register(model, "heart", heart.X, verdict)

    monkeypatch.chdir(project)

    def make(*words: str, user: str = "ann"):
        return CliRunner().invoke(main, words, env={"MLOPS_NB_USER": user}, catch_exceptions=False)

    make.project = project
    return make


def decisions(call) -> list[tuple]:
    "What the command tells of the history: what, version, champion until then and from then on, newest first."
    rows = json.loads(call("models", "history", "heart", "--json").stdout)
    return [(row["what"], row["version"], row["before"], row["after"]) for row in rows]


def test_promotion_rollback_and_history(call):
    for version in ("1", "2"):
        done = call("models", "promote", "heart", version)
        assert (done.exit_code, done.stdout) == (0, f"heart version {version} is the champion\n")
    done = call("models", "rollback", "heart", "--reason", "calls everybody sick")
    assert (done.exit_code, done.stdout) == (0, "heart version 1 is the champion\n")
    assert decisions(call)[:3] == [("rolled back", 1, 2, 1), ("promoted", 2, 1, 2), ("promoted", 1, None, 1)]
    shown = call("models", "history", "heart").stdout.splitlines()
    assert shown[1].split()[3:6] == ["ann", "rolled", "back"]
    assert "2 → 1" in shown[1]
    assert "calls everybody sick" in shown[1]
    assert len(call("models", "history", "heart", "-n", "2").stdout.splitlines()) == 3


def test_a_dry_run_changes_nothing(call):
    call("models", "promote", "heart", "1")
    before = decisions(call), aliases_of("heart")
    done = call("models", "promote", "heart", "2", "--dry-run")
    assert done.exit_code == 0
    assert "champion   1 → 2" in done.stdout
    assert call("models", "promote", "heart", "3", "--dry-run").exit_code == 1
    report = json.loads(call("models", "promote", "heart", "2", "--dry-run", "--json").stdout)
    assert (report["before"]["champion"], report["after"]["champion"], report["changes"]) == (1, 2, True)
    assert call("models", "rollback", "heart", "--reason", "x", "--dry-run").exit_code == 2
    assert (decisions(call), aliases_of("heart")) == before


def test_the_gate_says_no_and_force_needs_a_reason(call):
    done = call("models", "promote", "heart", "3")
    assert done.exit_code == 1
    assert "roc_auc 0.600 on 139 rows" in done.stderr
    assert "Traceback" not in done.stderr
    assert call("models", "promote", "heart", "3", "--force").exit_code == 2
    assert call("models", "promote", "heart", "3", "--force", "--reason", "ticket 812").exit_code == 0
    newest = json.loads(call("models", "history", "heart", "--json", "-n", "1").stdout)[0]
    assert newest["why"] == "ticket 812"
    assert "refused" in newest["facts"]["bypassed"][0]


def test_whoever_is_too_late_is_told_by_whom(call):
    call("models", "promote", "heart", "1", user="ben")
    done = call("models", "promote", "heart", "2", "--seen", "0")
    assert done.exit_code == 1
    assert "ben promoted version 1 (decision 5)" in done.stderr
    assert registry.champion("heart").version == 1
    assert call("models", "promote", "heart", "2", "--seen", "1").exit_code == 0


def test_a_signature_opens_the_way(call):
    asked = call("models", "approve", "heart", "--ask", "role:risk", "--may", "risk=ben,carl", "--reason", "patients")
    assert asked.exit_code == 0
    refused = call("models", "promote", "heart", "1")
    assert refused.exit_code == 1
    assert "have not signed: role:risk" in refused.stderr
    assert "models approve heart 1" in refused.stderr
    assert call("models", "approve", "heart", "1", "--role", "risk").exit_code == 1  # ann is not on the list
    signed = call("models", "approve", "heart", "1", "--role", "risk", "--comment", "looked", user="ben")
    assert signed.exit_code == 0
    assert call("models", "promote", "heart", "2").exit_code == 1  # another version
    assert call("models", "promote", "heart", "1").exit_code == 0
    shown = call("models", "history", "heart").stdout
    assert "approved" in shown
    assert "as risk" in shown


def test_a_script_reads_what_is_in_production(call):
    call("models", "promote", "heart", "2")
    (row,) = json.loads(call("models", "ls", "--json").stdout)
    assert (row["name"], row["champion"], row["challenger"]) == ("heart", 2, None)
    shown = json.loads(call("models", "show", "heart@champion", "--json").stdout)
    assert (shown["version"], shown["verdict"]["passed"], shown["uri"]) == (2, True, "models:/heart/2")
    missing = subprocess.run([COMMAND, "models", "show", "haert", "--json"], capture_output=True, text=True)
    assert (missing.returncode, "Traceback" in missing.stderr) == (2, False)
    assert "did you mean `heart`?" in json.loads(missing.stdout)["error"]["fix"]


def test_an_audit_finds_what_was_done_past_the_history(call):
    call("models", "promote", "heart", "1")
    call("models", "promote", "heart", "2")
    whole = call("audit", "verify")
    assert whole.exit_code == 0
    head = json.loads(call("audit", "verify", "heart", "--json").stdout)[0]["head"]
    registry.connect(call.project).set_registered_model_alias("heart", "champion", "1")
    done = call("audit", "verify", "heart", "--head", head)
    assert done.exit_code == 1
    assert "moved by hand" in done.stdout
    assert call("audit", "verify", "heart", "--mend").exit_code == 0
    assert aliases_of("heart")["champion"] == 2
    assert decisions(call)[0][0] == "moved by hand"
    with sqlite3.connect(call.project / "mlflow.db") as database:
        database.execute(
            """UPDATE params SET value = replace(value, '"by":"ann"', '"by":"eve"') WHERE key = '000005'"""
        )
    done = call("audit", "verify", "heart")
    assert done.exit_code == 1
    assert "entry 5: `by` changed" in done.stdout
    assert call("models", "rollback", "heart", "--reason", "x").exit_code == 2
    assert call("audit", "verify", "heart", "--accept", "looked at it").exit_code == 0
    assert call("models", "rollback", "heart", "--reason", "x").exit_code == 0
    assert "· entry 5: `by` changed" in call("audit", "verify").stdout


def test_no_way_back_to_files_that_are_damaged(call):
    for version in ("1", "2"):
        call("models", "promote", "heart", version)
    model = registry.connect(call.project).get_model_version("heart", "1").source.rpartition("/")[2]
    (weights,) = (call.project / "mlartifacts").rglob(f"{model}/**/model.skops")
    weights.write_bytes(weights.read_bytes()[:-1])
    for words in (["--dry-run"], []):
        done = call("models", "rollback", "heart", "--reason", "x", *words)
        assert done.exit_code == 2
        assert "the files of heart version 1" in done.stderr
    weights.unlink()
    assert call("models", "rollback", "heart", "--reason", "x").exit_code == 2
    assert registry.champion("heart").version == 2
    assert call("audit", "verify").exit_code == 1
