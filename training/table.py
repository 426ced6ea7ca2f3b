"""Rows of a file as columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from model.errors import InputError, listed


@dataclass(frozen=True)
class Table:
    """Columns of equal length, and where each row stands in its file."""

    source: str  # file or dataset, as messages and the model card name it
    columns: Mapping[str, Sequence[Any]]
    numbers: Sequence[int]  # 1-based, of each row
    unit: str = "row"  # what the numbers count: data rows, or lines of the file
    untyped: bool = False  # whether every cell is a string, so that numbers and lists are yet to be told
    parts: Sequence["Table"] = ()  # tables of one file each that this one joins

    def __len__(self) -> int:
        return len(self.numbers)

    def place(self, index: int) -> str:
        """Where a row stands, for a message."""
        for part in self.parts:
            if index < len(part):
                return part.place(index)
            index -= len(part)
        return f"{self.source}, {self.unit} {self.numbers[index]}"

    def column(self, name: str, flag: str) -> Sequence[Any]:
        """The column that `flag` names; raises `InputError` naming those that exist."""
        for part in self.parts:
            part.column(name, flag)  # or names the file that lacks it
        if name not in self.columns:
            raise InputError(
                f"{self.source}: no column {name!r}; found {listed(list(self.columns))} (choose with --{flag})"
            )
        return self.columns[name]

    def texts(self, name: str) -> list[str]:
        """The column of texts; raises `InputError` naming the first row that holds none."""
        texts = self.column(name, "text_column")
        for index, text in enumerate(texts):
            fault = _fault(text)
            if fault is not None:
                raise InputError(f"{self.place(index)}: {name} {fault}")
        return list(texts)


def joined(tables: Sequence[Table], source: str) -> Table:
    """The rows of several files one after the other, with the columns that all of them have."""
    first, *others = tables
    if not others:
        return first
    names = [name for name in first.columns if all(name in table.columns for table in others)]
    columns = {name: list(chain.from_iterable(table.columns[name] for table in tables)) for name in names}
    rows = range(1, sum(map(len, tables)) + 1)
    return Table(source, columns, rows, untyped=first.untyped, parts=tables)


def _fault(text: object) -> str | None:
    if text is None:
        return "must not be null or missing"
    if not isinstance(text, str):
        return f"must be a string, got {text!r}"
    if not text or text.isspace():
        return "must not be empty"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"must be valid Unicode, got the lone surrogate {text[error.start]!r} at character {error.start}"
    return None
