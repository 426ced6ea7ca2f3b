"""Rows of a file, one after the other: texts with whatever stands beside them, and the rows that hold none.

Files may be larger than the memory. What is wrong with a single row is told instead of the row and ends nothing.
"""

import codecs
import gzip
import io
import json
import sys
import zlib
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

from pydantic_core import from_json

from .delimited import Record, quoting_of_tsv, records
from .errors import InputError, TableError, listed
from .fasttext import PREFIX, without_labels
from .files import ending, is_gzip
from .parquet import column_values, open_parquet

Item = TypeVar("Item", bound=Hashable)


@dataclass(slots=True)
class Row:
    """A text, and the columns that it stands in; None where the file has nothing but texts."""

    number: int  # 1-based line on which it begins, or row of a Parquet file
    text: str
    columns: dict[str, Any] | None


@dataclass(slots=True)
class BadRow:
    """A row without a text."""

    number: int
    reason: str


Rows = Iterator[Row | BadRow]


class Table(NamedTuple):
    """The names of the columns that all rows have, None where there are no such columns; and the rows."""

    columns: list[str] | None
    rows: Rows


def read_table(name: str, text_column: str) -> Table:
    """Rows of a file, or of standard input for "-"; its ending tells its kind, .gz may follow.

    .csv and .tsv begin with the names of the columns; .jsonl and .ndjson have an object a line; .parquet needs pyarrow.
    Any other file has one text a line, less its labels if it begins with one, as fastText's do. Raises `InputError`,
    here or at a row, when the file is missing, broken, has no such column or the ending of what cannot be read.
    """
    parts = _read(name, text_column)
    return Table(next(parts), parts)


_Parts = Iterator[Any]  # of a `Table`: its columns, then each of its rows


def _read(name: str, text_column: str) -> _Parts:
    kind = ending(Path(name))
    if kind in _UNREAD:
        kinds = ", ".join(_PARSERS)
        raise InputError(f"input must end in {kinds}, .gz may follow, or have a text a line, got {name!r}")
    parse = _PARSERS.get(kind, _texts)
    try:
        with _open(name) as file:
            yield from parse(file, text_column)
    except OSError as error:  # of a broken gzip too
        raise InputError(f"input {name!r} cannot be read ({error.strerror or error})") from error
    except (EOFError, zlib.error) as error:
        raise InputError(f"input {name!r} is a broken or cut off gzip ({error})") from error
    except TableError as error:
        raise InputError(f"input {name!r} {error}") from None


@contextmanager
def _open(name: str) -> Iterator[IO[bytes]]:
    if name == "-":
        if sys.stdin is None:  # as whoever started this process has left it
            raise InputError("input: standard input is closed")
        yield sys.stdin.buffer
    elif is_gzip(Path(name)):
        with gzip.open(name) as file:
            yield file  # type: ignore[misc]  # it reads like any other file
    else:
        with Path(name).open("rb") as file:
            yield file


def _texts(file: IO[bytes], text_column: str) -> _Parts:
    yield None
    is_labelled = False
    for number, line in enumerate(_without_mark(file), 1):
        is_labelled = is_labelled or (number == 1 and line.startswith(PREFIX.encode()))
        try:
            text = line.rstrip(b"\r\n").decode()
            yield Row(number, without_labels(text) if is_labelled else text, None)
        except UnicodeDecodeError as error:
            yield BadRow(number, f"is not UTF-8 (byte 0x{error.object[error.start]:02x})")


def _json_lines(file: IO[bytes], text_column: str) -> _Parts:
    yield None
    for number, line in enumerate(_without_mark(file), 1):
        if not line.strip():
            continue
        try:
            columns = _parse_json(line)
        except UnicodeDecodeError as error:
            yield BadRow(number, f"is not UTF-8 (byte 0x{error.object[error.start]:02x})")
        except (ValueError, RecursionError) as error:
            yield BadRow(number, f"is no JSON ({error})")
        else:
            yield _row(number, columns, text_column)


def _parse_json(line: bytes) -> Any:
    try:
        return from_json(line)  # four times as fast
    except ValueError:  # a lone surrogate, which the other one takes, or a mistake, which it explains
        return json.loads(line.decode())


