"""Label columns to targets: which problem they pose, and what each row's target is."""

import json
import math
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import pyarrow
from numpy.typing import NDArray

from model.errors import InputError, shown
from model.rows import is_unicode
from training.stored import StoredColumn
from training.table import Table

Target: TypeAlias = str | tuple[str, ...] | float  # a class, several classes, or a number
ProblemType: TypeAlias = Literal["single_label_classification", "multi_label_classification", "regression"]
SINGLE: Final = "single_label_classification"
MULTI: Final = "multi_label_classification"
REGRESSION: Final = "regression"

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})")  # longer ones are names; Python refuses to read those of 4,301 digits
_STRAY_SHARE = 0.1  # of cells that are no numbers, up to which a column of numbers was probably meant
_LARGEST = float(np.finfo(np.float32).max)  # that a network can answer
_KINDS = {str: "a string", bool: "a truth value", int: "an integer", float: "a number", list: "a list"}


def label_column_of(columns: Collection[str], name: str, problem_type: str | None = None) -> str:
    """The column that `name` means: for `label` it is `labels` where that alone exists or several are asked for."""
    wants_lists = "label" not in columns or problem_type == MULTI
    return "labels" if name == "label" and wants_lists and "labels" in columns else name


def infer_problem_type(table: Table, column: str) -> ProblemType:
    """What the labels pose: lists several classes, numbers with a fraction a regression, all else one class.

    In files without types (CSV, TSV) a list is written in JSON. Raises `InputError` where the labels are of several
    kinds.
    """
    values = table.column(column, "label_column")
    if table.untyped:
        if _are_lists(table, column):
            return MULTI
        numbers = all(_NUMBER.fullmatch(value.strip()) for value in values)
        return REGRESSION if numbers and any("." in value for value in values) else SINGLE
    kinds = _kinds(table, column, {})
    if kinds == {list}:
        return MULTI
    return REGRESSION if kinds and kinds <= {int, float} and float in kinds else SINGLE


def stray_cell(table: Table, column: str) -> str | None:
    """Place and content of the first cell that makes classes of what else would be a column of decimal numbers.

    Of files without types alone; in others a mixture is refused.
    """
    values = table.columns[column] if table.untyped else []
    stray = [index for index, value in enumerate(values) if not _NUMBER.fullmatch(value.strip())]
    if not 0 < len(stray) <= _STRAY_SHARE * len(values):
        return None
    if not any("." in value for value in values if _NUMBER.fullmatch(value.strip())):
        return None
    return f"{table.place(stray[0])}: {column} {shown(values[stray[0]])}"


def read_targets(table: Table, column: str, problem_type: str, seen: dict[type, str] | None = None) -> list[Target]:
    """The target of each row; raises `InputError` naming the first row whose label does not fit the problem type.

    `seen` are the types of the labels in the tables before this one, by which those of classes are judged.
    """
    values = table.column(column, "label_column")
    if not table.untyped and problem_type == SINGLE:
        _kinds(table, column, {} if seen is None else seen)
    read = _READERS[problem_type]
    targets: list[Target] = []
    for index, value in enumerate(values):
        try:
            targets.append(read(value, table.untyped))
        except ValueError as error:
            raise InputError(f"{table.place(index)}: {column} {error}, got {shown(value)}") from error
    return targets


def names_of(target: Target) -> tuple[str, ...]:
    """The classes of a text: one, several, or none where the target is a number."""
    if isinstance(target, str):
        return (target,)
    return target if isinstance(target, tuple) else ()


def class_names(targets: Iterable[Target]) -> list[str]:
    """The distinct classes: by value if all are integers, else by code point."""
    names = {name for target in targets for name in names_of(target)}
    if all(_INTEGER.fullmatch(name) for name in names):
        return sorted(names, key=lambda name: (int(name), name))  # "0" and "-0" have an order too
    return sorted(names)


def alike(names: Iterable[str]) -> tuple[str, str] | None:
    """Two classes that differ in case, spaces and forms of the same characters alone; None if there are none.

    >>> alike(["ham", "spam", "Spam "])
    ('spam', 'Spam ')
    """
    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault("".join(unicodedata.normalize("NFKC", name).casefold().split()), name)
        if other != name:
            return other, name
    return None


