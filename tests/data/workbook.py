"""Workbooks for tests, written as Excel writes them."""

import datetime as dt
import zipfile
from pathlib import Path

LINKS = "http://schemas.openxmlformats.org"
MAIN, KINDS = f"{LINKS}/spreadsheetml/2006/main", f"{LINKS}/officeDocument/2006/relationships"

FORMATS = "".join(f'<xf numFmtId="{number}" applyNumberFormat="1"/>' for number in (0, 14, 22))  # plain, date, moment
STYLES = f'<styleSheet xmlns="{MAIN}"><cellXfs count="3">{FORMATS}</cellXfs></styleSheet>'


def cell(place: str, value) -> str:
    "One cell: a number, a text, a truth value, a date or time, an error such as #N/A, or (formula, what it gave)."
    if value is None:
        return ""
    if isinstance(value, tuple):
        formula, given = value
        return f'<c r="{place}"><f>{formula}</f>{"" if given is None else f"<v>{given}</v>"}</c>'
    if isinstance(value, bool):
        return f'<c r="{place}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, str) and value.startswith("#"):
        return f'<c r="{place}" t="e"><v>{value}</v></c>'
    if isinstance(value, str):
        return f'<c r="{place}" t="inlineStr"><is><t>{value}</t></is></c>'
    if isinstance(value, dt.date):
        moment = value if isinstance(value, dt.datetime) else dt.datetime.combine(value, dt.time())
        days = (moment - dt.datetime(1899, 12, 30)) / dt.timedelta(days=1)
        return f'<c r="{place}" s="{2 if isinstance(value, dt.datetime) else 1}"><v>{days!r}</v></c>'
    return f'<c r="{place}"><v>{value}</v></c>'


def workbook(path: Path, **sheets: list[list]) -> Path:
    "Write a workbook with these sheets."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("_rels/.rels", _links([("officeDocument", "xl/workbook.xml")]))
        parts = [("worksheet", f"worksheets/sheet{i}.xml") for i, _ in enumerate(sheets, 1)]
        parts.append(("styles", "styles.xml"))
        archive.writestr("xl/styles.xml", STYLES)
        archive.writestr("xl/_rels/workbook.xml.rels", _links(parts))
        named = "".join(f'<sheet name="{name}" sheetId="{i}" r:id="r{i}"/>' for i, name in enumerate(sheets, 1))
        book = f'<workbook xmlns="{MAIN}" xmlns:r="{KINDS}"><sheets>{named}</sheets></workbook>'
        archive.writestr("xl/workbook.xml", book)
        for i, rows in enumerate(sheets.values(), 1):
            lines = "".join(
                f'<row r="{k}">{"".join(cell(f"{chr(65 + j)}{k}", v) for j, v in enumerate(row))}</row>'
                for k, row in enumerate(rows, 1)
            )
            sheet = f'<worksheet xmlns="{MAIN}"><sheetData>{lines}</sheetData></worksheet>'
            archive.writestr(f"xl/worksheets/sheet{i}.xml", sheet)
    return path


def _links(targets: list[tuple[str, str]]) -> str:
    lines = "".join(f'<Relationship Id="r{i}" Type="{KINDS}/{k}" Target="{t}"/>' for i, (k, t) in enumerate(targets, 1))
    return f'<Relationships xmlns="{LINKS}/package/2006/relationships">{lines}</Relationships>'
