"""What tests of endpoints share."""

import shutil

import pytest
from endpoints import Running


@pytest.fixture
def place(house, tmp_path):
    "A copy, for one test, of the project that a module has made as `house`."
    root = tmp_path / "a project #1, 100 %"
    shutil.copytree(house, root, symlinks=True)
    return root


@pytest.fixture
def start(place, tmp_path):
    "Starts endpoints, and ends them."
    running = []

    def begin(*arguments: str, **options) -> Running:
        running.append(Running(place, *arguments, log=tmp_path / f"endpoint {len(running)}.log", **options))
        return running[-1].wait()

    yield begin
    for each in running:
        each.stop()
