"""Labels to targets: what they pose, that none is altered, and which row is wrong."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import InputError
from training.table import Table
from training.targets import (
    MULTI,
    REGRESSION,
    SINGLE,
    class_names,
    encode_targets,
    infer_problem_type,
    label_column_of,
    read_targets,
    stray_cell,
)

names = st.text(min_size=1, max_size=6).filter(lambda name: bool(name.strip()))


def table(values: list[Any], *, column: str = "label", untyped: bool = False) -> Table:
    return Table("data", {column: values}, range(1, len(values) + 1), untyped=untyped)


@pytest.mark.parametrize(
    ("values", "column", "untyped", "expected"),
    [
        (["a", "b"], "label", False, SINGLE),
        ([1, 0], "label", False, SINGLE),
        ([True, False], "label", False, SINGLE),
        ([1.5, 2.0], "label", False, REGRESSION),
        ([1, 2.5], "label", False, REGRESSION),
        ([["a"], []], "anything", False, MULTI),
        (["1", "0"], "label", True, SINGLE),
        (["001", "NA"], "label", True, SINGLE),
        (["1.5", "-2", ".5e3"], "label", True, REGRESSION),
        (["1.5", "NA"], "label", True, SINGLE),
        (["1.2.3", "1.2"], "label", True, SINGLE),
        (['["a"]', "[]"], "labels", True, MULTI),
        (['["a"]', "[]"], "label", True, MULTI),
        (["a]", "(b", "c"], "label", True, SINGLE),
    ],
)
def test_what_labels_pose(values: list[Any], column: str, untyped: bool, expected: str) -> None:
    assert infer_problem_type(table(values, column=column, untyped=untyped), column) == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [(['["a"]', "b"], "label must be a JSON list as in"), (["b", "[]"], "label must be no JSON list as in")],
)
def test_lists_among_other_labels_are_no_classes(values: list[str], message: str) -> None:
    with pytest.raises(InputError, match=rf"data, row 2: {message} data, row 1, got .* \(choose with --problem_type\)"):
        infer_problem_type(table(values, untyped=True), "label")


@pytest.mark.parametrize("cell", ["['a']", " [a]", "["])
def test_what_begins_like_a_list_is_no_class_unless_asked_for(cell: str) -> None:
    with pytest.raises(InputError, match=r"data, row 2: label begins like a list, so it must be JSON .*--problem_type"):
        infer_problem_type(table(["b", cell], untyped=True), "label")
    assert read_targets(table(["b", cell], untyped=True), "label", SINGLE) == ["b", cell]


@pytest.mark.parametrize(
    ("values", "untyped", "found"),
    [
        (["0.5"] * 9 + ["n/a"], True, "data, row 10: label 'n/a'"),
        (["0.5"] * 8 + ["n/a", "none"], True, None),  # more than a few
        (["1"] * 9 + ["n/a"], True, None),  # numbers of classes
        (["1"] * 9 + ["n.a."], True, None),
        (["0.5"] * 10, True, None),
        (["0.5"] * 9 + ["n/a"], False, None),  # strings by intention
    ],
)
def test_a_cell_astray_among_numbers(values: list[str], untyped: bool, found: str | None) -> None:
    assert stray_cell(table(values, untyped=untyped), "label") == found


@pytest.mark.parametrize(
    ("columns", "name", "problem_type", "expected"),
    [
        ({"label", "labels"}, "label", None, "label"),
        ({"label", "labels"}, "label", SINGLE, "label"),
        ({"label", "labels"}, "label", MULTI, "labels"),
        ({"labels"}, "label", None, "labels"),
        ({"label"}, "label", MULTI, "label"),
        ({"kind", "labels"}, "kind", MULTI, "kind"),
    ],
)
def test_which_column_is_meant(columns: set[str], name: str, problem_type: str | None, expected: str) -> None:
    assert label_column_of(columns, name, problem_type) == expected


def test_whole_numbers_are_one_class_however_they_are_written() -> None:
    assert read_targets(table([1, 1.0, 2.5]), "label", SINGLE) == ["1", "1", "2.5"]


@pytest.mark.parametrize("name", ["001", "NA", "null", "None", "nan", "true", "1.0", " padded ", "1e5", "退款"])
def test_strings_stay_strings(name: str) -> None:
    assert read_targets(table([name, "other"], untyped=True), "label", SINGLE) == [name, "other"]


def test_integers_are_classes_unless_regression_is_asked_for() -> None:
    values = [10, 9, 100]
    assert class_names(read_targets(table(values), "label", SINGLE)) == ["9", "10", "100"]
    assert read_targets(table(values), "label", REGRESSION) == [10.0, 9.0, 100.0]


def test_very_long_numbers_are_names() -> None:
    assert class_names(["10", "9" * 18, "-2"]) == ["-2", "10", "9" * 18]
    assert class_names(["9", "1" * 5001]) == ["1" * 5001, "9"]


@given(st.lists(names, min_size=1))
def test_class_names_are_the_set_of_targets(targets: list[str]) -> None:
    labels = class_names(targets)
    assert set(labels) == set(targets)
    assert len(labels) == len(set(labels))
    assert labels == class_names(targets[::-1])  # not the order of the file
    encoded = encode_targets(targets, labels, SINGLE)
    assert [labels[index] for index in encoded] == targets


@given(st.lists(st.lists(names, max_size=4), min_size=1).filter(any))
def test_several_labels_encode_to_their_set(rows: list[list[str]]) -> None:
    targets = read_targets(table(rows), "label", MULTI)
    labels = class_names(targets)
    encoded = encode_targets(targets, labels, MULTI)
    assert encoded.dtype == np.float32
    assert [{labels[index] for index in row.nonzero()[0]} for row in encoded] == [set(row) for row in rows]


@pytest.mark.parametrize(
    ("values", "problem_type", "untyped", "message"),
    [
        (["a", None], SINGLE, False, "data, row 2: label must not be empty, got null"),
        (["a", " "], SINGLE, True, "data, row 2: label must not be empty, got ' '"),
        (["a", "b", 3], SINGLE, False, "data, row 3: label must be a string as in data, row 1, got 3"),
        ([1, "b"], SINGLE, False, "data, row 2: label must be an integer as in data, row 1, got 'b'"),
        ([0, True], SINGLE, False, "data, row 2: label must be an integer as in data, row 1, got True"),
        ([["a"], ["b"]], SINGLE, False, "data, row 1: label must be a string or an integer, got ['a']"),
        ([["a"], "b"], MULTI, False, "data, row 2: label must be a list of strings, got 'b'"),
        (["a", "x\ud800a"], SINGLE, False, "data, row 2: label must be valid Unicode, got 'x\\ud800a'"),
        ([["a"], ["\ud800"]], MULTI, False, "data, row 2: label must be valid Unicode, got ['\\ud800']"),
        ([["a"], [""]], MULTI, False, "data, row 2: label must not be empty, got ['']"),
        (['["a"]', "b"], MULTI, True, 'data, row 2: label must be a JSON list such as ["a", "b"], got \'b\''),
        ([1.0, None], REGRESSION, False, "data, row 2: label must be a number for regression, got null"),
        ([1.0, float("nan")], REGRESSION, False, "data, row 2: label must be a number for regression, got nan"),
        (["1.0", "high"], REGRESSION, True, "data, row 2: label must be a number for regression, got 'high'"),
        (["1.0", "1e39"], REGRESSION, True, "data, row 2: label must be at most 3.4e+38 in size, got '1e39'"),
        ([1.0, 10**400], REGRESSION, False, f"data, row 2: label must be at most 3.4e+38 in size, got 1{'0' * 56}..."),
        ([1.0, float("inf")], REGRESSION, False, "data, row 2: label must be a number for regression, got inf"),
        ([0.5, float("nan")], SINGLE, False, "data, row 2: label must be a string or an integer, got nan"),
        ([True, 1.0], REGRESSION, False, "data, row 1: label must be a number for regression, got True"),
    ],
)
def test_wrong_labels_are_named(values: list[Any], problem_type: str, untyped: bool, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_targets(table(values, untyped=untyped), "label", problem_type)
    assert str(caught.value) == message


def test_the_order_of_classes_is_one_order_whatever_the_set() -> None:
    assert class_names(["0", "-0", "10", "9"]) == class_names(["9", "10", "-0", "0"]) == ["-0", "0", "9", "10"]
