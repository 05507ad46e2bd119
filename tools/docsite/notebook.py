"""A notebook that nbdev has processed, as markdown for pandoc."""

import base64
import html
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from . import SiteError

PICTURES = {"image/svg+xml": "svg", "image/png": "png", "image/jpeg": "jpg"}
Keep = Callable[[str, bytes], str]  # (ending, content) -> the address of the picture


@dataclass
class Page:
    "A page of the site, before it is rendered."

    source: str  # The notebook, relative to `nbs`
    title: str
    description: str
    address: str  # The page, relative to the site
    markdown: str


def page_name(notebook: str) -> str:
    "The name that nbdev gives to the page of a notebook: `10_gate.ipynb` becomes `gate.html`."
    return Path(re.sub(r"^\d+[a-zA-Z0-9]*_", "", notebook.lower())).with_suffix(".html").name


def split_options(source: str) -> tuple[dict, str]:
    "The `#|` options at the top of a cell, flags as True, and the code below them."
    lines = source.strip("\n").splitlines()
    options: dict = {}
    while lines and (found := re.match(r"#\|\s*([\w-]+)(:?)\s*(.*)", lines[0])):
        name, colon, value = found.groups()
        options[name] = yaml.safe_load(value) if colon else True
        lines.pop(0)
    return options, "\n".join(lines).strip("\n")


def fence(text: str, attributes: str) -> str:
    "A fenced block whose fence is longer than any within."
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}{attributes}\n{text}\n{ticks}"


def joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def picture(mime: str, data: str, output: dict, options: dict, page: Page, keep: Keep) -> str:
    "A saved picture as HTML; its text is `fig-alt` or the caption."
    content = data.encode() if mime == "image/svg+xml" else base64.b64decode(data)
    caption = str(options.get("fig-cap") or "")
    text = options.get("fig-alt") or caption
    size = output.get("metadata", {}).get(mime, {})
    sizes = "".join(f' {side}="{int(size[side])}"' for side in ("width", "height") if side in size)
    image = f'<img src="{keep(PICTURES[mime], content)}" alt="{html.escape(str(text))}"{sizes}>'
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return fence(f"<figure>{image}{below}</figure>", "{=html}")


def output_markdown(output: dict, options: dict, page: Page, keep: Keep) -> str:
    "One saved output, in the richest form that a page can show."
    if output["output_type"] == "stream":
        text = joined(output["text"]).rstrip("\n")
        return fence(text, "{.cell-output}") if text else ""
    if output["output_type"] == "error":
        raise SiteError(f"{page.source}: a saved output is an error: {output['ename']}: {output['evalue']}")
    data = {mime: joined(value) for mime, value in output["data"].items() if mime.startswith(("text/", "image/"))}
    for mime in PICTURES:
        if mime in data:
            return picture(mime, data[mime], output, options, page, keep)
    if "text/html" in data:
        paper = " paper" if "color" in data["text/html"] else ""  # made for a white page
        return fence(f'<div class="cell-html{paper}">{data["text/html"]}</div>', "{=html}")
    if "text/markdown" in data:
        return data["text/markdown"]
    if "text/plain" in data:
        return fence(data["text/plain"], "{.cell-output}")
    raise SiteError(f"{page.source}: an output is of a kind that no page can show: {', '.join(output['data'])}")


def code_markdown(cell: dict, page: Page, keep: Keep) -> str:
    "A code cell with its outputs."
    options, code = split_options(joined(cell["source"]))
    if options.get("include") is False:
        return ""
    parts = []
    if code and options.get("echo") is not False:
        language = cell["metadata"].get("language", "python")
        block = fence(code, f"{{.{language} .cell-code}}")
        if fold := options.get("code-fold"):
            opened, summary = " open" if fold == "show" else "", html.escape(options.get("code-summary", "Code"))
            block = f"<details{opened}><summary>{summary}</summary>\n\n{block}\n\n</details>"
        parts.append(block)
    if options.get("output") is not False:
        parts += [output_markdown(output, options, page, keep) for output in cell["outputs"]]
    parts = [part for part in parts if part]
    if not parts or options.get("output") == "asis":  # bare, so that its headings reach the contents
        return "\n\n".join(parts)
    return "::::: {.cell}\n\n" + "\n\n".join(parts) + "\n\n:::::"


def read_page(text: str, source: str, keep: Keep) -> Page:
    "Read a processed notebook; `keep` puts its pictures somewhere and tells their address."
    page = Page(source, Path(source).stem, "", str(Path(source).with_suffix(".html")), "")
    parts = []
    for cell in json.loads(text)["cells"]:
        content = joined(cell["source"]).strip("\n")
        if cell["cell_type"] == "raw" and (found := re.fullmatch(r"\s*---\s*\n(.*?)\n---\s*", content, re.DOTALL)):
            front = yaml.safe_load(found[1]) or {}
            page.title, page.description = str(front.get("title", page.title)), str(front.get("description", ""))
            page.address = str(Path(source).with_name(front.get("output-file", Path(page.address).name)))
        elif cell["cell_type"] == "raw":
            parts.append(fence(content, "{=html}"))
        elif cell["cell_type"] == "markdown":
            parts.append(content)
        else:
            parts.append(code_markdown(cell, page, keep))
    page.markdown = "\n\n".join(part for part in parts if part) + "\n"
    return page
