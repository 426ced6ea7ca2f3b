"""The data that a training learns from: splits of texts with targets, checked before anything expensive begins."""

import logging
import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from model.errors import InputError, listed
from training.config import DataArguments
from training.hub import read_dataset
from training.readers import data_files, read_files, read_tables, source_of
from training.stored import TARGET, TEXT, StoredColumn, store
from training.table import Table
from training.targets import (
    MULTI,
    REGRESSION,
    SINGLE,
    ProblemType,
    Target,
    alike,
    arrow_type,
    class_names,
    infer_problem_type,
    label_column_of,
    names_of,
    read_targets,
    stray_cell,
)

logger = logging.getLogger(__name__)

# Texts of no class: those that the rule to abstain is chosen by, and those that it is tried on.
OUT_OF_SCOPE = ("out_of_scope", "out_of_scope_test")
_STREAMED = 1000  # rows of a streamed file that are held at a time


@dataclass(frozen=True)
class Split:
    """Texts and their targets."""

    source: str
    texts: Sequence[str]
    targets: Sequence[Target]
    rows: Sequence[int] = ()  # where each stands in its source, counted from 0; empty where all of it is here

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, indices: Sequence[int], source: str) -> "Split":
        """The rows at `indices`, in that order."""
        texts, targets = [self.texts[index] for index in indices], [self.targets[index] for index in indices]
        return Split(source, texts, targets, [self.row(index) for index in indices])

    def row(self, index: int) -> int:
        """Where the text at `index` stands in its source, counted from 0."""
        return self.rows[index] if self.rows else index


@dataclass(frozen=True)
class TextData:
    """Everything that a training is given of texts."""

    problem_type: ProblemType
    labels: list[str]  # class names in the order of the logits; for regression the name of the number
    train: Split
    validation: Split
    test: Split | None
    unlabelled: list[str] = field(default_factory=list)  # more texts for a teacher
    out_of_scope: dict[str, Split] = field(default_factory=dict)  # by name in `OUT_OF_SCOPE`; texts without targets

    def measured(self) -> dict[str, Split]:
        """The splits that figures are made of, by name."""
        return {"validation": self.validation} | ({} if self.test is None else {"test": self.test})


def load_data(arguments: DataArguments, seed: int) -> TextData:
    """Read and check all splits; without validation rows hold out a share of the training rows, drawn with `seed`.

    The classes are those of the training rows. Raises `InputError` naming file and row of the first mistake.
    """
    tables = _read_tables(arguments)  # of streamed files the first rows
    column = label_column_of(tables["train"].columns, arguments.label_column, arguments.problem_type)
    problem_type = arguments.problem_type or infer_problem_type(tables["train"], column)
    if arguments.problem_type is None:
        _tell(tables["train"], column, problem_type)
    splits = {name: _split(table, arguments.text_column, column, problem_type) for name, table in tables.items()}
    if arguments.streaming:
        splits["train"] = _stored(arguments, column, problem_type)
    train, labels = splits["train"], [column]
    if problem_type != REGRESSION:
        labels = class_names(train.targets)
        _require_classes(train, labels, column)
        if (pair := alike(labels)) is not None:
            logger.info("%r and %r are two classes: labels are taken as they stand", *pair)
        for name in splits.keys() - {"train"}:
            _require_known(splits[name], tables[name], set(labels), column)
    validation = splits.get("validation")
    if validation is None:
        train, validation = hold_out(train, arguments.validation_share, seed)
        logger.info(
            "no validation rows given: %d of the %d training rows held out", len(validation), len(splits["train"])
        )
    out_of_scope = _read_out_of_scope(arguments, problem_type)
    more = _files(arguments, ["unlabelled"]).values()
    unlabelled = [text for paths in more for text in read_files(paths).texts(arguments.text_column)]
    return TextData(problem_type, labels, train, validation, splits.get("test"), unlabelled, out_of_scope)


