"Labels come late, in part, twice and about nothing; what is joined is what came last, and nothing is lost."

import time
from contextlib import closing
from types import SimpleNamespace

import pandas as pd
import pytest

from mlops_nb.errors import DataError
from mlops_nb.serve.feedback import FEEDBACK, FeedbackLog, Label, read_labels
from mlops_nb.serve.labels import coverage, import_labels, labelled
from mlops_nb.serve.predictions import Logged, PredictionLog, compact, read_predictions

PAST = 1_793_600_000.0
HOUR = 3600.0


def answers(folder, count=4, role="champion", version=1, entity=None, at=PAST, **log):
    "Requests r0, r1, …, an hour apart, with two rows each."
    table = SimpleNamespace(signature=SimpleNamespace(names=["age"]), values=[[50], [60]])
    with closing(PredictionLog(folder, **log)) as writer:
        for number in range(count):
            keys = entity(number) if entity else None
            writer.write_now([Logged(f"r{number}", at + number * HOUR, "heart", version, role, 1.0, "", table,
                                     [0.25, 0.75], keys)])  # fmt: skip


def say(folder, *labels, **log):
    with closing(FeedbackLog(folder, **log)) as writer:
        writer.write_now(labels)


def joined(folder, **which):
    found = labelled(folder, **which)
    return {(row.request_id, row.row): row.label for row in found.itertuples()}


def test_without_labels_nothing_is_labelled(tmp_path):
    answers(tmp_path)
    assert labelled(tmp_path).empty
    assert len(labelled(tmp_path, waiting=True)) == 8
    assert str(coverage(tmp_path)) == "0 of 8 rows (0.0%) have a label"


def test_labels_find_their_row_and_the_last_one_counts(tmp_path):
    answers(tmp_path)
    say(tmp_path, Label(1, "r0"), Label(0, "r0", 1), Label(1, "r2", 1))
    say(tmp_path, Label(0, "r0"))
    assert joined(tmp_path) == {("r0", 0): 0, ("r0", 1): 0, ("r2", 1): 1}
    assert len(read_labels(tmp_path)) == 4
    found = coverage(tmp_path)
    assert (found.rows, found.labelled, found.several, found.contradicted, found.unknown) == (8, 3, 1, 1, 0)


def test_folding_changes_nothing(tmp_path):
    answers(tmp_path, entity=lambda number: [number, None])
    say(tmp_path, Label("ill", "r0"), Label("well", entity=3), Label(1.5, "r1"), Label("well", "r0", id="same"))
    say(tmp_path, Label("ill", "r0", id="same"))
    before, labels = labelled(tmp_path, waiting=True), read_labels(tmp_path)
    assert joined(tmp_path) == {("r0", 0): "ill", ("r1", 0): "1.5", ("r3", 0): "well"}
    compact(tmp_path)
    compact(tmp_path, FEEDBACK)
    pd.testing.assert_frame_equal(labelled(tmp_path, waiting=True), before)
    pd.testing.assert_frame_equal(read_labels(tmp_path), labels)


def test_all_roles_are_measured_on_the_same_labels(tmp_path):
    answers(tmp_path)
    answers(tmp_path, role="shadow", version=2)
    say(tmp_path, Label(1, "r1"))
    found = labelled(tmp_path)
    assert sorted(found["role"]) == ["champion", "shadow"]
    assert list(labelled(tmp_path, role="shadow")["version"]) == [2]
    assert coverage(tmp_path).rows == 8  # and not sixteen


def test_a_label_about_an_entity_belongs_to_the_last_answer_before_it(tmp_path):
    answers(tmp_path, entity=lambda number: ["anna", f"other{number}"])
    say(tmp_path, Label(1, entity="anna", seen=PAST + 1.5 * HOUR), Label(0, entity="anna", seen=PAST - HOUR))
    assert joined(tmp_path) == {("r1", 0): 1}
    assert joined(tmp_path, since=PAST + 2 * HOUR) == {}
    assert joined(tmp_path, until=PAST + HOUR) == {}
    say(tmp_path, Label(0, entity="anna"))  # now, long after the last one
    assert joined(tmp_path) == {("r1", 0): 1, ("r3", 0): 0}


