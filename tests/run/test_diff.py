"""`mlops-nb diff` on two runs between which a function, a data file and a parameter were changed."""

import json

import pytest
from clones import USE, Sums
from mlflow import MlflowClient


@pytest.fixture(scope="module")
def sums(tmp_path_factory, empty_store):
    project = Sums(tmp_path_factory.mktemp("diff"), empty_store)
    project.notebook("01_draw.ipynb", USE + "\nfrom feats import clean", "df = clean(pd.read_csv('numbers.csv'))",
                     "step.save('numbers', df)", "print(len(df), 'rows; an object:', object())")  # fmt: skip
    project.notebook("02_total.ipynb", USE, "total = factor * float(step.load('numbers')['value'].sum())",
                     "step.save('total', total)\nstep.log(total=total)", parameters="factor: float = 1.0")  # fmt: skip
    project.write("feats.py", "def clean(df):\n    return df.dropna()\n")
    project.write("unused.py", "x = 1\n")
    project.write("numbers.csv", "id,value\n1,10\n2,20\n3,30\n")
    project.begin()
    return project


@pytest.fixture(scope="module")
def runs(sums):
    "A run, and one after everything was changed."
    before = sums.run("-p", "factor=2")
    sums.write("feats.py", "def clean(df):\n    return df.dropna().reset_index(drop=True)\n")
    sums.write("unused.py", "x = 2\n")
    sums.write("numbers.csv", "id,value\n1,10\n2,25\n3,30\n4,40\n")
    return before, sums.run("-p", "factor=3")


@pytest.fixture(scope="module")
def found(sums, runs):
    done = sums.call("diff", *runs, "--json")
    assert done.returncode == 1, done.stderr
    return {name: section["changes"] for name, section in json.loads(done.stdout)["sections"].items()}


def test_the_parameter_is_named(found):
    assert [(c["name"], c["before"], c["after"]) for c in found["parameters"]] == [("factor", 2.0, 3.0)]


def test_the_function_is_shown_as_a_unified_diff_and_unused_code_is_not(found):
    (change,) = found["code"]
    assert change["name"] == "pipelines/sums/feats.py"
    assert "-    return df.dropna()" in change["lines"]
    assert "+    return df.dropna().reset_index(drop=True)" in change["lines"]


def test_rows_are_matched_by_their_key_and_counted(found):
    changes = {c["name"]: c for c in found["data"]}
    assert set(changes) == {"draw reads numbers.csv", "draw:numbers", "total:total"}
    facts = changes["draw:numbers"]["facts"]
    assert (facts["key"], facts["added"], facts["removed"], facts["changed"]) == ("id", 1, 0, 1)
    assert facts["columns"] == {"value": 1}
    assert "id 2: value 20 → 25" in changes["draw:numbers"]["lines"]


def test_metrics_differ_by_how_much(found):
    (change,) = found["metrics"]
    assert change["name"] == "total/total"
    assert (change["before"], change["after"]) == (120.0, 315.0)
    assert change["facts"] == {"absolute": 195.0, "relative": 1.625}


def test_outputs_of_cells_differ_in_what_matters_only(found):
    changes = {c["name"]: c["lines"] for c in found["outputs of cells"]}
    assert set(changes) == {"draw, cell 4", "draw, cell 5"}  # the first shows the digest of what it saved
    assert changes["draw, cell 5"][1:] == ["-3 rows; an object: <object object at <address>>",
                                   "+4 rows; an object: <object object at <address>>"]  # fmt: skip


def test_equal_environments_take_no_room(found):
    assert found["environment"] == []


def test_the_terminal_is_told_in_short(sums, runs):
    done = sums.call("diff", runs[0][:8], runs[1][:8])
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert any(line.startswith("environment") and line.endswith("equal") for line in lines)
    assert "  factor 2.0 → 3.0" in lines
    assert len(lines) < 50


def test_a_run_equals_itself(sums, runs):
    done = sums.call("diff", runs[0], runs[0])
    assert done.returncode == 0, done.stdout


def test_one_step_alone(sums, runs):
    done = sums.call("diff", *runs, "--step", "draw", "--json")
    sections = json.loads(done.stdout)["sections"]
    assert [sections[name]["changes"] for name in ("parameters", "metrics")] == [[], []]
    assert [c["name"] for c in sections["data"]["changes"]] == ["draw reads numbers.csv", "draw:numbers"]


@pytest.mark.parametrize(("words", "said"), [
    (("ffffffff",), "MLflow does not know it either"),
    (("--step", "drow"), "did you mean `draw`"),
])  # fmt: skip
def test_bad_input_is_exit_code_2(sums, runs, words, said):
    names = runs if words[0].startswith("--") else runs[:1]
    done = sums.call("diff", *names, *words)
    assert done.returncode == 2
    assert said in done.stderr


def test_the_page_needs_nothing_else_and_lies_in_mlflow(sums, runs):
    done = sums.call("diff", *runs, "--html", "diff.html")
    assert done.returncode == 1, done.stderr
    page = (sums.root / "diff.html").read_text()
    assert "reset_index" in page
    assert "http" not in page
    assert "prefers" in page or "color-scheme: light dark" in page
    client = MlflowClient(sums.environment["MLFLOW_TRACKING_URI"])
    tracked = json.loads((sums.folder / "home" / "runs" / runs[1] / "tracked.json").read_text())["runs"][""]
    assert [f.path for f in client.list_artifacts(tracked, "diff")] == [f"diff/{runs[0][:8]}.html"]


def test_without_mlflow_there_is_still_the_page(sums, runs):
    done = sums.call("diff", *runs, "--html", "other.html", MLFLOW_TRACKING_URI="sqlite:////proc/no/such.db")
    assert done.returncode == 1, done.stderr
    assert "MLflow does not have the page" in done.stdout
    assert (sums.root / "other.html").exists()


def test_runs_of_another_clone_are_brought_from_mlflow(sums, runs):
    clone = sums.folder / "two"
    sums.git("clone", "-q", str(sums.root), str(clone))
    done = sums.call("diff", *runs, "--json", cwd=clone, MLOPS_NB_HOME=str(sums.folder / "other"))
    assert done.returncode == 1, done.stderr
    sections = json.loads(done.stdout)["sections"]
    assert [c["name"] for c in sections["parameters"]["changes"]] == ["factor"]
    files = [c["name"] for c in sections["code"]["changes"]]
    assert files == ["pipelines/sums/feats.py", "pipelines/sums/unused.py"]  # nobody here knows what is used
    assert "only the digests were compared" in sections["data"]["changes"][0]["lines"][0]
    assert sections["data"]["notes"]


def test_a_commit_that_is_not_here_is_said(sums, runs):
    stranger = sums.folder / "stranger"
    stranger.mkdir()
    sums.git("init", "-q", cwd=stranger)
    done = sums.call("diff", *runs, cwd=stranger)
    assert done.returncode == 1, done.stderr
    assert "which is not in this clone" in done.stdout
    assert list(sums.temporary.iterdir()) == []
