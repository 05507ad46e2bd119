"""What a release hands out is whole: CONTRIBUTING tells how it is built."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser

import pytest
from docs_project import ROOT


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    "The wheel and the source distribution, the wheel made from the latter."
    copy = tmp_path_factory.mktemp("release") / "a copy"
    copy.mkdir()
    for name in ("settings.ini", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "mlops_nb", copy / "mlops_nb", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-W", "error::DeprecationWarning", "-m", "build", "--no-isolation"]
    ran = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return next((copy / "dist").glob("*.whl")), next((copy / "dist").glob("*.tar.gz"))


def test_the_wheel_holds_every_module_and_nothing_else(built):
    names = {name for name in zipfile.ZipFile(built[0]).namelist() if ".dist-info/" not in name}
    assert names == {path.relative_to(ROOT).as_posix() for path in (ROOT / "mlops_nb").rglob("*.py")}


def test_the_wheel_says_what_it_needs_and_offers(built):
    settings = ConfigParser(delimiters=["="])
    settings.read(ROOT / "settings.ini", encoding="utf-8")
    wheel = zipfile.ZipFile(built[0])
    info = {name.rpartition("/")[2]: name for name in wheel.namelist() if ".dist-info/" in name}
    metadata = wheel.read(info["METADATA"]).decode()
    needed = settings["DEFAULT"]["requirements"].split()
    assert len(
        [line for line in metadata.splitlines() if line.startswith("Requires-Dist: ") and "extra" not in line]
    ) == (len(needed))
    assert f"Version: {settings['DEFAULT']['version']}" in metadata
    assert "mlops-nb = mlops_nb.cli:main" in wheel.read(info["entry_points.txt"]).decode()


def test_the_source_distribution_can_build_itself(built):
    with tarfile.open(built[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"settings.ini", "setup.py", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"} <= names


def test_what_contributing_names_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    targets = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in text.split("`"):
        if word.startswith("make ") and "\n" not in word:
            assert f"\n{word.split()[1]}:" in targets
        if word.startswith("tools/") and "\n" not in word:
            assert (ROOT / word.split()[0]).exists(), word
