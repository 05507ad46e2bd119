"""Build the site into `_docs`, with Quarto where it is installed, else as a preview with pandoc; or write README.md.

    .venv/bin/python tools/build_docs.py               the site
    .venv/bin/python tools/build_docs.py --preview     the preview, even where Quarto is installed
    .venv/bin/python tools/build_docs.py --readme      README.md, from nbs/index.ipynb

Nothing is asked, fetched or installed, and the working tree keeps no trace but the result.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from docsite import SiteError
from docsite.check import check_notebook, check_site
from docsite.pages import build_preview
from docsite.process import copy_sources, process
from docsite.readme import make_readme

ROOT = Path(__file__).resolve().parents[1]


def fail_on(problems: list[str], what: str) -> None:
    if problems:
        raise SiteError("\n".join([f"{what}: {len(problems)} problem(s)", *(f"  - {line}" for line in problems)]))


def check_sources(copy: Path) -> None:
    "What would spoil the site is found before the long work."
    notebooks = sorted(path for path in (copy / "nbs").rglob("*.ipynb") if not path.name.startswith((".", "_")))
    problems = [line for path in notebooks for line in check_notebook(path, path.relative_to(copy).as_posix())]
    fail_on(problems, "these notebooks cannot become pages")


def build_quarto(processed: Path) -> None:
    "The real thing. Its output is shown only when it fails."
    ran = subprocess.run(["quarto", "render", "--no-cache"], cwd=processed, capture_output=True, text=True)
    if ran.returncode:
        raise SiteError(f"quarto render failed:\n{ran.stdout}{ran.stderr}")


def build_site(root: Path, preview: bool) -> str:
    "Build in a copy, and put the result in place when it is sound; return what to say about it."
    maker = "pandoc, a preview" if preview or not shutil.which("quarto") else "Quarto"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / root.name
        copy.mkdir()
        copy_sources(root, copy)
        check_sources(copy)
        process(copy)
        built = copy / "_proc" / "_docs"
        if maker == "Quarto":
            build_quarto(copy / "_proc")
        else:
            build_preview(copy / "_proc", built)
        fail_on(check_site(built), "these pages are not sound")
        shutil.rmtree(root / "_docs", ignore_errors=True)
        shutil.move(built, root / "_docs")
    return f"{len(list((root / '_docs').rglob('*.html')))} pages in _docs, made by {maker}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readme", action="store_true", help="write README.md and build nothing else")
    parser.add_argument("--preview", action="store_true", help="do not use Quarto, even where it is installed")
    given = parser.parse_args()
    try:
        if given.readme:
            (ROOT / "README.md").write_text(make_readme(ROOT), encoding="utf-8", newline="\n")
            print("README.md written from nbs/index.ipynb")
        else:
            print(build_site(ROOT, given.preview))
    except SiteError as error:
        print(f"build_docs: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
