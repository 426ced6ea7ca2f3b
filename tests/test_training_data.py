"""Splits: the share held out, the label map of the training rows alone, and texts that cannot be learnt."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from model.errors import InputError
from tests.conftest import labelled_texts, write_json_lines
from training.config import DataArguments
from training.data import Split, hold_out, load_data


def load(folder: Path, train: list[dict[str, Any]], **others: Any) -> Any:
    files: dict[str, Any] = {"train_file": [str(write_json_lines(folder / "train.jsonl", train))]}
    for name in ("validation", "test"):
        if name in others:
            files[f"{name}_file"] = [str(write_json_lines(folder / f"{name}.jsonl", others.pop(name)))]
    return load_data(DataArguments(**files, **others), seed=1)


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    copies=st.integers(1, 3),
    share=st.floats(0.05, 0.5),
    seed=st.integers(0, 9),
)
def test_held_out_rows_are_a_stratified_share(counts: list[int], copies: int, share: float, seed: int) -> None:
    rows = [(f"{label} {number}", str(label)) for label, count in enumerate(counts) for number in range(count)] * copies
    split = Split("rows", [text for text, _ in rows], [label for _, label in rows])
    assume(share * len(rows) >= copies and max(counts) > 1)
    try:
        train, held = hold_out(split, share, seed)
    except InputError:
        assume(False)
    assert Counter(train.texts) + Counter(held.texts) == Counter(split.texts)
    assert not set(train.texts) & set(held.texts)  # a repeated row is never on both sides
    assert set(train.targets) == set(split.targets)  # no class is lost
    assert len(held) <= share * len(rows) + 1e-6
    for label, count in Counter(held.targets).items():
        assert count <= math.ceil(share * split.targets.count(label))  # small classes are not made up for by large ones
    assert hold_out(split, share, seed)[1].texts == held.texts


def test_held_out_share_of_even_classes_is_exact() -> None:
    split = Split("rows", [str(number) for number in range(200)], ["a", "b"] * 100)
    train, held = hold_out(split, 0.1, 0)
    assert Counter(held.targets) == {"a": 10, "b": 10}
    assert len(train) == 180
    assert hold_out(split, 0.1, 1)[1].texts != held.texts


def test_classes_of_one_row_stay_and_cost_the_others_nothing() -> None:
    rows = [(f"single {number}", f"label {number}") for number in range(300)]
    rows += [(f"{label} {number}", label) for label in "xy" for number in range(30)]
    train, held = hold_out(Split("rows", [text for text, _ in rows], [label for _, label in rows]), 0.1, 0)
    assert Counter(held.targets) == {"x": 3, "y": 3}
    assert len(train) == 354


def test_several_classes_are_held_out_by_the_rarest() -> None:
    targets: list[Any] = [
        tuple(sorted({f"t{number % 7}", f"t{number * number % 5}", "every"})) for number in range(300)
    ]
    targets += [(), *(("alone", f"once {number}") for number in range(20))]
    split = Split("rows", [str(number) for number in range(len(targets))], targets)
    train, held = hold_out(split, 0.1, 0)
    assert 25 < len(held) < 33
    kept, given = (
        {name for target in split.targets if isinstance(target, tuple) for name in target} for split in (train, held)
    )
    assert given <= kept


def test_too_few_rows_to_hold_out() -> None:
    message = (
        "rows: every label stands beside one text alone, so no validation rows can be held out; got the labels 'a', 'b'"
    )
    with pytest.raises(InputError, match=message):
        hold_out(Split("rows", ["x", "y"] * 10, ["a", "b"] * 10), 0.1, 0)
    message = r"rows: 3 rows \(different texts: 2\) are too few to hold out validation rows"
    with pytest.raises(InputError, match=message):
        hold_out(Split("rows", ["x", "y", "y"], ["a", "a", "a"]), 0.1, 0)


def test_held_out_rows_know_where_they_stood() -> None:
    split = Split("rows", [str(number) for number in range(200)], ["a", "b"] * 100)
    for part in hold_out(split, 0.1, 0):
        assert [part.row(index) for index in range(len(part))] == [int(text) for text in part.texts]
        again = part.select([3, 1], "again")
        assert [again.row(0), again.row(1)] == [int(text) for text in again.texts]
    assert split.row(7) == 7


def test_holding_out_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "training")
    data = load(tmp_path, labelled_texts())
    assert len(data.validation) == 14
    assert "no validation rows given: 14 of the 144 training rows held out" in caplog.text


def test_labels_come_from_the_training_rows_alone(tmp_path: Path) -> None:
    rows = labelled_texts()
    without = [row for row in rows if row["label"] != "praise"]
    assert load(tmp_path, rows, validation=without, test=without).labels == ["delivery", "praise", "refund"]
    with pytest.raises(InputError) as caught:
        load(tmp_path, without, validation=without, test=rows)
    place = f"{tmp_path / 'test.jsonl'}, line 13"
    assert str(caught.value) == f"{place}: label 'praise' was never seen in training, which has 'delivery', 'refund'"


def test_numbers_pose_a_regression_and_it_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "training")
    data = load(tmp_path, [{"text": f"text {number}", "label": number / 2} for number in range(40)])
    assert (data.problem_type, data.labels) == ("regression", ["label"])
    assert "'label' holds numbers: regression" in caplog.text


def test_classes_that_differ_in_case_alone_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "training")
    assert len(load(tmp_path, labelled_texts()).labels) == 3
    assert "two classes" not in caplog.text
    rows = [{"text": f"text {number}", "label": ["ham", "spam", "Spam "][number % 3]} for number in range(60)]
    assert load(tmp_path, rows).labels == ["Spam ", "ham", "spam"]
    assert "'Spam ' and 'spam' are two classes: labels are taken as they stand" in caplog.text


def test_a_cell_that_makes_classes_of_numbers_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "training")
    path = tmp_path / "train.csv"
    cells = ["n/a" if number == 3 else number / 2 for number in range(40)]
    path.write_text("text,label\n" + "".join(f"text {number},{cell}\n" for number, cell in enumerate(cells)))
    files: dict[str, Any] = {"train_file": [str(path)], "validation_file": [str(path)]}
    assert len(load_data(DataArguments(**files), seed=1).labels) == 40
    assert f"{path}, row 4: label 'n/a' is no number, nearly all others are: classes" in caplog.text
    caplog.clear()
    load_data(DataArguments(**files, problem_type="single_label_classification"), seed=1)
    assert "is no number" not in caplog.text


def test_lists_of_zeros_and_ones_name_no_classes(tmp_path: Path) -> None:
    rows = [{"text": f"text {number}", "labels": [number % 2, 1 - number % 2]} for number in range(30)]
    with pytest.raises(InputError, match=r"train\.jsonl: labels must name the classes .* every row has '0', '1'$"):
        load(tmp_path, rows)


def write_fasttext(path: Path, *labels: str) -> list[str]:
    path.write_text("".join(f"{prefix} text {number}\n" for number, prefix in enumerate(labels)))
    return [str(path)]


def test_one_label_a_line_can_be_several_labels(tmp_path: Path) -> None:
    train = write_fasttext(tmp_path / "train.txt", *["__label__a", "__label__b"] * 20)
    several = write_fasttext(tmp_path / "several.txt", "__label__a", "__label__a __label__b")
    files: dict[str, Any] = {"train_file": train, "validation_file": several}
    data = load_data(DataArguments(**files, problem_type="multi_label_classification"), seed=1)
    assert data.train.targets[:2] == [("a",), ("b",)]
    assert data.validation.targets == [("a",), ("a", "b")]
    with pytest.raises(InputError) as caught:
        load_data(DataArguments(**files), seed=1)
    assert str(caught.value) == (
        f"{tmp_path / 'several.txt'}, line 2: label must be one class, got ['a', 'b'] "
        "(for several give --problem_type multi_label_classification)"
    )


def test_a_column_of_lists_named_labels_is_found(tmp_path: Path) -> None:
    rows = [{"text": f"text {number}", "labels": ["a", "b"][: number % 3]} for number in range(30)]
    data = load(tmp_path, rows)
    assert (data.problem_type, data.labels) == ("multi_label_classification", ["a", "b"])


def test_other_columns_can_be_chosen(tmp_path: Path) -> None:
    rows = [{"body": f"text {number}", "label": "ignored", "kind": number % 2} for number in range(30)]
    data = load(tmp_path, rows, text_column="body", label_column="kind")
    assert data.labels == ["0", "1"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "", "label": "a"}, "line 2: text must not be empty"),
        ({"text": " \u3000\n", "label": "a"}, "line 2: text must not be empty"),
        ({"text": None, "label": "a"}, "line 2: text must not be null or missing"),
        ({"label": "a"}, "line 2: text must not be null or missing"),
        ({"text": 5, "label": "a"}, "line 2: text must be a string, got 5"),
        ({"text": "x"}, "line 2: label must not be empty, got null"),
        ({"text": "x", "label": "b"}, "label must hold at least 2 classes, found one class only, 'b'"),
    ],
)
def test_rows_that_cannot_be_learnt(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, [{"text": "fine", "label": "b"}, row])
    assert message in str(caught.value)


def test_lone_surrogate(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"text": "ok", "label": "a"}\n{"text": "bad \\ud800", "label": "b"}\n')
    with pytest.raises(
        InputError, match=r"line 2: text must be valid Unicode, got the lone surrogate .* at character 4"
    ):
        load_data(DataArguments(train_file=[str(path)]), seed=1)
