"Scores a table until it is killed, and says what came of it."

import sys

from mlops_nb.model.store import connect
from mlops_nb.serve.batch import score


def main(project: str, source: str, to: str, workers: str) -> None:
    connect(project)
    print(score("heart@champion", source, to, rows=50, workers=int(workers)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
