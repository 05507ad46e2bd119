"""What one request costs without HTTP: reading it and answering it, MLflow's scoring server beside ours.

    OMP_NUM_THREADS=1 python -m benchmarks.serve.answers

Registers a pipeline of StandardScaler, OneHotEncoder and XGBClassifier on a table of 12 numbers and 4 words, reads it
back, and asks it for 1, 10 and 100 rows at once. Prints the median of the CPU time of one thread in µs: of reading,
of answering, and of both in MLflow's server, which for `/invocations` is `mlflow.pyfunc.scoring_server.invocations`.
"""

import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable

import numpy as np
import orjson
import pandas as pd

ROWS = {1: 25.0, 10: 12.0, 100: 12.0}  # and what is aimed at: so many times as quick as MLflow's server


def make_table(rows: int = 5000) -> tuple[pd.DataFrame, np.ndarray]:
    "Twelve numbers and four words, and which of two classes a row belongs to."
    chance = np.random.default_rng(0)
    numbers = pd.DataFrame(chance.normal(50, 20, size=(rows, 12)), columns=[f"number_{place}" for place in range(12)])
    words = pd.DataFrame(
        {f"word_{place}": chance.choice([f"level {level}" for level in range(6)], rows) for place in range(4)}
    )
    risk = numbers.number_0 - numbers.number_1 + 20 * (words.word_0 == "level 1") + chance.normal(0, 20, rows)
    return pd.concat([numbers, words], axis=1), (risk > 0).astype(int).to_numpy()


def make_model(X: pd.DataFrame, y: np.ndarray):
    "The model that the peers are measured with."
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from xgboost import XGBClassifier

    words = [name for name in X if name.startswith("word")]
    prepare = ColumnTransformer(
        [
            ("numbers", StandardScaler(), [name for name in X if name not in words]),
            ("words", OneHotEncoder(handle_unknown="ignore"), words),
        ]
    )
    learner = XGBClassifier(n_estimators=200, max_depth=4, n_jobs=1, random_state=0)
    return Pipeline([("prepare", prepare), ("learn", learner)]).fit(X, y)


def cpu(action: Callable[[], object], seconds: float = 1.0) -> float:
    "CPU time of one call [µs], the median of as many as fit into some seconds."
    for _ in range(5):
        action()
    found, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(found) < 20:
        begun = time.thread_time_ns()
        action()
        found.append(time.thread_time_ns() - begun)
    return statistics.median(found) / 1000


def main() -> int:
    warnings.simplefilter("ignore")
    logging.getLogger("mlflow").setLevel("ERROR")
    from mlflow.pyfunc.scoring_server import invocations

    from mlops_nb.model.loading import fetch_files
    from mlops_nb.model.registration import register
    from mlops_nb.model.store import connect
    from mlops_nb.serve.requests import read_invocation
    from mlops_nb.serve.served import ServedModel

    with tempfile.TemporaryDirectory() as folder:
        connect(folder)
        X, y = make_table()
        version = register(make_model(X, y), "bench", X)
        model = ServedModel.load(fetch_files(version, f"{folder}/fetched"), version)
    print(f"{model}; µs of CPU a request")
    schema = model.pyfunc.metadata.get_input_schema()
    for rows, aim in ROWS.items():
        body = orjson.dumps({"dataframe_split": X.head(rows).to_dict("split")})
        records = orjson.dumps({"dataframe_records": X.head(rows).to_dict("records")})
        table = read_invocation(body, "application/json", model.signature)
        theirs = invocations(body, "application/json", model.pyfunc, schema).response
        assert orjson.loads(theirs)["predictions"] == model.answer(table).predictions()
        read = cpu(lambda body=body: read_invocation(body, "application/json", model.signature))
        other = cpu(lambda records=records: read_invocation(records, "application/json", model.signature))
        answer = cpu(lambda table=table: model.answer(table).predictions())
        peer = cpu(lambda body=body: invocations(body, "application/json", model.pyfunc, schema))
        print(
            f"{rows:4} rows: read {read:6.1f} (records {other:6.1f}), answer {answer:6.1f}; MLflow {peer:8.1f}; "
            f"{peer / (read + answer):5.1f}x, aimed at {aim:g}x"
        )
        print(f"RATIO serve_answer_{rows}_rows {peer / (read + answer):.1f} {aim:g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
