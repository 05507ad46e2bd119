"""The configuration of the site, read as Quarto reads it: `metadata-files` merged into `_quarto.yml`."""

from collections.abc import Iterable
from configparser import ConfigParser
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from . import SiteError

SECTIONS = {  # what the path of a notebook looks like -> where in the sidebar it stands, in this order
    "index.ipynb": "",
    "tutorials/*": "Tutorials",
    "0[0-9]_*.ipynb": "Basics",
    "data/*": "Data",
    "model/*": "Models",
    "run/*": "Running",
    "serve/*": "Serving",
    "monitor/*": "Monitoring",
    "operate/*": "Operating",
    "lab/*": "JupyterLab",
    "[0-9][0-9]_*.ipynb": "What you call",
    "commands/*": "The commands",
    "pipelines/heart/*": "The heart pipeline",
}


def merge(below: Any, above: Any) -> Any:
    "Merge as Quarto does: maps by key, lists one after the other without repeats; the rest is replaced."
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {k: merge(below[k], v) if k in below else v for k, v in above.items()}
    if isinstance(below, list) and isinstance(above, list):
        return below + [item for item in above if item not in below]
    return above


def read_map(path: Path) -> dict:
    "A YAML file that holds a map."
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SiteError(f"{path.name} is missing; _quarto.yml is made of it") from None
    except yaml.YAMLError as error:
        raise SiteError(f"{path.name} is not YAML: {error}") from None
    if not isinstance(found, dict):
        raise SiteError(f"{path.name} does not hold a map")
    return found


def load_config(folder: Path) -> dict:
    "The whole configuration of the Quarto project in `folder`."
    config = read_map(folder / "_quarto.yml")
    for name in config.pop("metadata-files", []):
        config = merge(config, read_map(folder / name))
    return config


def load_settings(root: Path) -> dict[str, str]:
    "nbdev's settings.ini."
    parser = ConfigParser(delimiters=["="])
    parser.read(root / "settings.ini", encoding="utf-8")
    return dict(parser["DEFAULT"])


def make_sidebar(names: Iterable[str]) -> list:
    "The sidebar of these notebooks, by the first of the `SECTIONS` that fits; a new folder comes last, by its name."
    sections: dict[str, list[str]] = {title: [] for title in SECTIONS.values()}
    for name in sorted(names):
        title = next((title for pattern, title in SECTIONS.items() if fnmatch(name, pattern)), None)
        if title is None:
            folder = name.split("/")[-2].replace("_", " ")
            title = f"The {folder} pipeline" if name.startswith("pipelines/") else folder.capitalize()
        sections.setdefault(title, []).append(name)
    front = sections.pop("", [])
    return front + [{"section": title, "contents": pages} for title, pages in sections.items() if pages]


def sidebar_pages(contents: list) -> list[str]:
    "The notebooks of a sidebar, in reading order."
    pages = []
    for item in contents:
        pages += [item] if isinstance(item, str) else sidebar_pages(item["contents"])
    return pages
