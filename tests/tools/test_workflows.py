"""The workflows of GitHub Actions, which nobody can run here: what can be checked of them is."""

import re
from configparser import ConfigParser

import pytest
import yaml
from docs_project import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(path):
    return [step for job in read(path)["jobs"].values() for step in job["steps"]]


def test_there_are_workflows_for_tests_and_for_the_site():
    assert [path.name for path in WORKFLOWS] == ["docs.yml", "test.yml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_is_whole(path):
    workflow = read(path)
    assert workflow[True]["push"]["branches"] == ["main"]  # YAML reads `on` as a truth value, and GitHub knows it
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert re.fullmatch(r"ubuntu-\d\d\.04", job["runs-on"])
        assert set(job.get("needs", "").split()) <= set(workflow["jobs"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_and_targets_exist(path):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for step in steps(path):
        if "uses" in step:
            assert re.fullmatch(r"[\w.-]+/[\w./-]+@v\d+", step["uses"])
        for target in re.findall(r"^make ([a-z-]+)", step.get("run", ""), re.MULTILINE):
            assert target in targets


def test_the_oldest_python_that_is_supported_is_tested():
    settings = ConfigParser(delimiters=["="])
    settings.read(ROOT / "settings.ini", encoding="utf-8")
    workflow = read(ROOT / ".github" / "workflows" / "test.yml")
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"][0] == settings["DEFAULT"]["min_python"]


def test_the_caches_depend_on_the_lock_that_is_installed():
    for path in WORKFLOWS:
        for step in steps(path):
            if step.get("uses", "").startswith("actions/cache@"):
                (lock,) = re.findall(r"hashFiles\('([^']+)'\)", step["with"]["key"])
                assert (ROOT / lock).is_file()


def test_the_published_site_is_told_from_the_preview_by_words_that_the_preview_has():
    from docsite.pages import NOTICE

    (searched,) = re.findall(r"grep -rl '([^']+)'", str([step.get("run") for step in steps(WORKFLOWS[0])]))
    assert searched in NOTICE
