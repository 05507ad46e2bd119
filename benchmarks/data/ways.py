"""One way to read or check a table, in a process of its own: prints seconds, memory [MiB] and what was found.

python -m benchmarks.data.ways WAY FILE
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.data.tables import COUNTS, LEVELS, NUMBERS, TOWNS


def schema():
    "Ours."
    from mlops_nb.data.schema import Column, Schema

    columns = {name: Column("float", minimum=-100, maximum=200) for name in NUMBERS}
    columns |= {name: Column("int", minimum=0, maximum=1000) for name in COUNTS}
    columns |= {name: Column("text", categories=TOWNS) for name in LEVELS}
    return Schema(columns | {"seen": Column("datetime", minimum="2020-01-01")}, max_duplicates=None)


def pandera_schema():
    "The same rules, with pandera's built-in checks."
    import pandera.pandas as pandera

    def between(low, high):
        return pandera.Check.in_range(low, high)

    columns = {name: pandera.Column(float, between(-100, 200)) for name in NUMBERS}
    columns |= {name: pandera.Column(int, between(0, 1000)) for name in COUNTS}
    columns |= {name: pandera.Column(str, pandera.Check.isin(TOWNS)) for name in LEVELS}
    columns["seen"] = pandera.Column("datetime64[ns]", pandera.Check.ge("2020-01-01"))
    return pandera.DataFrameSchema(columns)


def pandera_faults(df) -> int:
    import pandera

    try:
        pandera_schema().validate(df, lazy=True)
        return 0
    except pandera.errors.SchemaErrors as error:
        return len(error.failure_cases)


def validate_ours(df) -> int:
    return sum(violation.count for violation in schema().check(df).violations)


def validate_expectations(df) -> int:
    "The same rules as a suite of Great Expectations, with every row that breaks one."
    import great_expectations as gx
    import great_expectations.expectations as gxe

    context = gx.get_context(mode="ephemeral")
    batch = context.data_sources.add_pandas("p").add_dataframe_asset("a").add_batch_definition_whole_dataframe("b")
    suite = gx.ExpectationSuite("s")
    for name in (*NUMBERS, *COUNTS, *LEVELS, "seen"):
        suite.add_expectation(gxe.ExpectColumnValuesToNotBeNull(column=name))
    for names, low, high in ((NUMBERS, -100, 200), (COUNTS, 0, 1000)):
        for name in names:
            suite.add_expectation(gxe.ExpectColumnValuesToBeBetween(column=name, min_value=low, max_value=high))
    for name in LEVELS:
        suite.add_expectation(gxe.ExpectColumnValuesToBeInSet(column=name, value_set=TOWNS))
    found = batch.get_batch({"dataframe": df}).validate(suite, result_format="COMPLETE")
    return sum(one.result.get("unexpected_count", 0) for one in found.results)


def ingest_pandas(path: Path, folder: Path) -> int:
    import pandas as pd

    df = pd.read_csv(path, parse_dates=["seen"])
    assert pandera_faults(df) == 0
    df.to_parquet(folder / "table.parquet")
    return len(df)


def ingest_ours(path: Path, folder: Path) -> int:
    from mlops_nb.data.ingest import ingest
    from mlops_nb.data.sources import open_source

    return ingest(open_source(path, dates=["seen"]), "table", schema(), home=folder).version.rows


VALIDATE = {"mlops_nb": validate_ours, "pandera": pandera_faults, "great_expectations": validate_expectations}
INGEST = {"mlops_nb": ingest_ours, "pandas_pandera_parquet": ingest_pandas}


def peak() -> float:
    "The most memory that this program ever had [MiB]; what `getrusage` tells holds that of the parent before `exec`."
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def timed(work: Callable[[], int]) -> dict:
    "How long it takes, what it finds, and the most memory that this process ever had."
    begun = time.perf_counter()
    found = work()
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "found": found, "mib": peak()}


def main() -> None:
    kind, way, path, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if kind == "ingest":
        result = timed(lambda: INGEST[way](path, folder))
    else:
        import pandas as pd

        df = pd.read_parquet(path)
        VALIDATE[way](df[:1000])  # whatever is imported or made once
        result = timed(lambda: VALIDATE[way](df))
    print(json.dumps(result), file=answer)


if __name__ == "__main__":
    main()