def _csv(file: IO[bytes], text_column: str) -> _Parts:
    yield from _delimited(records(_decoded(file), ","), text_column)


def _tsv(file: IO[bytes], text_column: str) -> _Parts:
    def lines() -> Iterator[str]:
        file.seek(0)
        return _decoded(file)

    quoting = quoting_of_tsv(lines)
    yield from _delimited(records(lines(), "\t", quoting), text_column)


def _decoded(file: IO[bytes]) -> Iterator[str]:
    """Lines that may end as on any system; lone surrogates stand for what is not UTF-8."""
    text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    try:
        for line in text:  # noqa: UP028  (`yield from` would close the file along with this generator)
            yield line
    finally:
        if not file.closed:
            text.detach()  # or else it would close the file


def _delimited(found: Iterator[Record], text_column: str) -> _Parts:
    first = next(found, None)
    if first is None:
        raise TableError("is empty")
    if first.fault is not None:
        raise TableError(f"has a broken header ({first.fault})")
    header = first.cells
    _require(text_column, header)
    yield header
    for record in found:
        cells, span = record.cells, f" up to line {record.last}" if record.last > record.first else ""
        if record.fault is not None:
            yield BadRow(record.first, f"has broken quoting{span} ({record.fault})")
        elif len(cells) != len(header):
            yield BadRow(record.first, f"has {len(cells)} fields{span} where the header has {len(header)}")
        elif not is_unicode("".join(cells)):
            yield BadRow(record.first, "is not UTF-8")
        else:
            yield _row(record.first, dict(zip(header, cells, strict=True)), text_column)


def _parquet(file: IO[bytes], text_column: str) -> _Parts:
    with open_parquet(file) as table:
        _require(text_column, table.schema_arrow.names)
        yield table.schema_arrow.names
        yield from (_row(number, columns, text_column) for number, columns in enumerate(_records(table), 1))


def _records(table: Any) -> Iterator[dict[str, Any]]:
    for batch in table.iter_batches(1024):
        names = batch.schema.names
        columns = [column_values(name, column) for name, column in zip(names, batch.columns, strict=True)]
        yield from (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))


def _row(number: int, columns: Any, text_column: str) -> Row | BadRow:
    if not isinstance(columns, dict):
        return BadRow(number, f"must be an object, got {type(columns).__name__}")
    if text_column not in columns:
        return BadRow(number, f"has no {text_column!r} (choose with --text_column)")
    text = columns[text_column]
    if not isinstance(text, str):
        return BadRow(number, f"{text_column!r} must be a string, got {type(text).__name__}")
    return Row(number, text, columns) if is_unicode(text) else BadRow(number, f"{text_column!r} is no valid Unicode")


def _require(text_column: str, header: list[str]) -> None:
    if not is_unicode("".join(header)):
        raise TableError("has a header that is not UTF-8")
    if text_column not in header:
        raise TableError(f"has no column {text_column!r}; found {listed(header)} (choose with --text_column)")
    if (twice := first_repeated(header)) is not None:
        raise TableError(f"has the column {twice!r} twice")


def first_repeated(items: Iterable[Item]) -> Item | None:
    """The first that stands there a second time.

    >>> first_repeated(["id", "text", "id"])
    'id'
    """
    found: set[Item] = set()
    for item in items:
        if item in found:
            return item
        found.add(item)
    return None


def is_unicode(text: str) -> bool:
    """Whether it has no lone surrogates, for which bytes that are not UTF-8 stand as well."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _without_mark(lines: IO[bytes]) -> Iterator[bytes]:
    """The lines without the byte order mark that some programs begin a file with."""
    for first in lines:
        yield first.removeprefix(codecs.BOM_UTF8)
        yield from lines


_PARSERS: dict[str, Callable[[IO[bytes], str], _Parts]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".parquet": _parquet,
}
# Of files that have no text a line, though some can be read as if they had.
_UNREAD = (".json", ".xls", ".xlsx", ".ods", ".feather", ".arrow", ".orc", ".zip", ".zst", ".bz2", ".xz", ".7z", ".tar")
