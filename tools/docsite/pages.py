"""The pages of the preview, and what is around them: contents, order, search."""

import html
import json
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from string import Template
from urllib.parse import unquote, urlsplit

import pypandoc

from . import SiteError, tree
from .check import PageText
from .config import load_config, sidebar_pages
from .notebook import Page, read_page

HERE = Path(__file__).parent
ASSETS = ("site.css", "site.js")
NOTICE = "This is a preview made by pandoc {version}, not by Quarto; the published site looks different."


def relative(page: str, target: str) -> str:
    "The address of `target` on `page`, both relative to the site."
    return os.path.relpath(target, PurePosixPath(page).parent).replace(os.sep, "/")


class Site:
    "All pages, so that each can point at the others."

    def __init__(self, processed: Path, out: Path):
        self.processed, self.out, self.config = processed, out, load_config(processed)
        self.web = self.config["website"]
        self.problems: list[str] = []
        self.order = sidebar_pages(self.web["sidebar"]["contents"])
        self.pages = {name: self.read(name) for name in self.order}
        self.addresses = {page.address: page for page in self.pages.values()}
        for page in self.pages.values():
            if (other := self.addresses[page.address]) is not page:
                raise SiteError(
                    f"nbs/{page.source} and nbs/{other.source} make the same page, {page.address}: rename one"
                )
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            texts = [f"::: {{.lead}}\n{page.description}\n:::\n\n{page.markdown}" for page in self.pages.values()]
            self.trees = dict(zip(self.pages, pool.map(tree.parse, texts), strict=True))
        self.anchors = {page.address: tree.anchors(self.trees[name]) for name, page in self.pages.items()}

    def read(self, name: str) -> Page:
        "Read a processed notebook, its pictures going into a folder beside its page."
        folder = Path(name).with_name(Path(name).stem + "_files")
        count = 0

        def keep(ending: str, content: bytes) -> str:
            nonlocal count
            count += 1
            path = self.out / folder / f"picture-{count}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            return f"{folder.name}/{path.name}"

        return read_page((self.processed / name).read_text(encoding="utf-8"), name, keep)

    def link(self, page: Page, url: str) -> str | None:
        "Where a link of `page` leads on the site: pages for notebooks, copies of files, nearby for nbdev's own links."
        site = self.web["site-url"].rstrip("/") + "/"
        if url.startswith(site):
            return self.symbol_link(page, url.removeprefix(site))
        parts = urlsplit(url)
        if parts.scheme or parts.netloc or not parts.path:
            return url
        target = os.path.normpath(os.path.join(os.path.dirname(page.source), unquote(parts.path)))
        anchor = f"#{parts.fragment}" if parts.fragment else ""
        if target in self.pages:
            return relative(page.address, self.pages[target].address) + anchor
        if target.startswith("..") or not (self.processed / target).is_file():
            self.problems.append(f"nbs/{page.source}: the link to {url} leads nowhere: there is no nbs/{target}")
            return url
        if target.endswith(".md"):  # GitHub shows it; a browser would not
            return f"{self.web['repo-url']}/blob/{self.web['repo-branch']}/nbs/{target}"
        (self.out / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.processed / target, self.out / target)
        return relative(page.address, target)

    def symbol_link(self, page: Page, address: str) -> str | None:
        "Where a name in backticks leads: a member that has no heading of its own to its class, a private name nowhere."
        target, _, anchor = address.partition("#")
        if target not in self.addresses:
            return None
        while anchor and anchor not in self.anchors[target]:
            anchor = anchor.rpartition(".")[0]
            if not anchor:
                return None
        return relative(page.address, target) + (f"#{anchor}" if anchor else "")

    def anchor(self, page: Page, target: Page, text: str | None = None, **attributes: str) -> str:
        "An <a> on `page` that leads to `target`."
        more = "".join(f' {name}="{html.escape(value)}"' for name, value in attributes.items())
        address = relative(page.address, target.address)
        return f'<a href="{address}"{more}>{html.escape(text or target.title)}</a>'

    def sidebar(self, page: Page, contents: list) -> str:
        rows = []
        for item in contents:
            if isinstance(item, str):
                here = {"aria-current": "page"} if item == page.source else {}
                rows.append(f"<li>{self.anchor(page, self.pages[item], **here)}</li>")
            else:
                rows.append(f"<li><span>{html.escape(item['section'])}</span>")
                rows.append(f"{self.sidebar(page, item['contents'])}</li>")
        return f"<ul>{''.join(rows)}</ul>"

    def navbar(self, page: Page, items: list) -> str:
        links = []
        for item in items:
            if item["href"] in self.pages:
                links.append(self.anchor(page, self.pages[item["href"]], item["text"]))
            elif urlsplit(item["href"]).scheme:
                links.append(f'<a href="{html.escape(item["href"])}">{html.escape(item["text"])}</a>')
            else:
                raise SiteError(f"_quarto.yml: {item['href']} of the navbar is no page")
        return "".join(links)

    def neighbours(self, page: Page) -> str:
        at = self.order.index(page.source)
        links = ["<span></span>"]
        if at:
            before = self.pages[self.order[at - 1]]
            links = [self.anchor(page, before, f"← {before.title}", rel="prev")]
        if at + 1 < len(self.order):
            after = self.pages[self.order[at + 1]]
            links.append(self.anchor(page, after, f"{after.title} →", rel="next"))
        return "".join(links)

    def body(self, page: Page) -> tuple[str, str]:
        "The contents and the text of a page, as HTML."
        content = self.trees[page.source]
        tree.trim_code(content)
        tree.change_callouts(content)
        tree.change_links(content, lambda url: self.link(page, url))
        depth = self.config["format"]["html"]["toc-depth"]
        options = ["-f", "json", "-t", "html5", "--mathml", "--wrap=none", "--standalone", "--toc"]
        options += [f"--toc-depth={depth}", f"--template={HERE / 'body.html'}", "--metadata=title:_"]
        contents, text = tree.pandoc(json.dumps(content), *options).split("<!-- text -->", 1)
        return contents.strip(), text.replace("<table", '<div class="wide"><table').replace(
            "</table>", "</table></div>"
        )

    def render(self, page: Page) -> str:
        "The whole page."
        contents, text = self.body(page)
        title = self.web["title"]
        root = relative(page.address, "index.html").removesuffix("index.html")
        return Template((HERE / "page.html").read_text(encoding="utf-8")).substitute(
            root=root,
            window_title=html.escape(title if page.title == title else f"{page.title} – {title}"),
            site_title=html.escape(title),
            title=html.escape(page.title),
            description=html.escape(re.sub("[*`]", "", page.description)),
            left=self.navbar(page, self.web["navbar"]["left"]),
            right=self.navbar(page, self.web["navbar"]["right"]),
            sidebar=self.sidebar(page, self.web["sidebar"]["contents"]),
            contents=f"<h2>On this page</h2>{contents}" if contents else "",
            text=text,
            neighbours=self.neighbours(page),
            footer=html.escape(self.web["page-footer"]),
            notice=NOTICE.format(version=pypandoc.get_pandoc_version()),
        )


def build_preview(processed: Path, out: Path) -> None:
    "Render the site that `processed` describes into `out`."
    site = Site(processed, out)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rendered = dict(zip(site.addresses, pool.map(site.render, site.addresses.values()), strict=True))
    if site.problems:
        raise SiteError("\n".join(site.problems))
    found = []
    for address, text in rendered.items():
        (out / address).parent.mkdir(parents=True, exist_ok=True)
        (out / address).write_text(text, encoding="utf-8")
        found += PageText(text).search_entries(address, site.addresses[address].title)
    for name in ASSETS:
        shutil.copyfile(HERE / name, out / name)
    shutil.copyfile(processed / site.config["format"]["html"]["css"], out / "styles.css")
    (out / "search.js").write_text(f"const SECTIONS = {json.dumps(found, ensure_ascii=False)};\n", encoding="utf-8")
