"""Links and call-outs in pandoc's tree of a page."""

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pypandoc

from . import SiteError

READER = "markdown+autolink_bare_uris-citations"
CALLOUTS = ("note", "tip", "warning", "caution", "important")


def pandoc(text: str, *options: str) -> str:
    "What pandoc makes of `text`."
    ran = subprocess.run(
        [pypandoc.get_pandoc_path(), *options], input=text, capture_output=True, text=True, encoding="utf-8"
    )
    if ran.returncode or ran.stderr:
        raise SiteError(f"pandoc: {ran.stderr.strip() or ran.returncode}")
    return ran.stdout


def parse(markdown: str, reader: str = READER) -> dict:
    "pandoc's tree of a page."
    return json.loads(pandoc(markdown, "-f", reader, "-t", "json"))


def nodes(tree: Any) -> Iterator[dict]:
    "Every element of a tree, the outer before the inner; what was visited may be changed."
    if isinstance(tree, list):
        for item in tree:
            yield from nodes(item)
    elif isinstance(tree, dict):
        if "t" in tree:
            yield tree
        for item in list(tree.values()):
            yield from nodes(item)


def anchors(tree: dict) -> set[str]:
    "What a link into the page can point at."
    found = set()
    for node in nodes(tree):
        if node["t"] == "Header":
            found.add(node["c"][1][0])
        elif node["t"] in ("Div", "Span", "CodeBlock", "Code"):
            found.add(node["c"][0][0])
    return found - {""}


def change_links(tree: dict, change: Callable[[str], str | None]) -> None:
    "Let `change` rewrite the target of every link and picture; a link for which it gives None becomes its text."
    for node in nodes(tree["blocks"]):
        if node["t"] in ("Link", "Image"):
            target = change(node["c"][2][0])
            if target is None:
                node["t"], node["c"] = "Span", [["", [], []], node["c"][1]]
            else:
                node["c"][2][0] = target


def change_callouts(tree: dict) -> None:
    "Turn Quarto's call-outs into what pandoc writes as an alert: `.note` with a `.title`, and likewise."
    for node in nodes(tree["blocks"]):
        if node["t"] != "Div":
            continue
        (name, classes, pairs), blocks = node["c"]
        kind = next((word.removeprefix("callout-") for word in classes if word.startswith("callout-")), None)
        if kind is None:
            continue
        if kind not in CALLOUTS:
            raise SiteError(f"there is no call-out `{kind}`; choose one of {', '.join(CALLOUTS)}")
        title = [{"t": "Str", "c": dict(pairs).get("title", kind.capitalize())}]
        if blocks and blocks[0]["t"] == "Header":
            title, blocks = blocks[0]["c"][2], blocks[1:]
        head = {"t": "Div", "c": [["", ["title"], []], [{"t": "Para", "c": title}]]}
        node["c"] = [[name, [kind, "callout"], []], [head, *blocks]]


def trim_code(tree: dict) -> None:
    "Take the empty lines from the top and the bottom of code, where `show_doc` puts them."
    for node in nodes(tree["blocks"]):
        if node["t"] == "CodeBlock":
            node["c"][1] = node["c"][1].strip("\n")
