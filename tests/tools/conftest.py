"""The small project of `docs_project`, whole and to be broken."""

import shutil
from pathlib import Path

import pytest
from docs_project import make_project


@pytest.fixture(scope="session")
def whole_project(tmp_path_factory):
    "The project as it should be; not to be changed."
    return make_project(tmp_path_factory.mktemp("docs") / "a project")


@pytest.fixture
def project(whole_project, tmp_path):
    "The same, to be broken."
    return Path(shutil.copytree(whole_project, tmp_path / "a project"))
