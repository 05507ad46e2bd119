"""The tables of the measurements."""

import numpy as np
import pandas as pd


def mixed(rows: int, columns: int = 20, seed: int = 0) -> pd.DataFrame:
    "Numbers, and a target `y` of two classes that hangs on half of them."
    chance = np.random.default_rng(seed)
    X = chance.normal(size=(rows, columns))
    half = columns // 2
    signal = X[:, :half] @ chance.normal(size=half) + X[:, 0] * X[:, 1]
    table = pd.DataFrame(X, columns=[f"x{i}" for i in range(columns)])
    return table.assign(y=(signal + chance.normal(scale=2, size=rows) > 0).astype(int))