def test_a_file_is_imported_once_however_often(tmp_path):
    answers(tmp_path / "log")
    file = tmp_path / "labels.csv"
    file.write_text("request,place,chd\nr0,0,1\nr0,1,0\nr3,1,\n,0,1\nr7,0,1\nr8,0,1\n")
    for _ in range(2):
        done = import_labels(tmp_path / "log", file, label="chd", request_id="request", row="place")
        assert (done.labels, done.waiting, done.nameless, done.unknown) == (4, 1, 1, 2)
        assert done.examples == ("r7", "r8")
    assert len(read_labels(tmp_path / "log")) == 4
    with open(file, "a") as grows:
        grows.write("r3,1,0\n")
    import_labels(tmp_path / "log", file, label="chd", request_id="request", row="place")
    assert len(read_labels(tmp_path / "log")) == 5
    assert joined(tmp_path / "log") == {("r0", 0): 1, ("r0", 1): 0, ("r3", 1): 0}
    assert set(labelled(tmp_path / "log")["labelled_by"]) == {str(file)}
    assert coverage(tmp_path / "log").unknown == 2


def test_saying_again_what_was_said_before_counts_as_the_last_word(tmp_path):
    answers(tmp_path)
    for label in (1, 0, 1):
        import_labels(tmp_path, pd.DataFrame({"request_id": ["r0"], "label": [label]}))
        time.sleep(0.001)
    assert joined(tmp_path) == {("r0", 0): 1}


def test_parquet_and_entities_that_are_numbers(tmp_path):
    answers(tmp_path / "log", entity=lambda number: [number, 100.0 + number])
    frame = pd.DataFrame({"patient": [0.0, 101, 7, None], "chd": [True, False, True, True]})
    frame.to_parquet(tmp_path / "labels.parquet")
    done = import_labels(tmp_path / "log", tmp_path / "labels.parquet", label="chd", entity="patient")
    assert (done.labels, done.nameless, done.unknown, done.examples) == (3, 1, 1, ("7.0",))
    assert joined(tmp_path / "log") == {("r0", 0): True, ("r1", 1): False}


def test_hashed_entities_join_with_the_same_key_only(tmp_path):
    masks = {"private": {"entity": "hash"}, "key": "the key of this test"}
    answers(tmp_path, entity=lambda number: [f"patient-{number}", None], **masks)
    assert "patient" not in "".join(read_predictions(tmp_path)["entity"].dropna())
    frame = pd.DataFrame({"entity": ["patient-2"], "label": [1]})
    assert import_labels(tmp_path, frame).unknown == 1
    assert joined(tmp_path) == {}
    assert import_labels(tmp_path, frame, **masks).unknown == 0
    assert joined(tmp_path) == {("r2", 0): 1}


def test_an_input_called_label_keeps_its_place(tmp_path):
    table = SimpleNamespace(signature=SimpleNamespace(names=["label", "time"]), values=[["A", 9]])
    with closing(PredictionLog(tmp_path)) as log:
        log.write_now([Logged("r", PAST, "m", 1, "champion", 1.0, table=table, output=[0.5])])
    say(tmp_path, Label(1, "r"))
    found = labelled(tmp_path)
    assert found[["input.label", "input.time", "label"]].values.tolist() == [["A", 9, 1]]


def test_what_is_wrong_with_a_file_is_told(tmp_path):
    answers(tmp_path / "log")
    frame = pd.DataFrame({"request_id": ["r0"], "label": [1], "seen": ["yesterday"]})
    with pytest.raises(DataError, match="row 1 of the labels: 'yesterday' is no moment"):
        import_labels(tmp_path / "log", frame)
    with pytest.raises(DataError, match="is no log"):
        import_labels(tmp_path / "nowhere", frame)
    with pytest.raises(DataError, match="row 1 of the labels: the row 'first' is no number"):
        import_labels(tmp_path / "log", frame.drop(columns="seen").assign(row="first"))