def hold_out(train: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Training rows parted in two: those that stay, and `share` of them for validation, both in their order.

    Each class gives its share, or what it can: it keeps at least one row, and equal rows go together. Of a text with
    several classes the rarest counts. The same seed draws the same rows.
    """
    strata: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, (text, name) in enumerate(zip(train.texts, _rarest_classes(train.targets), strict=True)):
        strata[name][text].append(index)
    draw = random.Random(seed)  # noqa: S311  (no secret)
    held: set[int] = set()
    owed = 0.0  # rows, carried from class to class so that small ones are not all rounded off
    for same_text in strata.values():
        groups = list(same_text.values())
        draw.shuffle(groups)
        due = share * sum(map(len, groups))
        owed += due
        room = min(owed, math.ceil(due))  # what small classes could not give is not for one large class to give
        for group in groups[1:]:
            if room < len(group):
                break
            held.update(group)
            room -= len(group)
            owed -= len(group)
    if not held:
        if len(strata) > 1 and all(len(same_text) == 1 for same_text in strata.values()):
            rule = "every label stands beside one text alone, so no validation rows can be held out"
            raise InputError(f"{train.source}: {rule}; got the labels {listed(list(strata))}")
        raise InputError(
            f"{train.source}: {len(train)} rows (different texts: {len(set(train.texts))}) are too few to hold out "
            "validation rows; give more, or a file of them"
        )
    rest = [index for index in range(len(train)) if index not in held]
    return train.select(rest, train.source), train.select(sorted(held), f"held out of {train.source}")


def _rarest_classes(targets: Sequence[Target]) -> Iterator[str]:
    """The class of each target, the rarest of several; the same for numbers and for texts without any."""
    names = list(map(names_of, targets))
    counts = Counter(chain.from_iterable(names))
    return (min(each, key=lambda name: (counts[name], name), default="") for each in names)


def _read_tables(arguments: DataArguments) -> dict[str, Table]:
    if arguments.dataset is not None:
        return read_dataset(arguments.dataset, arguments.dataset_config, arguments.label_column)
    files = _files(arguments, ("train", "validation", "test"))
    return {
        name: next(read_tables(paths[0], _STREAMED)) if arguments.streaming and name == "train" else read_files(paths)
        for name, paths in files.items()
    }


def _files(arguments: DataArguments, names: Sequence[str]) -> dict[str, list[Path]]:
    """The files of those splits that have some."""
    given = {name: getattr(arguments, f"{name}_file") for name in names}
    return {name: data_files(f"{name}_file", files) for name, files in given.items() if files is not None}


def _stored(arguments: DataArguments, column: str, problem_type: ProblemType) -> Split:
    """The training rows in a file in the cache, whatever their number; checked as they are read, in a single pass."""
    files = _files(arguments, ["train"])["train"]
    text_column = arguments.text_column
    seen: dict[type, str] = {}  # the types of labels, and where each stood first

    def chunks() -> Iterator[tuple[list[str], list[Target]]]:
        for table in chain.from_iterable(read_tables(path, _STREAMED) for path in files):
            _require_one_label(table, column)
            posed = arguments.problem_type or infer_problem_type(table, column)
            if posed != problem_type:
                raise InputError(
                    f"{table.place(0)}: {column} poses {posed} from here on, {problem_type} before; "
                    "choose with --problem_type"
                )
            yield table.texts(text_column), read_targets(table, column, problem_type, seen)

    states = [(str(path.absolute()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    file = store(
        arguments.cache_folder, (states, text_column, column, problem_type), chunks(), arrow_type(problem_type)
    )
    return Split(source_of(files), StoredColumn(file, TEXT), StoredColumn(file, TARGET))


def _read_out_of_scope(arguments: DataArguments, problem_type: str) -> dict[str, Split]:
    files = _files(arguments, OUT_OF_SCOPE)
    if files and problem_type == REGRESSION:
        raise InputError(f"{next(iter(files))}_file: a regression has no classes that a text could belong to")
    tables = {name: read_files(paths) for name, paths in files.items()}
    return {name: Split(table.source, table.texts(arguments.text_column), []) for name, table in tables.items()}


def _tell(table: Table, column: str, problem_type: str) -> None:
    """What the labels were taken for, where that might be another thing than what was meant."""
    if problem_type == REGRESSION:
        logger.info("%r holds numbers: regression (for classes give --problem_type %s)", column, SINGLE)
    elif problem_type == SINGLE and (stray := stray_cell(table, column)) is not None:
        logger.info("%s is no number, nearly all others are: classes (for a regression every one must be)", stray)


def _split(table: Table, text_column: str, label_column: str, problem_type: str) -> Split:
    _require_one_label(table, label_column)
    return Split(table.source, table.texts(text_column), read_targets(table, label_column, problem_type))


def _require_one_label(table: Table, column: str) -> None:
    """In fastText's files the column `label` is missing as soon as a line has several."""
    if column != "label" or column in table.columns:
        return
    for index, names in enumerate(table.columns.get("labels", ())):
        if isinstance(names, list) and len(names) > 1:
            raise InputError(
                f"{table.place(index)}: label must be one class, got {names} (for several give --problem_type {MULTI})"
            )


def _require_classes(train: Split, labels: list[str], column: str) -> None:
    if len(labels) < 2:
        found = f"one class only, {labels[0]!r}" if labels else "no class"
        raise InputError(f"{train.source}: {column} must hold at least 2 classes, found {found}")
    if all(isinstance(target, tuple) and len(target) == len(labels) for target in train.targets):
        raise InputError(
            f"{train.source}: {column} must name the classes of each row, which differ, "
            f"but every row has {listed(labels)}"
        )


def _require_known(split: Split, table: Table, known: set[str], column: str) -> None:
    for index, target in enumerate(split.targets):
        for name in names_of(target):
            if name not in known:
                raise InputError(
                    f"{table.place(index)}: {column} {name!r} was never seen in training, which has "
                    f"{listed(sorted(known))}"
                )
