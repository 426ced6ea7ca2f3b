"""Reports: their figures by hand and against scikit-learn, their pages whole, escaped and on their own."""

import json
import re
import shutil
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from scipy import sparse
from sklearn.metrics import confusion_matrix, f1_score, precision_score, recall_score

from model.classifier import TextClassifier
from tests.checkpoints import write_checkpoint
from tests.conftest import TINY, labelled_texts, train, write_json_lines
from training.__main__ import main as training_main
from training.report.__main__ import main
from training.report.checks import conflicts, cross_fit, duplicates
from training.report.classes import class_figures, condensed, confused_pairs, confusions
from training.report.comparison import Side, disagreement, setting_rows
from training.report.figures import FIGURES
from training.report.page import make_report
from training.report.record import Outcomes, read_outcomes, read_record
from training.targets import MULTI, REGRESSION, SINGLE

LABELS = ["a", "b", "c"]
HOSTILE = "<script>alert('x')</script>"
VOID = {"meta", "img", "br", "link", "hr", "input"}
names = st.sampled_from(LABELS)
answered = st.lists(st.tuples(names, names), min_size=1, max_size=30)


class Page(HTMLParser):
    """Tags of a page, each closed in its turn, and all that it would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.loads: list[str] = []
        self.words = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words += data


def outcomes(targets: list[object], answers: list[object]) -> Outcomes:
    nothing = np.zeros(len(targets))
    return Outcomes(list(range(len(targets))), targets, answers, nothing, nothing)


def checked(page: str) -> Page:
    """The page, which loads nothing, runs nothing and is small enough to be sent."""
    parsed = Page(page)
    assert "script" not in parsed.seen
    assert all(load.startswith(("#", "data:image/png;base64,")) for load in parsed.loads)
    assert len(page) < 3_000_000
    return parsed


@given(answered)
def test_figures_of_classes_are_those_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    targets, answers = map(list, zip(*pairs, strict=True))
    found = {row.name: row for row in class_figures(outcomes(targets, answers), LABELS)}
    for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        expected = score(targets, answers, labels=LABELS, average=None, zero_division=0)
        assert [getattr(found[label], name) for label in LABELS] == pytest.approx(expected.tolist())
    assert [found[label].support for label in LABELS] == [targets.count(label) for label in LABELS]
    matrix = confusions(outcomes(targets, answers), LABELS)
    assert matrix.tolist() == confusion_matrix(targets, answers, labels=LABELS).tolist()


def test_confusions_of_several_labels_pair_what_is_missing_with_what_is_wrong() -> None:
    found = outcomes([["a", "b"], ["a"], [], ["c"]], [["a", "c"], ["a"], ["b"], []])
    assert confusions(found, LABELS).tolist() == [[2, 0, 0], [0, 0, 1], [0, 0, 0]]
    found = outcomes(
        [["a", "b"], ["b"], ["b"], ["c"]], [["a", "c"], ["b"], [], ["a", "b"]]
    )  # one b of three is taken for c
    support = {row.name: row.support for row in class_figures(found, LABELS)}
    pairs = confused_pairs(confusions(found, LABELS), LABELS, support)
    assert sorted(pairs) == [("b", "c", 1, 1 / 3), ("c", "a", 1, 1.0), ("c", "b", 1, 1.0)]


def test_many_classes_are_condensed_without_losing_a_text() -> None:
    labels = [f"class {number}" for number in range(150)]
    matrix = np.random.default_rng(0).poisson(0.02, (150, 150)) + np.diag([30] * 150)
    matrix[3, 140] += 9
    shown, small = condensed(matrix, labels)
    assert len(shown) == 21
    assert shown[-1] == "130 others"
    assert small.sum() == matrix.sum()
    assert small[shown.index("class 3"), shown.index("class 140")] == matrix[3, 140]
    support = dict(zip(labels, matrix.sum(axis=1).tolist(), strict=True))
    assert confused_pairs(matrix, labels, support)[0][:3] == ("class 3", "class 140", matrix[3, 140])


def test_duplicates_and_conflicts_by_hand() -> None:
    found = duplicates({"train": ["a", "a", "b"], "test": ["b", "c", "b"]})
    assert [(row["split"], row["also_in"], row["texts"]) for row in found] == [
        *(("train", "train", 1), ("test", "train", 2), ("test", "test", 1)),
    ]
    clashing = conflicts(["Hi  there", "hi there", "bye"], ["hi there", "hi there", "bye"], ["a", "b", "a"])
    assert clashing == {"texts": 1, "examples": [{"text": "Hi  there", "targets": ["a", "b"]}]}
    assert conflicts(["a", "a"], ["a", "a"], [("x", "y"), ("y", "x")]) == {"texts": 0, "examples": []}


def test_cross_fit_suspects_what_was_mislabelled() -> None:
    draw = np.random.default_rng(0)
    truth = np.repeat(np.arange(3), 60)
    own = np.kron(np.eye(3), np.ones(10))[truth]  # ten words for each class
    words = own * draw.binomial(1, 0.4, (180, 30)) + draw.binomial(1, 0.03, (180, 30))
    given_labels = truth.copy()
    wrong = [5, 70, 130]
    given_labels[wrong] = (truth[wrong] + 1) % 3
    suggested, margin = cross_fit(sparse.csr_matrix(words), given_labels)
    assert sorted(np.argsort(-margin)[:3].tolist()) == wrong
    assert suggested[wrong].tolist() == truth[wrong].tolist()
    assert np.count_nonzero(margin) < 20


def test_training_writes_a_report_of_what_the_checkpoint_answers(checkpoint: Path) -> None:
    page = (checkpoint / "report.html").read_text(encoding="utf-8")
    parsed = checked(page)
    images = [b64decode(load.partition(",")[2]) for load in parsed.loads if load.startswith("data:")]
    card = (checkpoint / "README.md").read_text(encoding="utf-8")
    assert len(images) == len(FIGURES[SINGLE])
    for name in FIGURES[SINGLE]:
        assert (checkpoint / f"report-{name}.png").read_bytes() in images
        assert f"(report-{name}.png)" in card
    summary = json.loads((checkpoint / "metrics.json").read_text(encoding="utf-8"))
    found = read_outcomes(checkpoint)["test"]
    right = np.mean(np.array(found.answers) == np.array(found.targets))
    assert right == pytest.approx(summary["test"]["accuracy"])
    texts = [row["text"] for row in labelled_texts()]
    predictions = TextClassifier.from_pretrained(checkpoint, "cpu")(texts)
    assert [prediction.label for prediction in predictions] == found.answers
    assert [prediction.score for prediction in predictions] == pytest.approx(found.scores.tolist(), abs=1e-4)
    for word in ("Confusions", "Calibration", "Suspicious labels", "refund", summary["versions"]["torch"]):
        assert word in parsed.words


def test_the_command_makes_the_same_report_again(checkpoint: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / checkpoint.name)
    (copy / "report.html").unlink()
    assert main(["--checkpoint", str(copy)]) == 0
    assert (copy / "report.html").read_bytes() == (checkpoint / "report.html").read_bytes()
    assert not list(copy.glob(".writing-*"))


def test_texts_and_labels_are_shown_as_text(tmp_path: Path) -> None:
    labels = [HOSTILE, *(f"意图 {number}" for number in range(149))]
    rows = [
        {"text": f"word{number} {HOSTILE} {copy}", "label": labels[number]} for number in range(150) for copy in "xy"
    ]
    rows += [{**row, "label": labels[7]} for row in rows[:2]]  # whatever is learnt, some are mistakes
    folder = train(tmp_path, rows, "--num_train_epochs", "1")
    parsed = checked((folder / "report.html").read_text(encoding="utf-8"))
    assert parsed.words.count(HOSTILE) > 5
    assert "意图 148" in parsed.words
    assert "130 others" in parsed.words


@pytest.mark.slow
def test_rows_are_those_of_the_file_although_some_are_held_out(tmp_path: Path) -> None:
    rows = labelled_texts()
    rows[100]["label"] = next(label for label in ("refund", "praise") if label != rows[100]["label"])
    file, folder = write_json_lines(tmp_path / "texts.jsonl", rows), tmp_path / "out"
    command = ["--train_file", str(file), "--output_dir", str(folder), *TINY, "--report_to", "none"]
    assert training_main([*command, "--learning_rate", "1e-5", "--max_bigrams", "0"]) == 0  # learns next to nothing
    record = read_record(folder)
    suspicious, mistakes = record["checks"]["suspicious"]["examples"], record["splits"]["validation"]["mistakes"]
    assert 100 in [found["row"] for found in suspicious]
    assert mistakes
    for found in (*suspicious, *mistakes):
        assert rows[found["row"]]["text"] == found["text"]
    answered = parquet.read_table(folder / "predictions.parquet").to_pydict()
    assert [rows[row]["label"] for row in answered["row"]] == answered["target"]
    assert len(set(answered["row"])) == 14
    side = Side.read(folder)
    others = ["other"] * 14
    changed = replace(side, outcomes={"validation": replace(side.outcomes["validation"], answers=others)})
    found = disagreement(side, changed, "validation")["rows"]
    assert [rows[one["row"]]["label"] for one in found] == [one["target"] for one in found]
    assert sorted(one["row"] for one in found) == sorted(answered["row"])
    assert f"row {mistakes[0]['row'] + 1}, held out of {file}" in (folder / "report.html").read_text(encoding="utf-8")


def test_several_labels_get_the_sections_that_make_sense(multi_label_checkpoint: Path) -> None:
    images, page = make_report(multi_label_checkpoint)
    assert tuple(images) == FIGURES[MULTI]
    assert "Risk and coverage" not in checked(page).words
    summary = json.loads((multi_label_checkpoint / "metrics.json").read_text(encoding="utf-8"))
    found = read_outcomes(multi_label_checkpoint)["test"]
    figures = class_figures(found, sorted(summary["data"]["labels"]))
    assert np.mean([row.f1 for row in figures]) == pytest.approx(summary["test"]["f1_macro"])


def test_numbers_get_the_sections_that_make_sense(tmp_path: Path) -> None:
    rows = [{"text": row["text"], "label": len(row["text"]) + 0.5} for row in labelled_texts()]
    folder = train(tmp_path, rows)
    images, page = make_report(folder)
    assert tuple(images) == FIGURES[REGRESSION]
    words = checked(page).words
    assert "The largest errors" in words
    assert "Confusions" not in words
    summary = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    found = read_outcomes(folder)["test"]
    error = np.array(found.answers) - np.array(found.targets)
    assert np.mean(error**2) == pytest.approx(summary["test"]["mse"], rel=1e-4)
    assert main(["--compare", str(folder), str(folder), "--output", str(tmp_path / "both.html")]) == 0
    checked((tmp_path / "both.html").read_text(encoding="utf-8"))


def test_comparing_counts_who_is_right(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--num_train_epochs", "1", "--learning_rate", "0.002", "--max_bigrams", "0")
    worse = train(tmp_path, labelled_texts(), *flags)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(["--compare", str(checkpoint), str(worse)]) == 0
    assert capsys.readouterr().out == "report.html\n"
    words = checked((tmp_path / "report.html").read_text(encoding="utf-8")).words
    rows = labelled_texts()
    right, answers = [], []
    for folder in (checkpoint, worse):
        predictions = TextClassifier.from_pretrained(folder, "cpu")([row["text"] for row in rows])
        answers.append([prediction.label for prediction in predictions])
        right.append([prediction.label == row["label"] for prediction, row in zip(predictions, rows, strict=True)])
    found = disagreement(Side.read(checkpoint), Side.read(worse), "test")
    assert found["texts"] == sum(a != b for a, b in zip(*answers, strict=True)) > 0
    assert found["only"] == [
        sum(a and not b for a, b in zip(*right, strict=True)),
        sum(b and not a for a, b in zip(*right, strict=True)),
    ]
    assert found["rows"][0]["text"] == rows[found["rows"][0]["row"]]["text"]
    assert found["rows"][0]["text"] in words
    assert re.search(r"training learning_rate\s*0.02\s*0.002", words)
    assert "texts differ" not in words


def test_comparing_says_where_the_texts_differ(checkpoint: Path, tmp_path: Path) -> None:
    copy, page = shutil.copytree(checkpoint, tmp_path / "copy"), tmp_path / "both.html"
    record = json.loads((copy / "report.json").read_text(encoding="utf-8"))
    record["splits"]["test"]["digest"] = "other"
    (copy / "report.json").write_text(json.dumps(record), encoding="utf-8")
    assert main(["--compare", str(checkpoint), str(copy), "--output", str(page)]) == 0
    words = checked(page.read_text(encoding="utf-8")).words
    assert "Their test texts differ, so the difference of their figures means little." in words
    assert "of the 144 validation texts" in words


def test_disagreement_without_the_file_has_no_texts(checkpoint: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    summary = json.loads((copy / "metrics.json").read_text(encoding="utf-8"))
    summary["arguments"]["data"]["test_file"] = str(tmp_path / "gone.jsonl")
    (copy / "metrics.json").write_text(json.dumps(summary), encoding="utf-8")
    found = disagreement(Side.read(copy), Side.read(copy), "test")
    assert (found["has_texts"], found["texts"], found["p"]) == (False, 0, 1.0)


def test_settings_that_only_say_where_are_left_out() -> None:
    left = {"training": {"output_dir": "a", "seed": 1, "same": 2}}
    right = {"training": {"output_dir": "b", "seed": 2, "same": 2, "new": "x"}}
    assert setting_rows(left, right) == [("training seed", 1, 2), ("training new", None, "x")]


def test_mistakes_are_one_sentence(
    checkpoint: Path, multi_label_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare, odd = write_checkpoint(tmp_path / "bare"), write_checkpoint(tmp_path / "odd")
    (odd / "metrics.json").write_text("[]", encoding="utf-8")
    for argv, sentence in (
        ([], "give either --checkpoint FOLDER or --compare"),
        (["--compare", str(checkpoint)], "compare must be two folders, got 1"),
        (["--compare", *[str(checkpoint)] * 3], "compare must be two folders, got 3"),
        (["--checkpoint", "nowhere"], "checkpoint must be a folder, 'nowhere' does not exist"),
        (["--checkpoint", str(bare)], "metrics.json cannot be read"),
        (["--checkpoint", str(odd)], "metrics.json must hold a JSON object, got list"),
        (["--compare", str(checkpoint), str(multi_label_checkpoint)], "is a single_label_classification, "),
        (["--checkpoint", str(checkpoint), "--output", str(tmp_path / "no" / "x.html")], "cannot be written"),
    ):
        capsys.readouterr()
        assert main(argv) == 2
        captured = capsys.readouterr()
        assert sentence in captured.err
        assert captured.err.count("\n") == 1
        assert captured.out == ""


def test_a_checkpoint_that_may_not_be_written_is_one_sentence(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    assert main(["--checkpoint", str(checkpoint)]) == 2
    assert "cannot be written (Read-only file system)" in capsys.readouterr().err
