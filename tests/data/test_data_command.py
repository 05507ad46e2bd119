"`mlops-nb data`, as people and scripts call it."

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from projects import make_project

from mlops_nb.data.tags import tag_version
from mlops_nb.data.versions import load_version, snapshot, versions

COMMAND = Path(sys.executable).parent / "mlops-nb"


@pytest.fixture
def call(root, monkeypatch):
    "A project with three versions of its patients, and the command in its folder."
    home = root / ".mlops_nb"
    for ages in ([63], [63, 46], [63, 47, 58]):
        df = pd.DataFrame({"id": range(len(ages)), "age": ages})
        snapshot(df, "patients", key="id", message=f"{len(ages)} patients", home=home)

    def make(*words):
        return subprocess.run([COMMAND, "data", *words], cwd=root, capture_output=True, text=True)

    make.home = home
    return make


def test_what_there_is_is_listed_for_people_and_programs(call):
    tag_version("patients", "first", 1, call.home)
    shown = call("ls", "patients").stdout.splitlines()
    assert [line.split()[1] for line in shown[1:]] == ["3", "2", "1"]
    assert "first" in shown[3]
    assert "1 patients" in shown[3]
    rows = json.loads(call("ls", "patients", "--json").stdout)
    assert [(row["version"], row["rows"], row["tags"]) for row in rows] == [(3, 3, []), (2, 2, []), (1, 1, ["first"])]
    assert [row["name"] for row in json.loads(call("ls", "--json").stdout)] == ["patients"]


def test_an_empty_project_has_nothing_to_list_or_to_remove(tmp_path, empty_store):
    root = make_project(tmp_path, empty_store)
    for words, said in (
        (["ls"], "there are no data sets"),
        (["gc"], "0 versions, 0 bytes; 0 left-over files, 0 bytes"),
    ):
        done = subprocess.run([COMMAND, "data", *words], cwd=root, capture_output=True, text=True)
        assert (done.returncode, done.stdout.strip()) == (0, said)


def test_a_version_is_shown_by_number_digest_and_tag(call):
    tag_version("patients", "first", 1, call.home)
    digest = versions("patients", call.home)[0].digest
    for which in ("1", digest[:9], "first"):
        done = call("show", "patients", which)
        assert done.returncode == 0
        assert digest in done.stdout
        assert "63" in done.stdout
        assert json.loads(call("show", "patients", which, "--json").stdout)["version"] == 1
    assert "did you mean `patients`" in call("show", "patient").stderr


def test_a_difference_is_exit_code_1_and_a_page(call):
    done = call("diff", "patients", "2", "--html", "diff.html")
    assert done.returncode == 1
    assert "1 added, 0 removed, 1 changed" in done.stdout
    assert "age=46 -> 47" in done.stdout
    assert "<svg" in (call.home.parent / "diff.html").read_text()
    assert json.loads(call("diff", "patients", "2", "3", "--json").stdout)["columns"] == {"age": 1}
    assert call("diff", "patients", "3").returncode == 0
    assert call("diff", "patients", "9").returncode == 2
    wrong = call("diff", "patients", "1", "--key", "idd", "--json")
    assert (wrong.returncode, "did you mean `id`" in json.loads(wrong.stdout)["error"]["fix"]) == (2, True)


def test_a_tag_is_given_moved_and_taken(call):
    assert "is version 3" in call("tag", "patients", "production").stdout
    assert "is version 2" in call("tag", "patients", "production", "2").stdout
    assert len(load_version("patients", "production", home=call.home)) == 2
    assert call("tag", "patients", "production", "--remove").returncode == 0
    assert call("tag", "patients", "production", "--remove").returncode == 2
    assert call("tag", "patients", "123").returncode == 2


def test_nothing_goes_without_a_yes_and_never_what_is_named(call):
    home, size = call.home, sum(v.size for v in versions("patients", call.home)[:2])
    said = call("gc", "--keep", "1").stdout
    assert f"2 versions, {size} bytes; 0 left-over files" in said
    assert "data gc --keep 1 --yes" in said
    assert not any(v.gone for v in versions("patients", home))
    tag_version("patients", "first", 1, home)
    assert call("gc", "--keep", "1", "--yes").stdout.splitlines()[-1].startswith("1 version, ")
    assert [bool(v.gone) for v in versions("patients", home)] == [False, True, False]
    assert "removed" in call("ls", "patients").stdout
    gone = call("show", "patients", "2", "--json")
    assert json.loads(gone.stdout)["gone"].endswith("older than the newest 1")
    assert call("diff", "patients", "2").returncode == 2


def test_versions_that_a_run_made_or_read_stay(root, write):
    cells = (
        "from mlops_nb import step\nfrom mlops_nb.data.versions import load_version, snapshot\nimport pandas as pd",
        "snapshot(pd.DataFrame({'a': range(rows)}), 'made')\nload_version('read', 1)\nstep.log(rows=rows)",
    )
    write(root / "pipelines" / "keep" / "01_keep.ipynb", *cells, parameters="rows: int = 1")
    home = root / ".mlops_nb"
    for name in ("read", "made"):
        snapshot(pd.DataFrame({"a": range(10)}), name, home=home)
    done = subprocess.run([COMMAND, "run", "keep"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("read", "made"):
        snapshot(pd.DataFrame({"a": range(20)}), name, home=home)
    done = subprocess.run([COMMAND, "data", "gc", "--keep", "1", "--yes"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [bool(v.gone) for v in versions("made", home)] == [True, False, False]
    assert [bool(v.gone) for v in versions("read", home)] == [False, False]
