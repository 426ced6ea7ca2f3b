"""Data files to columns: CSV, TSV, JSON lines, Parquet and fastText's, plain or gzipped, with every mistake's place."""

import codecs
import csv
import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.errors import InputError
from model.fasttext import PREFIX


@dataclass(frozen=True)
class Table:
    """Columns of equal length, and where each row stands in its file."""

    source: str  # file or dataset, as messages and the model card name it
    columns: Mapping[str, Sequence[Any]]
    numbers: Sequence[int]  # 1-based, of each row
    unit: str = "row"  # what the numbers count: data rows, or lines of the file
    untyped: bool = False  # whether every cell is a string, so that numbers and lists are yet to be told

    def __len__(self) -> int:
        return len(self.numbers)

    def place(self, index: int) -> str:
        """Where a row stands, for a message."""
        return f"{self.source}, {self.unit} {self.numbers[index]}"

    def column(self, name: str, flag: str) -> Sequence[Any]:
        """The column that `flag` names; raises `InputError` naming those that exist."""
        if name not in self.columns:
            found = ", ".join(map(repr, self.columns))
            raise InputError(f"{self.source}: no column {name!r}; found {found} (choose with --{flag})")
        return self.columns[name]


def read_table(path: Path) -> Table:
    """All rows of a file, its format told by its name, or for fastText's by its beginning.

    Raises `InputError` for a file that is missing, of an unknown format, not UTF-8, broken or without rows.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compressed = suffixes[-1:] == [".gz"]
    content = _read_bytes(path, compressed)
    parse = _PARSERS.get("".join(suffixes[:-1][-1:] if compressed else suffixes[-1:]))
    if parse is None and content.removeprefix(codecs.BOM_UTF8).startswith(PREFIX.encode()):
        parse = _parse_fasttext  # its files have all sorts of endings: .txt, .train, .valid
    if parse is None:
        known = ", ".join(_PARSERS)
        raise InputError(
            f"{path}: unknown kind of file; must end in {known}, or one of them and .gz, or begin with {PREFIX}"
        )
    table = parse(str(path), content)
    if not len(table):
        raise InputError(f"{path}: no rows")
    return table


def _read_bytes(path: Path, compressed: bool) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if not content:
        raise InputError(f"{path}: the file is empty")
    try:
        return gzip.decompress(content) if compressed else content
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: broken or cut off gzip ({error})") from error


def _decode(source: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise InputError(f"{source}: not UTF-8: byte 0x{byte:02x} at offset {error.start}, line {line}") from error


def _parse_csv(source: str, content: bytes) -> Table:
    return _delimited(source, _decode(source, content), ",", csv.QUOTE_MINIMAL)


def _parse_tsv(source: str, content: bytes) -> Table:
    """Tabs with quoted fields, as spreadsheets write them, or else with quotes that mean nothing."""
    text = _decode(source, content)
    try:
        table = _delimited(source, text, "\t", csv.QUOTE_MINIMAL)
    except InputError:
        return _delimited(source, text, "\t", csv.QUOTE_NONE)
    swallowed = any("\t" in cell for cells in table.columns.values() for cell in cells)
    return _delimited(source, text, "\t", csv.QUOTE_NONE) if swallowed else table


def _delimited(source: str, text: str, delimiter: str, quoting: Any) -> Table:
    csv.field_size_limit(sys.maxsize)  # the default cuts off at 128 KiB
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    try:
        rows = [row for row in reader if row]  # a blank line has no fields
    except csv.Error as error:
        raise InputError(f"{source}: broken quoting before line {reader.line_num} ({error})") from error
    header, *rows = rows or [[]]
    if len(set(header)) < len(header):
        raise InputError(f"{source}: column names must differ, got {', '.join(map(repr, header))}")
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise InputError(f"{source}, row {number}: {len(row)} fields where the header has {len(header)}")
    columns = dict(zip(header, zip(*rows, strict=True), strict=True)) if rows else {}
    return Table(source, columns, range(1, len(rows) + 1), untyped=True)


def _parse_json_lines(source: str, content: bytes) -> Table:
    """One JSON object a line; a key that a line lacks is null there."""
    numbers, records = [], []
    for number, line in enumerate(_decode(source, content).split("\n"), 1):  # U+2028 is no line break in JSON
        if line and not line.isspace():
            numbers.append(number)
            records.append(_json_object(f"{source}, line {number}", line))
    names = dict.fromkeys(name for record in records for name in record)
    columns = {name: [record.get(name) for record in records] for name in names}
    return Table(source, columns, numbers, unit="line")


def _json_object(place: str, line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: broken JSON ({error})") from error
    if not isinstance(record, dict):
        raise InputError(f"{place}: must be a JSON object, got {line[:40]!r}")
    return record


def _parse_parquet(source: str, content: bytes) -> Table:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(io.BytesIO(content))
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{source}: broken Parquet ({str(error).splitlines()[0]})") from error
    columns = {name: table[name].to_pylist() for name in table.column_names}
    return Table(source, columns, range(1, table.num_rows + 1))


_FASTTEXT_LABEL = re.compile(rf"(?<![^ \t\v\f\r\0]){PREFIX}([^ \t\v\f\r\0]*)[ \t\v\f\r\0]*")  # its own white space


def _parse_fasttext(source: str, content: bytes) -> Table:
    """A text a line, and its labels anywhere in it: lists of `labels`, or one `label` each if no line has several."""
    numbers, texts, labels = [], [], []
    for number, line in enumerate(_decode(source, content).split("\n"), 1):
        if line and not line.isspace():
            numbers.append(number)
            texts.append(_FASTTEXT_LABEL.sub("", line).strip())
            labels.append(_FASTTEXT_LABEL.findall(line))
    columns: dict[str, Sequence[Any]] = {"text": texts, "labels": labels}
    if all(len(names) <= 1 for names in labels):
        columns["label"] = [names[0] if names else None for names in labels]
    return Table(source, columns, numbers, unit="line")


_PARSERS: dict[str, Callable[[str, bytes], Table]] = {
    ".csv": _parse_csv,
    ".tsv": _parse_tsv,
    ".jsonl": _parse_json_lines,
    ".parquet": _parse_parquet,
}
