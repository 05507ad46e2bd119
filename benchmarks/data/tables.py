"""The tables that are read and checked: 20 columns of numbers, whole numbers, texts and times."""

from pathlib import Path

import numpy as np
import pandas as pd

NUMBERS = [f"x{i}" for i in range(10)]
COUNTS = [f"k{i}" for i in range(5)]
LEVELS = [f"c{i}" for i in range(4)]
TOWNS = ["Basel", "Bern", "Chur", "Genf", "Lausanne", "Lugano", "Luzern", "Sion", "Thun", "Zug"]


def frame(rows: int, seed: int = 0) -> pd.DataFrame:
    "Good rows: each within its limits, and none like another."
    rng = np.random.default_rng(seed)
    columns = {name: rng.normal(50, 10, rows).round(6) for name in NUMBERS}
    columns |= {name: rng.integers(0, 1000, rows) for name in COUNTS}
    columns |= {name: rng.choice(TOWNS, rows) for name in LEVELS}
    return pd.DataFrame(columns | {"seen": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(rows) + seed, "s")})


def spoil(df: pd.DataFrame) -> pd.DataFrame:
    "The same with some hundred rows that break each kind of rule."
    df = df.copy()
    df.loc[::5000, "x3"] = 999.0
    df.loc[7::9000, "x5"] = np.nan
    df.loc[11::8000, "k2"] = -1
    df.loc[13::7000, "c1"] = "nowhere"
    return df


def write(path: Path, rows: int, part: int = 250_000) -> Path:
    "Write good rows as CSV, part by part."
    for start in range(0, rows, part):
        df = frame(min(part, rows - start), seed=start)
        df.to_csv(path, index=False, mode="a" if start else "w", header=not start)
    return path
