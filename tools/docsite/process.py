"""The notebooks as nbdev prepares them for Quarto: front matter, `show_doc`, links; without asking for Quarto.

`python -m docsite` runs it in a process of its own: a lesson's cells may print, warn and change what they please.
"""

import contextlib
import io
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import yaml

from . import SiteError
from .config import make_sidebar
from .notebook import joined, split_options

TOOLS = Path(__file__).resolve().parents[1]
SKIPPED = shutil.ignore_patterns(
    ".*", "_proc", "_docs", "__pycache__", "*.pyc", "mlruns", "mlartifacts", "mlflow.db*", "sidebar.yml", "nbdev.yml"
)


def copy_sources(root: Path, copy: Path) -> None:
    "Copy what the site is made of, so that building leaves no trace in the working tree."
    for name in ("settings.ini", "_quarto.yml"):
        shutil.copy2(root / name, copy)
    for name in ("nbs", "mlops_nb"):
        shutil.copytree(root / name, copy / name, ignore=SKIPPED)


def process(folder: Path, *notebook: str) -> str:
    "Run `python -m docsite` in `folder`; return what it printed, raise `SiteError` with what it complained of."
    path = os.pathsep.join(filter(None, [str(folder), str(TOOLS), os.environ.get("PYTHONPATH")]))
    ran = subprocess.run(
        [sys.executable, "-m", "docsite", *notebook],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path, "PYTHONUTF8": "1", "IN_TEST": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    if ran.returncode:
        raise SiteError(f"nbdev cannot process the notebooks:\n{ran.stderr.strip()}")
    return ran.stdout


def prepare_worker() -> None:
    """Let `show_doc` write an annotation as it stands when its name is not there yet.

    That is so for a class that comes later in the lesson, and for what is imported for type checkers only.
    """
    from fastcore import docments

    strict = docments.signature

    def signature(symbol, *, eval_str: bool = False, **options):
        try:
            return strict(symbol, eval_str=eval_str, **options)
        except NameError:
            return strict(symbol, **options)

    docments.signature = signature
    warnings.simplefilter("ignore")


def processed(source: str) -> str:
    "One notebook as nbdev processes it."
    from execnb.nbio import nb2str, read_nb
    from nbdev.processors import FilterDefaults

    notebook = read_nb(source)
    FilterDefaults()(notebook)
    heading = notebook.frontmatter_.get("title", "")
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = (re.findall(r"^#+ +(.+?)(?: *\{.*\})?$", cell.source, re.MULTILINE) or [heading])[-1]
        for data in (output.get("data", {}) for output in cell.get("outputs", [])):
            if "text/markdown" in data:
                data["text/markdown"] = unlink_code(joined(data["text/markdown"]))
            if any(mime.startswith("image/") for mime in data):
                cell.source = give_text(cell.source, heading)
    return nb2str(notebook)


def give_text(source: str, heading: str) -> str:
    "A cell that shows a picture, with a text for those who cannot see it: its own, or else the heading above it."
    if split_options(source)[0].keys() & {"fig-alt", "fig-cap"}:
        return source
    return f"#| fig-alt: {json.dumps(f'Picture: {heading}', ensure_ascii=False)}\n{source}"


def unlink_code(markdown: str) -> str:
    "Take links out of fenced code: nbdev puts them into the comments of a signature, where they cannot work."
    parts = re.split(r"(^```.*?^```)", markdown, flags=re.MULTILINE | re.DOTALL)
    parts[1::2] = [re.sub(r"\[(`[^`\n]+`)\]\([^)\n]*\)", r"\1", code) for code in parts[1::2]]
    return "".join(parts)


def write_processed(source: str) -> str:
    "Put a processed notebook into _proc; return what went wrong, or nothing."
    try:
        target = Path("_proc") / Path(source).relative_to("nbs")
        target.write_text(processed(source), encoding="utf-8")
    except Exception as error:  # whatever a cell raises has to be told with the name of its notebook
        cause = error.__cause__ or error
        return f"{source}: {error}\n    {type(cause).__name__}: {cause}"
    return ""


def process_all() -> list[str]:
    "What `nbdev_proc_nbs` does, less its offer to install Quarto; return what went wrong."
    from nbdev.quarto import refresh_quarto_yml

    with contextlib.redirect_stdout(io.StringIO()):  # it remarks on `custom_quarto_yml` every time
        refresh_quarto_yml()
    sources = [path for path in Path("nbs").rglob("*.ipynb") if not path.name.startswith("_")]
    sidebar = make_sidebar(path.relative_to("nbs").as_posix() for path in sources)
    plain = yaml.safe_dump({"website": {"sidebar": {"contents": sidebar}}}, sort_keys=False)
    Path("nbs/sidebar.yml").write_text(plain, encoding="utf-8")
    shutil.rmtree("_proc", ignore_errors=True)
    shutil.copytree("nbs", "_proc", ignore=shutil.ignore_patterns("*.ipynb", "*.py", "_[!q]*"))
    largest_first = sorted(sources, key=lambda path: -path.stat().st_size)
    spawn, number = multiprocessing.get_context("spawn"), min(4, os.cpu_count() or 1)
    with ProcessPoolExecutor(number, mp_context=spawn, initializer=prepare_worker) as workers:
        return [problem for problem in workers.map(write_processed, map(str, largest_first)) if problem]
