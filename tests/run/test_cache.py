"""The step cache: which steps run after which edit, what a hit leaves behind, and a cache that two projects share."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from mlflow import MlflowClient
from projects import VARIABLES, make_project
from quick import quickly

from mlops_nb.config import settings
from mlops_nb.run import key
from mlops_nb.run.cache import StepCache, verify
from mlops_nb.run.control import resume
from mlops_nb.run.delivery import sync
from mlops_nb.run.execute import run_pipeline
from mlops_nb.run.forecast import foresee
from mlops_nb.run.pipeline import make_plan, read_pipeline
from mlops_nb.run.record import list_runs
from mlops_nb.run.store import Store

COMMAND = Path(sys.executable).parent / "mlops-nb"
USE = "from mlops_nb import step"
NOTEBOOKS = {
    "01_ingest.ipynb": ("path: str = 'data.csv'", ["step.save('raw', open(path).read().split())"]),
    "02_clean.ipynb": ("least: int = 2", [
        "from lib.feats import clean",
        "cleaned = clean(step.load('raw'), least)\nstep.save('cleaned', cleaned)",
    ]),
    "03_scale.ipynb": ("factor: int = 10\nseed: int = 1", [
        "import lib.feats as feats",
        "step.save('scaled', feats.scale(step.load('cleaned'), factor))",
    ]),
    "04_report.ipynb": ("", [
        "from lib.report import Report",
        "step.attach('report.txt', Report(step.load('scaled')).render())\nstep.log(rows=len(step.load('scaled')))",
    ]),
    "05_deploy.ipynb": ("", ["step.note(f\"deployed {step.load('scaled')}\")"]),
}  # fmt: skip
MODULES = {
    "feats.py": """
UNIT = 1


def clean(words, least):
    return [word for word in words if len(word) >= least]


def scale(words, factor):
    return [UNIT * factor * len(word) for word in words]


def unused(words):
    return words
""",
    "report.py": """
from .text import heading


class Report:
    def __init__(self, values):
        self.values = values

    def render(self, sep=", "):
        return heading("report") + sep.join(map(str, self.values))