def arrow_type(problem_type: str) -> pyarrow.DataType:
    """Targets as a column of a file."""
    types = {SINGLE: pyarrow.string(), MULTI: pyarrow.list_(pyarrow.string()), REGRESSION: pyarrow.float64()}
    return types[problem_type]


def encode_targets(targets: Sequence[Target], labels: Sequence[str], problem_type: str) -> NDArray[Any]:
    """Class indices (N,), zeros and ones (N, C) for several labels, or numbers (N,) for regression."""
    if problem_type == REGRESSION:
        return np.fromiter(targets, np.float64, len(targets))
    position = {label: index for index, label in enumerate(labels)}
    if problem_type == SINGLE:
        return np.fromiter((position[str(target)] for target in targets), np.int64, len(targets))
    shape = len(targets), len(labels)
    encoded = targets.zeros(shape[1]) if isinstance(targets, StoredColumn) else np.zeros(shape, np.float32)
    for row, target in enumerate(targets):
        encoded[row, [position[name] for name in names_of(target)]] = 1
    return encoded


def _kinds(table: Table, column: str, seen: dict[type, str]) -> set[type]:
    """The types in a column and before it; integers and other numbers go together, else a mixture is an `InputError`.

    `seen` says where each type stood first, and is added to.
    """
    for index, value in enumerate(table.columns[column]):
        if value is None or type(value) in seen:
            continue
        kind, first = type(value), next(iter(seen), None)
        if first is not None and not {kind, first} <= {int, float}:
            raise InputError(
                f"{table.place(index)}: {column} must be {_KINDS.get(first, first.__name__)} "
                f"as in {seen[first]}, got {shown(value)}"
            )
        seen[kind] = table.place(index)
    return set(seen)


def _are_lists(table: Table, column: str) -> bool:
    """Whether the cells of a file without types are lists in JSON.

    Raises `InputError` where only some are, or where one begins like a list and is none.
    """
    first = None
    for index, value in enumerate(table.columns[column]):
        kind = _is_list(value)
        if first is None:
            first = kind
        elif kind != first:
            raise InputError(
                f"{table.place(index)}: {column} must be {'a' if first else 'no'} JSON list as in {table.place(0)}, "
                f"got {shown(value)} (choose with --problem_type)"
            )
        if not kind and value.lstrip().startswith("["):
            raise InputError(
                f'{table.place(index)}: {column} begins like a list, so it must be JSON such as ["a", "b"], '
                f"got {shown(value)} (choose with --problem_type)"
            )
    return bool(first)


def _is_list(cell: str) -> bool:
    if not cell.lstrip().startswith("["):
        return False
    try:
        return isinstance(json.loads(cell), list)
    except (ValueError, RecursionError):
        return False


def _one_class(value: object, untyped: bool) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ValueError("must not be empty")
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError("must be a string or an integer")
    if isinstance(value, str) and not is_unicode(value):  # no file could hold it
        raise ValueError("must be valid Unicode")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _classes(value: object, untyped: bool) -> tuple[str, ...]:
    if untyped and isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError('must be a JSON list such as ["a", "b"]') from None
    if not isinstance(value, list | tuple):
        raise ValueError("must be a list of strings")
    names = [_one_class(item, untyped) for item in value]
    if len(set(names)) < len(names) and all(isinstance(item, int | float) and item in (0, 1) for item in value):
        raise ValueError("must name the classes of a row, not mark all of them with zeros and ones")
    return tuple(dict.fromkeys(names))


def _number(value: object, untyped: bool) -> float:
    if untyped and isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    endless = isinstance(value, float) and not math.isfinite(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or endless:
        raise ValueError("must be a number for regression")
    if abs(value) > _LARGEST:
        raise ValueError(f"must be at most {_LARGEST:.3g} in size")
    return float(value)


_READERS: dict[str, Callable[[object, bool], Target]] = {SINGLE: _one_class, MULTI: _classes, REGRESSION: _number}
