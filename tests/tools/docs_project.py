"""A small project, in a path with a space: a front page, a lesson with every kind of output, a pipeline notebook."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))  # the scripts under test

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABh6FO1AAAAABJRU5ErkJggg=="  # one pixel
SETTINGS = (ROOT / "settings.ini").read_text(encoding="utf-8")


def write_notebook(path: Path, *cells) -> Path:
    "Write a notebook: a string is a markdown cell, a tuple of a source and its outputs a code cell."
    import nbformat

    made = []
    for k, cell in enumerate(cells):
        source, outputs = (cell, None) if isinstance(cell, str) else cell
        new = nbformat.v4.new_markdown_cell(source) if outputs is None else nbformat.v4.new_code_cell(source)
        if outputs:
            new.outputs = [nbformat.from_dict(output) for output in outputs]
        new.id = f"cell{k}"
        made.append(new)
    path.parent.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.v4.new_notebook(cells=made)
    notebook.metadata.kernelspec = {"display_name": "python3", "language": "python", "name": "python3"}
    nbformat.write(notebook, path)
    return path


def result(**data) -> dict:
    "The output of a cell's last expression; `html` stands for text/html, and so on."
    mimes = {"html": "text/html", "png": "image/png", "plain": "text/plain", "markdown": "text/markdown"}
    shown = {mimes[kind]: value for kind, value in data.items()}
    return {"output_type": "execute_result", "execution_count": None, "metadata": {}, "data": shown}


def printed(text: str) -> dict:
    return {"output_type": "stream", "name": "stdout", "text": text}


def make_project(root: Path) -> Path:
    "A project that exports, agrees with itself, and holds every kind of thing that a page shows."
    root.mkdir(parents=True)
    (root / "settings.ini").write_text(SETTINGS, encoding="utf-8")
    (root / "_quarto.yml").write_text((ROOT / "_quarto.yml").read_text(encoding="utf-8"), encoding="utf-8")
    for name in ("_quarto.yml", "styles.css"):
        (root / "nbs").mkdir(exist_ok=True)
        (root / "nbs" / name).write_text((ROOT / "nbs" / name).read_text(encoding="utf-8"), encoding="utf-8")
    (root / "nbs" / "images").mkdir()
    (root / "nbs" / "images" / "run.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    (root / "nbs" / "notes.md").write_text("# Notes\n")
    write_notebook(
        root / "nbs" / "index.ipynb",
        "# mlops_nb\n\n> The front page",
        "Start with [the lesson](00_errors.ipynb#shapes), see [notes](notes.md), `area` and `Shape.scale`.",
        "::: {.callout-warning}\n## Mind the step\nIt is high.\n:::\n\n::: {.callout-note}\nPlain.\n:::",
        "![A run, from the side](images/run.svg)",
        ("1 + 1", [result(plain="2")]),
    )
    write_notebook(
        root / "nbs" / "00_errors.ipynb",
        "# errors\n\n> Shapes and *their* areas",
        ("#| default_exp errors", []),
        ("#| export\nfrom __future__ import annotations\nimport math", []),
        "## Shapes\n\nA circle has the area $\\pi r^2$; `Shape.scale` and `area` say the rest, `_secret` does not.",
        (
            '#| export\ndef area(\n    of: Shape,  # Measured by `Shape`\n) -> float:  # [cm²]\n    "The area."',
            [],
        ),
        ('#| export\nclass Shape:\n    "A shape."\n    def scale(self): "Make it larger."', []),
        ("#| export\ndef _secret(): pass", []),
        ("print('```\\n  fenced')", [printed("```\n  fenced\n")]),
        ("table", [result(html="<table><tr><td>cell</td></tr></table>", plain="table")]),
        ("verdict", [result(html='<b style="color: red">no</b>', plain="verdict")]),
        ("plot()", [result(png=PIXEL, plain="<Figure>")]),
        ('#| fig-alt: "Two "\n#| fig-cap: "Caption & all"\nplot()', [result(png=PIXEL, plain="<Figure>")]),
        ("#| echo: false\nprint('x')", [printed("only this")]),
        ("#| include: false\nhidden = 1", [printed("never this")]),
    )
    write_notebook(
        root / "nbs" / "pipelines" / "heart" / "01_ingest.ipynb",
        "# Ingest\n\n> Read the patients",
        ("from pathlib import Path", []),
        "## Read\n\nBack to [the lesson](../../00_errors.ipynb).",
        ("print(Path)", []),
    )
    (root / "mlops_nb").mkdir()
    (root / "mlops_nb" / "__init__.py").write_text('__version__ = "0.1.0"\n')
    made = "from nbdev.doclinks import nbdev_export as e; from nbdev.clean import nbdev_clean as c; e.__wrapped__(); "
    subprocess.run([sys.executable, "-c", made + "c.__wrapped__()"], cwd=root, check=True)
    from docsite.readme import make_readme

    (root / "README.md").write_text(make_readme(root), encoding="utf-8")
    return root