""",
    "text.py": "from lib.util import frame\n\n\ndef heading(title):\n    return frame(title) + ': '\n",
    "util.py": "def frame(title):\n    return f'[{title}]'\n\n\ndef other():\n    return 1\n",
    "__init__.py": "",
}


def make(folder: Path) -> Path:
    "The pipeline, with modules beside its notebooks."
    code = nbformat.v4.new_code_cell
    (folder / "lib").mkdir(parents=True)
    for name, text in MODULES.items():
        (folder / "lib" / name).write_text(text)
    (folder / "data.csv").write_text("a bb ccc")
    (folder / "pipeline.toml").write_text("[steps.deploy]\ncache = false\n")
    for name, (parameters, cells) in NOTEBOOKS.items():
        tagged = code(parameters, metadata={"tags": ["parameters"]})
        nb = nbformat.v4.new_notebook(cells=[tagged, code(USE), *map(code, cells)])
        nb.metadata["kernelspec"] = {"name": "python3", "display_name": "python3", "language": "python"}
        nbformat.write(nb, folder / name)
    return folder


def replace(file, old, new):
    def edit(folder, _):
        path = folder / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return edit


def cell(file, change):
    def edit(folder, _):
        notebook = nbformat.read(folder / file, 4)
        change(notebook.cells)
        nbformat.write(notebook, folder / file)

    return edit


def source(file, number, old, new):
    def change(cells):
        assert old in cells[number].source
        cells[number].source = cells[number].source.replace(old, new)

    return cell(file, change)


def newer_package(_, patch):
    installed = key.environment()
    patch.setattr(key, "environment", lambda: installed | {"xgboost": "99.0"})


def touch(folder, _):
    os.utime(folder / "data.csv", (1, 1))


ALL = "ingest clean scale report"
EDITS = {  # the edit: (how, parameters, the steps that have to run)
    "nothing": (lambda *_: None, {}, ""),
    "a comment in a cell": (source("02_clean.ipynb", 3, "cleaned = ", "# tidy\ncleaned = "), {}, ""),
    "spaces in a cell": (source("02_clean.ipynb", 3, "raw'), least", "raw'),   least"), {}, ""),
    "a Markdown cell": (cell("02_clean.ipynb", lambda c: c.insert(1, nbformat.v4.new_markdown_cell("# x"))), {}, ""),
    "an empty cell": (cell("02_clean.ipynb", lambda c: c.append(nbformat.v4.new_code_cell("# later"))), {}, ""),
    "a cell with the same result": (source("02_clean.ipynb", 3, "cleaned)", "list(cleaned))"), {}, "clean"),
    "a cell with another result": (
        source("02_clean.ipynb", 3, "cleaned)", "cleaned[1:])"), {}, "clean scale report"),
    "a helper with the same result": (
        replace("lib/feats.py", "if len(word) >= least", "if not len(word) < least"), {}, "clean"),
    "a helper with another result": (
        replace("lib/feats.py", ">= least", "> least"), {}, "clean scale report"),
    "a helper behind an alias": (
        replace("lib/feats.py", "UNIT * factor", "2 * UNIT * factor"), {}, "scale report"),
    "a constant of a helper": (replace("lib/feats.py", "UNIT = 1", "UNIT = 3"), {}, "scale report"),
    "a helper that nobody uses": (replace("lib/feats.py", "return words\n", "return words[:1]\n"), {}, ""),
    "a comment in a module": (replace("lib/feats.py", "UNIT = 1", "UNIT = 1  # of length"), {}, ""),
    "a new function in a module": (replace("lib/util.py", "def other", "def third(): pass\n\n\ndef other"), {}, ""),
    "a helper three imports away": (replace("lib/util.py", "[{title}]", "<{title}>"), {}, "report"),
    "its neighbour": (replace("lib/util.py", "return 1", "return 2"), {}, ""),
    "a method of a class": (replace("lib/report.py", "sep.join(map", "sep.strip().join(map"), {}, "report"),
    "a default argument": (replace("lib/report.py", 'sep=", "', 'sep="; "'), {}, "report"),
    "code that runs on import": (
        replace("lib/text.py", "from lib.util import frame\n", "from lib.util import frame\nprint('on import')\n"), {},
        "report"),
    "a parameter": (lambda *_: None, {"factor": 20}, "scale report"),
    "a seed": (lambda *_: None, {"seed": 2}, "scale"),
    "a parameter given as it was": (lambda *_: None, {"factor": "10"}, ""),
    "a default in the parameters cell": (source("03_scale.ipynb", 0, "= 10", "= 30"), {}, "scale report"),
    "a comment in the parameters cell": (source("03_scale.ipynb", 0, "= 10", "= 10  # times"), {}, ""),
    "the data": (replace("data.csv", "bb", "bbb"), {}, "ingest clean scale report"),
    "the data, to the same effect": (replace("data.csv", "bb ccc", "bb  ccc"), {}, "ingest"),
    "the time of the data file": (touch, {}, ""),
    "a package": (newer_package, {}, ALL),
}  # fmt: skip


@pytest.fixture(scope="module")
def cold(tmp_path_factory, empty_store):
    "The pipeline after its first run; tests work on copies of this project."
    root = make_project(tmp_path_factory.mktemp("cold"), empty_store)
    folder = make(root / "pipelines" / "words")
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        with quickly():
            run = run_pipeline(read_pipeline(folder))
    assert (run.status, [m.cached for m in run.manifests()]) == ("FINISHED", [""] * 5)
    return root


@pytest.fixture
def project(cold, tmp_path):
    root = tmp_path / "a project"
    shutil.copytree(cold, root)
    with quickly():
        yield root


@pytest.mark.parametrize("name", EDITS)
def test_exactly_those_steps_run_that_an_edit_concerns(project, monkeypatch, name):
    edit, parameters, expected = EDITS[name]
    folder, seen = project / "pipelines" / "words", {}
    edit(folder, monkeypatch)
    pipeline = read_pipeline(folder)
    ahead = {f.step: f.verdict for f in foresee(pipeline, make_plan(pipeline, parameters, last="report"))}

    def watch(event, **facts):
        if event == "step":
            seen[facts["step"]] = facts["why"]

    run = run_pipeline(pipeline, parameters, last="report", watch=watch)
    assert run.status == "FINISHED"
    assert sorted(seen) == sorted(expected.split())
    assert [m.step for m in run.manifests() if not m.cached] == [s for s in ALL.split() if s in seen]
    for step, verdict in ahead.items():  # the forecast was right, as far as it went
        assert verdict in ({"runs", "depends"} if step in seen else {"cached", "depends"})
    assert all(seen.values())


WORDS = {
    "a helper three imports away": ("report", "util.py: frame"),
    "a parameter": ("scale", "param factor 10 → 20"),
    "the data": ("ingest", "file data.csv: "),
    "a package": ("ingest", "xgboost "),
    "a cell with another result": ("clean", "cell 4"),
}


@pytest.mark.parametrize("name", WORDS)
def test_the_reason_is_named(project, monkeypatch, name):
    edit, parameters, _ = EDITS[name]
    edit(project / "pipelines" / "words", monkeypatch)
    pipeline = read_pipeline(project / "pipelines" / "words")
    (said,) = [f for f in foresee(pipeline, make_plan(pipeline, parameters)) if f.step == WORDS[name][0]]
    assert said.verdict == "runs"
    assert any(WORDS[name][1] in reason for reason in said.reasons), said


def command(project, *words, **environment):
    environment = {k: v for k, v in os.environ.items() if k not in VARIABLES} | environment
    return subprocess.run([COMMAND, *words], cwd=project, capture_output=True, text=True, env=environment)


def test_a_hit_is_a_whole_run_in_mlflow(project):
    done = command(project, "run", "words", "--to", "report", "--why", "--wait")
    assert done.returncode == 0, done.stderr
    assert "runs:" not in done.stdout
    run, first = list_runs(project)
    client = MlflowClient(settings(project).tracking_uri)
    parent = client.get_run(run.tracked()[""])
    assert parent.data.metrics["report/rows"] == 2
    child = client.get_run(run.tracked()["report/1"])
    assert child.data.tags["mlops_nb.cached"] == first.id
    files = {f.path for f in client.list_artifacts(child.info.run_id)}
    assert {"report.txt", "notebook", "step.json"} <= files
    kept = client.download_artifacts(child.info.run_id, "notebook/04_report.ipynb", str(project))
    assert nbformat.read(kept, 4).cells[-1].execution_count


def test_a_step_that_changes_the_world_runs_every_time(project, monkeypatch):
    seen = {}
    run = run_pipeline(
        read_pipeline(project / "pipelines" / "words"),
        watch=lambda event, **facts: seen.update({facts["step"]: facts["why"]} if event == "step" else {}),
    )
    assert seen == {"deploy": ["cache = false"]}
    assert run.manifests()[-1].notes == ("deployed [20, 30]",)


def test_a_step_can_be_forced_and_the_cache_left_alone(project, monkeypatch):
    pipeline = read_pipeline(project / "pipelines" / "words")
    forced = run_pipeline(pipeline, last="scale", force=["clean"])
    assert [m.step for m in forced.manifests() if not m.cached] == ["clean"]
    everything = run_pipeline(pipeline, last="clean", cache=False)
    assert [bool(m.cached) for m in everything.manifests()] == [False, False]


def test_what_a_colleague_has_computed_is_taken_from_the_shared_cache(project, tmp_path, empty_store, monkeypatch):
    monkeypatch.setenv("MLOPS_NB_CACHE", f"file://{tmp_path}/shared")
    pipeline = read_pipeline(project / "pipelines" / "words")
    mine = run_pipeline(pipeline, last="report", cache=False)
    root = make_project(tmp_path, empty_store)
    make(root / "pipelines" / "words")
    theirs = run_pipeline(read_pipeline(root / "pipelines" / "words"), last="report")
    assert [m.cached for m in theirs.manifests()] == [mine.id] * 4
    assert [m.outputs for m in theirs.manifests()] == [m.outputs for m in mine.manifests()]
    assert verify(StepCache(Store(settings(root).home))) == []


def test_a_shared_cache_that_cannot_be_used_is_told_of_once_and_stops_nothing(project, tmp_path, monkeypatch):
    blocked = tmp_path / "blocked"
    blocked.write_text("no folder")
    monkeypatch.setenv("MLOPS_NB_CACHE", f"file://{blocked}/shared")
    told = []
    watch = lambda event, **facts: told.append(facts["text"]) if event == "note" else None  # noqa: E731
    run = run_pipeline(read_pipeline(project / "pipelines" / "words"), last="clean", force=["ingest"], watch=watch)
    assert run.status == "FINISHED"
    assert len(told) == 1
    assert f"NotADirectoryError: [Errno 20] Not a directory: '{blocked}" in told[0]


def test_the_cache_is_listed_verified_and_cleaned(project):
    assert "04_report.ipynb" in command(project, "cache", "ls").stdout
    assert command(project, "cache", "verify").returncode == 0
    victim = next(p for p in (project / ".mlops_nb" / "objects").glob("*/*.json"))
    victim.write_text("{}")
    found = command(project, "cache", "verify")
    assert (found.returncode, "damaged" in found.stdout) == (1, True)
    before = {p for p in (project / ".mlops_nb").rglob("*") if p.is_file()}
    dry = command(project, "cache", "gc", "--days", "0")
    assert "--yes" in dry.stdout
    assert {p for p in (project / ".mlops_nb").rglob("*") if p.is_file()} == before
    assert "removed" in command(project, "cache", "gc", "--days", "0", "--yes").stdout
    assert command(project, "cache", "ls").stdout.strip() == "the cache is empty"


def test_resume_repeats_nothing_that_is_done_and_new_parameters_only_what_depends_on_them(project, monkeypatch):
    folder = project / "pipelines" / "words"
    (folder / "pipeline.toml").write_text("[steps.deploy]\ncache = false\n[steps.clean]\ncache = false\n")
    source("03_scale.ipynb", 3, "feats.scale(", "1 / 0, feats.scale(")(folder, None)
    failed = run_pipeline(read_pipeline(folder))
    assert failed.status == "FAILED"
    source("03_scale.ipynb", 3, "1 / 0, feats.scale(", "feats.scale(")(folder, None)
    mended = resume(read_pipeline(folder), failed)
    assert {m.step for m in mended.manifests() if not m.cached} == {"deploy"}  # clean did its work in the failed run
    other = resume(read_pipeline(folder), failed, {"factor": 7})
    assert {m.step for m in other.manifests() if not m.cached} == {"scale", "report", "deploy"}
    assert sync(project) == [r.id for r in sorted(list_runs(project), key=lambda r: r.id)]
