"""What must not be on a site: saved errors, unknown options, markup that leaked, links that lead nowhere."""

import ast
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .notebook import joined, split_options

FLAGS = {"default_exp", "export", "exporti", "exports", "hide", "hide_line", "exec_doc", "notest", "slow"}
OPTIONS = {"echo", "eval", "include", "output", "fig-alt", "fig-cap", "code-fold", "code-summary"}
LEAKS = {
    r"^ *:::+": "a fence of colons",
    r"\{#[\w-]+\}|\{\.[\w-]+": "an attribute",
    r"^#\| ": "a cell option",
    r"(?<![\w/])\?{0,1}@(?:fig|tbl|eq|sec)-\w+": "a cross reference, which the preview does not know",
    r"\]\((?:https?:|\.\.?/)": "a link",
    r"\{\{<": "a short code",
    r"[\x00-\x08\x0b\x0c\x0e-\x1f]": "a control character",
}


def check_notebook(path: Path, name: str) -> list[str]:
    "What is wrong with a notebook as a source of a page."
    every = json.loads(path.read_text(encoding="utf-8"))["cells"]
    wrong = [f"{name}, first cell: {problem}" for problem in _lost_text(every[0])] if every else []
    cells = [cell for cell in every if cell["cell_type"] == "code"]
    read = [split_options(joined(cell["source"])) for cell in cells]
    is_lesson = any(options.keys() & {"export", "exports", "exporti"} for options, _ in read)
    for k, (cell, (options, code)) in enumerate(zip(cells, read, strict=True), 1):
        where = f"{name}, code cell {k}"
        for option, value in options.items():
            if option not in (FLAGS if value is True and option not in OPTIONS else OPTIONS):
                wrong.append(f"{where}: unknown cell option `{option}`")
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                wrong.append(f"{where}: a saved output is an error: {output['ename']}: {output['evalue']}")
        if is_lesson and options.get("eval") is not False and not options.keys() & FLAGS - {"hide", "notest", "slow"}:
            wrong += [f"{where}: {problem}" for problem in _mixed_imports(code)]
    return wrong


def _lost_text(cell: dict) -> list[str]:
    "nbdev takes title, description and settings from the first cell, and drops whatever else it says."
    lines = joined(cell["source"]).splitlines()
    if cell["cell_type"] != "markdown" or not lines or not lines[0].startswith("# "):
        return []
    lost = [line for line in lines[1:] if line.strip() and not re.match(r">|- ", line)]
    return [f"what follows the description would not be on the page, give it a cell: {lost[0][:60]!r}"] if lost else []


def _mixed_imports(code: str) -> list[str]:
    "The documentation build runs every cell that imports: such a cell has to do nothing else."
    try:
        body = ast.parse(code).body
    except SyntaxError:
        return []  # a magic; running the lesson says more about it
    inner = [node for statement in body for node in ast.walk(statement)]
    imports = any(isinstance(node, ast.Import | ast.ImportFrom) for node in inner)
    if imports and any(isinstance(node, ast.Expr | ast.Assign) for node in inner):
        return ["imports stand beside other code, and the documentation build would run it all: give them their cell"]
    return []


class PageText(HTMLParser):
    "The ids and the links of a page, and the text of its sections without code and styles."

    SILENT = ("script", "style")
    VOID = ("img", "br", "hr", "input", "meta", "link", "col", "wbr", "source")

    def __init__(self, page: str):
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.pictures_without_text: list[str] = []
        self.prose = ""
        self.sections: list[dict[str, str]] = [{"id": "", "section": "", "text": ""}]
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        found = dict(attributes)
        self.ids |= {found["id"]} if found.get("id") else set()
        inside = "main" in self.open
        self.links += [found[name] for name in ("href", "src") if inside and found.get(name) is not None]
        if tag == "img" and not (found.get("alt") or "").strip():
            self.pictures_without_text.append(found.get("src", ""))
        if inside and tag in ("h2", "h3"):
            self.sections.append({"id": found.get("id", ""), "section": "", "text": ""})
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while tag in self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "main" not in self.open or set(self.open) & {*self.SILENT, "nav", "h1"}:
            return
        heading = set(self.open) & {"h2", "h3"}
        self.sections[-1]["section" if heading else "text"] += data
        if not set(self.open) & {"pre", "code", "math"}:
            self.prose += data

    def search_entries(self, address: str, title: str) -> list[dict[str, str]]:
        "What the search knows of this page: an entry for each section."
        return [
            {
                "href": address + (f"#{part['id']}" if part["id"] else ""),
                "title": title,
                "section": part["section"].strip(),
                "text": " ".join(part["text"].split())[:1500],
            }
            for part in self.sections
            if part["section"] or part["text"].strip()
        ]


def check_site(site: Path) -> list[str]:
    "What is wrong with the pages in `site`; only the text of a page is looked at, not what is around it."
    pages = {
        path.relative_to(site).as_posix(): PageText(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")
    }
    wrong = []
    for address, page in sorted(pages.items()):
        for pattern, what in LEAKS.items():
            if found := re.search(pattern, page.prose, re.MULTILINE):
                line = page.prose[found.start() :].splitlines()[0][:60]
                wrong.append(f"{address}: {what} leaked into the text: {line}")
        wrong += [f"{address}: the picture {source} has no alt text" for source in page.pictures_without_text]
        for url in page.links:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc or url in ("", "#"):
                continue
            target = os.path.normpath(os.path.join(os.path.dirname(address), unquote(parts.path)))
            target = target if parts.path else address
            if not (site / target).is_file():
                wrong.append(f"{address}: the link to {url} leads nowhere")
            elif target in pages and parts.fragment and unquote(parts.fragment) not in pages[target].ids:
                wrong.append(f"{address}: the link to {url} leads to a page, but nothing there has this id")
    return wrong
