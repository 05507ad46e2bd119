"""Fail when notebooks, library and README do not agree: say which file, and the command that mends it.

Everything is made anew in a temporary copy and compared; the working tree stays as it is.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from docsite import SiteError
from docsite.config import load_settings
from docsite.readme import make_readme

ROOT = Path(__file__).resolve().parents[1]
REMAKE = """
import warnings
from pathlib import Path
from nbdev.clean import nbdev_clean
from nbdev.doclinks import nbdev_export
warnings.simplefilter("error", UserWarning)  # nbdev_clean only warns about a notebook that it cannot read
nbdev_export.__wrapped__()
nbdev_clean.__wrapped__()
"""


def notebooks(folder: Path) -> dict[str, Path]:
    "The notebooks below `folder`, without JupyterLab's checkpoints."
    found = {path.relative_to(folder): path for path in folder.rglob("*.ipynb")}
    return {name.as_posix(): path for name, path in found.items() if not any(part[0] == "." for part in name.parts)}


def unreadable(root: Path, settings: dict) -> list[str]:
    "Notebooks that are no notebooks, such as those with the marks of a merge in them."
    problems = []
    for name, path in sorted(notebooks(root / settings["nbs_path"]).items()):
        try:
            json.loads(path.read_text(encoding="utf-8"))["cells"]
        except (ValueError, KeyError, TypeError) as error:
            problems.append(f"{settings['nbs_path']}/{name}: is no notebook ({error}); restore it, or run nbdev_fix")
    return problems


def remake(root: Path, copy: Path, settings: dict) -> None:
    "Export and clean the notebooks of `root` in `copy`, which starts with no module but the hand-made `__init__`."
    library = settings["lib_path"]
    shutil.copy2(root / "settings.ini", copy)
    for name, path in notebooks(root / settings["nbs_path"]).items():
        target = copy / settings["nbs_path"] / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    (copy / library).mkdir()
    if (root / library / "__init__.py").exists():
        shutil.copyfile(root / library / "__init__.py", copy / library / "__init__.py")
    quiet = {name: value for name, value in os.environ.items() if name != "IN_TEST"}  # nbdev_export skips under it
    ran = subprocess.run([sys.executable, "-c", REMAKE], cwd=copy, env=quiet, capture_output=True, text=True)
    if ran.returncode:
        raise SiteError(f"nbdev cannot export the notebooks:\n{ran.stderr.strip()}")


def same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def check_library(root: Path, copy: Path, library: str) -> list[str]:
    "Every module is what the notebooks export, and there is no other."
    made = {path.relative_to(copy).as_posix() for path in (copy / library).rglob("*.py")}
    have = {path.relative_to(root).as_posix() for path in (root / library).rglob("*.py")}
    problems = [f"{name}: no notebook exports it; delete it" for name in sorted(have - made)]
    problems += [f"{name}: is missing; run nbdev_export" for name in sorted(made - have)]
    problems += [
        f"{name}: is not what its notebook exports; run nbdev_export (or nbdev_update, to keep the edit of the module)"
        for name in sorted(have & made)
        if not same(root / name, copy / name)
    ]
    return problems


def check_clean(root: Path, copy: Path, folder: str) -> list[str]:
    "Every notebook is as nbdev_clean leaves it."
    return [
        f"{folder}/{name}: is not clean; run nbdev_clean --fname '{folder}/{name}'"
        for name, path in sorted(notebooks(root / folder).items())
        if not same(path, copy / folder / name)
    ]


def check_readme(root: Path) -> list[str]:
    "README.md is what the front page gives."
    path = root / "README.md"
    try:
        if path.is_file() and path.read_bytes() == make_readme(root).encode():
            return []
    except SiteError as error:
        return [f"README.md: cannot be made: {error}"]
    return ["README.md: is not what nbs/index.ipynb gives; run python tools/build_docs.py --readme"]


def check(root: Path) -> list[str]:
    "What does not agree in the project in `root`."
    settings = load_settings(root)
    if problems := unreadable(root, settings):
        return problems
    with tempfile.TemporaryDirectory() as folder:
        remake(root, Path(folder), settings)
        problems = check_library(root, Path(folder), settings["lib_path"])
        problems += check_clean(root, Path(folder), settings["nbs_path"])
    return problems + check_readme(root)


def main() -> int:
    try:
        problems = check(ROOT)
    except SiteError as error:
        problems = [str(error)]
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print("Notebooks, library and README agree.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
