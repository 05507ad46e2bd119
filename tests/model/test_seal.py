import json
import subprocess
import sys

import pytest

from mlops_nb.errors import DataError
from mlops_nb.model.candidates import pick
from mlops_nb.model.seal import Sealed, openings
from mlops_nb.model.split import split
from mlops_nb.model.train import fit

LOOK = """
import json, sys
from mlops_nb.model.candidates import pick
from mlops_nb.model.seal import read_sealed
from mlops_nb.model.train import fit
from mlops_nb.errors import DataError
import pandas as pd
folder, strength = sys.argv[1], float(sys.argv[2])
df = pd.read_csv(f"{folder}/train.csv")
X, y = df.drop(columns="chd"), df["chd"]
candidate = pick("linear", X, y)[0]
candidate.estimator.set_params(learn__C=strength)
model = fit(candidate, X, y)
print("ready", flush=True)
sys.stdin.readline()
try:
    print(len(read_sealed(f"{folder}/test.sealed").open(model, f"process {strength}", home=folder)))
except DataError as error:
    print(error.what)
"""


@pytest.fixture
def kept(heart, tmp_path):
    "Training rows and sealed test rows in a folder."
    from mlops_nb.model.seal import write_sealed

    splits = split(heart.df, "chd", seed=0)
    splits.train.to_csv(tmp_path / "train.csv", index=False)
    write_sealed(splits.test, tmp_path / "test.sealed")
    return tmp_path, splits


def looking(folder, strengths):
    "What processes are told that all open the same rows at once."
    asked = [
        subprocess.Popen([sys.executable, "-c", LOOK, str(folder), str(strength)],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for strength in strengths
    ]  # fmt: skip
    for process in asked:
        assert process.stdout.readline() == "ready\n"
    for process in asked:
        process.stdin.write("\n")
        process.stdin.flush()
    return [process.communicate(timeout=60)[0].strip() for process in asked]


def test_of_three_models_in_three_processes_one_sees_the_rows(kept):
    folder, splits = kept
    told = looking(folder, [0.1, 1.0, 10.0])
    assert sorted(text.isdigit() for text in told) == [False, False, True], told
    assert all("have judged a model, and looks=1: opened by" in text for text in told if not text.isdigit())
    assert len(openings(splits.test.digest, folder)) == 1


def test_the_same_model_in_another_process_is_the_same_look(kept):
    folder, splits = kept
    assert looking(folder, [1.0, 1.0]) == ["46", "46"]
    assert len(openings(splits.test.digest, folder)) == 1


def test_what_is_recorded_says_who_when_and_why(kept):
    import getpass
    from datetime import UTC, datetime

    folder, splits = kept
    model = fit(pick("linear", splits.train, splits.train.chd)[0], splits.train, splits.train.chd)
    splits.test.open(model, "for the record", home=folder)
    (opening,) = splits.test.openings(folder)
    assert (opening.by, opening.reason, opening.kind) == (getpass.getuser(), "for the record", "Pipeline")
    assert abs((datetime.now(UTC) - datetime.fromisoformat(opening.at).replace(tzinfo=UTC)).total_seconds()) < 60
    assert json.loads((folder / "seals" / f"{splits.test.digest}.json").read_text())[0]["number"] == 1


def test_a_step_in_another_process_gets_the_seal_with_the_rows(heart, root):
    splits = split(heart.df, "chd", seed=0)
    heart.df.to_csv(root / "rows.csv", index=False)
    save = "from mlops_nb.model.split import split; import pandas as pd\n" + (
        "step.save('test', split(pd.read_csv('rows.csv'), 'chd', seed=0).test)"
    )
    load = "t = step.load('test')\nprint(type(t).__name__, len(t), t.digest)\nt['chd']"
    for code in (save, load):
        command = [sys.executable, "-c", f"from mlops_nb import step\n{code}"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert done.stdout.split() == ["Sealed", "46", splits.test.digest]
    assert "the test rows are sealed, and were asked for ['chd']" in done.stderr


@pytest.mark.parametrize("use", [len, repr, lambda t: t.shape, lambda t: t.columns, lambda t: t.facts])
def test_what_may_be_known_needs_no_opening(kept, use):
    assert use(kept[1].test) is not None
    assert kept[1].test.openings(kept[0]) == []


@pytest.mark.parametrize("use", [
    lambda t: t.head(), lambda t: t.iloc[0], lambda t: t["chd"], lambda t: t.to_numpy(), lambda t: t.merge(t),
    lambda t: [*t], lambda t: fit(pick("dummy", t, t)[0], t, t), lambda t: t.describe(), lambda t: t.sum(),
])  # fmt: skip
def test_nothing_hands_out_the_rows_by_mistake(kept, use):
    with pytest.raises(DataError, match="sealed"):
        use(kept[1].test)


def test_a_seal_is_known_by_the_rows_and_not_by_the_object(kept):
    folder, splits = kept
    model = fit(pick("linear", splits.train, splits.train.chd)[0], splits.train, splits.train.chd)
    splits.test.open(model, "once", home=folder)
    copy = Sealed(splits.test.open(model, "once", home=folder))
    other = fit(pick("dummy", splits.train, splits.train.chd)[0], splits.train, splits.train.chd)
    with pytest.raises(DataError, match="have judged a model"):
        copy.open(other, "twice", home=folder)
