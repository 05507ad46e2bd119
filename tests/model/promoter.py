"Processes that promote again and again, and say what they were told; `test_promotions` kills them at any moment."

import gc
import json
import os
import random
import sys
from datetime import UTC, datetime


def promote_on(place: str, journal: str, name: str) -> None:
    "Promote and roll back until somebody ends it."
    from mlops_nb.errors import ConflictError, MlopsError
    from mlops_nb.model import registry
    from mlops_nb.model.gate import Check, Verdict

    os.environ["MLOPS_NB_USER"] = name
    registry.connect(place)
    verdict = Verdict((Check("roc_auc >= 0.7", 0.8, 0.7, True, "roc_auc 0.800 on 139 rows"),))
    chance = random.Random(name)
    with open(journal, "ab", buffering=0) as file:

        def tell(**facts) -> None:
            facts["at"] = datetime.now(UTC).isoformat(timespec="microseconds")
            file.write(json.dumps(facts).encode() + b"\n")

        tell(ready=True)
        for i in range(1000):
            version, mark = chance.randint(1, 4), f"{name}-{i}"
            tell(asked=mark)
            try:
                if chance.random() < 0.2:
                    version = registry.rollback("heart", mark).version
                else:
                    registry.promote("heart", version, verdict, reason=mark)
                tell(told="done", mark=mark, version=version)
            except ConflictError:
                tell(told="too late", mark=mark)
            except MlopsError as error:
                tell(told=f"{type(error).__name__}: {error.what}", mark=mark)


def main(place: str, folder: str, rounds: int, count: int) -> None:
    "Import once what all need, fork so many promoters a round, print their numbers, and go on when all are dead."
    import mlflow.artifacts
    import mlflow.store.model_registry.sqlalchemy_store
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    from mlops_nb.model import registry  # noqa: F401

    gc.freeze()
    for i in range(rounds):
        children = {}
        for k in range(count):
            journal = f"{folder}/{i}-{k}.jsonl"
            if (child := os.fork()) == 0:
                try:
                    promote_on(place, journal, f"p{i}-{k}")
                finally:
                    os._exit(1)
            children[child] = journal
        print(json.dumps(children), flush=True)
        for _ in children:
            os.wait()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
