"""The sync check finds each way in which notebooks, library and README can part."""

import json
import subprocess
import sys

import check_sync
import pytest


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def files(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_project_that_agrees_passes_and_is_left_as_it_was(whole_project):
    before = files(whole_project)
    assert check_sync.check(whole_project) == []
    assert files(whole_project) == before


def test_what_was_changed_on_one_side_only_is_named_with_what_mends_it(project):
    notebook = "nbs/pipelines/heart/01_ingest.ipynb"
    edit(project / "mlops_nb" / "errors.py", "The area.", "The size.")
    edit(project / "settings.ini", "version = 0.1.0", "version = 0.2.0")
    edit(project / notebook, '"execution_count": null', '"execution_count": 7')
    edit(project / "nbs" / "index.ipynb", "The front page", "The first page")
    mend = "is not what its notebook exports; run nbdev_export (or nbdev_update, to keep the edit of the module)"
    assert check_sync.check(project) == [
        f"mlops_nb/__init__.py: {mend}",
        f"mlops_nb/errors.py: {mend}",
        f"{notebook}: is not clean; run nbdev_clean --fname '{notebook}'",
        "README.md: is not what nbs/index.ipynb gives; run python tools/build_docs.py --readme",
    ]


@pytest.mark.parametrize(
    ("path", "old", "new", "said"),
    [
        ("README.md", "front page", "back page", "README.md: is not what nbs/index.ipynb gives"),
        (
            "nbs/index.ipynb",
            "00_errors.ipynb#",
            "00_gone.ipynb#",
            "README.md: cannot be made: nbs/index.ipynb: the link",
        ),
        ("nbs/00_errors.ipynb", '"cells"', '<<<<<<< HEAD\n"cells"', "nbs/00_errors.ipynb: is no notebook"),
    ],
)
def test_a_single_fault_is_found_alone(project, path, old, new, said):
    edit(project / path, old, new)
    (found,) = check_sync.check(project)
    assert found.startswith(said)


def test_modules_too_many_and_too_few_are_named(project):
    (project / "mlops_nb" / "stray.py").write_text("x = 1\n")
    (project / "mlops_nb" / "errors.py").unlink()
    found = check_sync.check(project)
    assert "mlops_nb/stray.py: no notebook exports it; delete it" in found
    assert "mlops_nb/errors.py: is missing; run nbdev_export" in found


def test_a_notebook_that_does_not_export_is_a_failure_and_no_traceback(project, monkeypatch, capsys):
    edit(project / "nbs" / "00_errors.ipynb", "#| default_exp errors", "#| default_exp")
    monkeypatch.setattr(check_sync, "ROOT", project)
    assert check_sync.main() == 1
    assert capsys.readouterr().err


def test_the_check_is_not_fooled_by_the_variable_that_makes_nbdev_export_nothing(project, monkeypatch):
    monkeypatch.setenv("IN_TEST", "1")
    assert check_sync.check(project) == []


def test_checkpoints_of_jupyterlab_do_not_count(project):
    stale = project / "nbs" / ".ipynb_checkpoints" / "00_errors-checkpoint.ipynb"
    stale.parent.mkdir()
    notebook = json.loads((project / "nbs" / "00_errors.ipynb").read_text(encoding="utf-8"))
    stale.write_text(json.dumps(notebook))
    assert check_sync.check(project) == []


def test_the_command_says_so_in_one_line(whole_project):
    code = "import sys, pathlib, check_sync; check_sync.ROOT = pathlib.Path(sys.argv[1]); sys.exit(check_sync.main())"
    folder = check_sync.__file__.rpartition("/")[0]
    ran = subprocess.run([sys.executable, "-c", code, whole_project], cwd=folder, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "Notebooks, library and README agree.\n", "")
