"""The formats of data files: CSV, TSV, JSON lines, Parquet and fastText's, read a number of rows at a time."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import IO, Any

from model.delimited import LARGEST_FIELD, quoting_of_tsv
from model.errors import InputError, TableError, listed
from model.fasttext import labels_of, without_labels
from model.parquet import column_values, open_parquet
from model.rows import first_repeated
from training.table import Table


def _lines(source: str, file: IO[bytes], newline: str) -> Iterator[str]:
    """The lines of a file, which end where `newline` says (see `open`)."""
    text = io.TextIOWrapper(file, "utf-8-sig", newline=newline)
    try:
        for line in text:  # noqa: UP028  (`yield from` would close the file along with this generator)
            yield line
    except UnicodeDecodeError as error:
        file.seek(0)
        raise InputError(f"{source}: not UTF-8: {_first_fault(file)}") from error
    finally:
        if not file.closed:
            text.detach()  # or else it would close the file


def _first_fault(file: IO[bytes]) -> str:
    offset = 0
    for number, line in enumerate(file, 1):
        try:
            line.decode()
        except UnicodeDecodeError as error:
            return f"byte 0x{line[error.start]:02x} at offset {offset + error.start}, line {number}"
        offset += len(line)
    raise AssertionError("a file that is not UTF-8 has a line that is not")


def _parse_csv(source: str, file: IO[bytes], rows: int | None) -> Iterator[Table]:
    return _delimited(source, file, rows, ",", csv.QUOTE_MINIMAL)


def _parse_tsv(source: str, file: IO[bytes], rows: int | None) -> Iterator[Table]:
    """Tabs with quoted fields, as spreadsheets write them, or else with quotes that mean nothing."""

    def lines() -> Iterator[str]:
        file.seek(0)
        return _lines(source, file, newline="")

    quoting = quoting_of_tsv(lines)
    file.seek(0)
    yield from _delimited(source, file, rows, "\t", quoting)


def _delimited(source: str, file: IO[bytes], rows: int | None, delimiter: str, quoting: Any) -> Iterator[Table]:
    csv.field_size_limit(LARGEST_FIELD)
    reader = csv.reader(_lines(source, file, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    records = filter(None, reader)  # a blank line has no fields
    try:
        header = next(records, [])
        if len(set(header)) < len(header):
            raise InputError(f"{source}: column names must differ, got {listed(header)}")
        first = 1
        while chunk := list(islice(records, rows)):
            for number, row in enumerate(chunk, first):
                if len(row) != len(header):
                    fields = f"{len(row)} fields where the header has {len(header)}, {listed(header)}"
                    raise InputError(f"{source}, row {number}: {fields}")
            numbers = range(first, first + len(chunk))
            yield Table(source, dict(zip(header, zip(*chunk, strict=True), strict=True)), numbers, untyped=True)
            first = numbers.stop
    except csv.Error as error:
        raise InputError(f"{source}: broken quoting before line {reader.line_num} ({error})") from error


def _numbered_lines(source: str, file: IO[bytes]) -> Iterator[tuple[int, str]]:
    """Lines that are not blank; U+2028 ends none."""
    for number, line in enumerate(_lines(source, file, newline="\n"), 1):
        if not line.isspace():
            yield number, line.removesuffix("\n")


def _parse_json_lines(source: str, file: IO[bytes], rows: int | None) -> Iterator[Table]:
    """One JSON object a line; a key that a line lacks is null there."""
    lines = _numbered_lines(source, file)
    while chunk := list(islice(lines, rows)):
        records = [_json_object(f"{source}, line {number}", line) for number, line in chunk]
        names = dict.fromkeys(name for record in records for name in record)
        columns = {name: [record.get(name) for record in records] for name in names}
        yield Table(source, columns, [number for number, _ in chunk], unit="line")


def _json_object(place: str, line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: broken JSON ({error})") from error
    if not isinstance(record, dict):
        raise InputError(f"{place}: must be a JSON object, got {line[:40]!r}")
    return record


def _parse_parquet(source: str, file: IO[bytes], rows: int | None) -> Iterator[Table]:
    try:
        with open_parquet(file) as whole:
            if (twice := first_repeated(whole.schema_arrow.names)) is not None:
                raise TableError(f"has the column {twice!r} twice")
            first = 1
            for batch in [whole.read()] if rows is None else whole.iter_batches(rows):
                numbers = range(first, first + batch.num_rows)
                if numbers:
                    columns = {name: column_values(name, batch[name]) for name in batch.schema.names}
                    yield Table(source, columns, numbers)
                first = numbers.stop
    except TableError as error:
        raise InputError(f"{source} {error}") from error


def parse_fasttext(source: str, file: IO[bytes], rows: int | None) -> Iterator[Table]:
    """A text a line, and its labels anywhere in it: lists of `labels`, or one `label` each if no line has several."""
    lines = _numbered_lines(source, file)
    while chunk := list(islice(lines, rows)):
        texts = [without_labels(line) for _, line in chunk]
        labels = [labels_of(line) for _, line in chunk]
        columns: dict[str, Sequence[Any]] = {"text": texts, "labels": labels}
        if all(len(names) <= 1 for names in labels):
            columns["label"] = [names[0] if names else None for names in labels]
        yield Table(source, columns, [number for number, _ in chunk], unit="line")


PARSERS: dict[str, Callable[[str, IO[bytes], int | None], Iterator[Table]]] = {
    ".csv": _parse_csv,
    ".tsv": _parse_tsv,
    ".jsonl": _parse_json_lines,
    ".ndjson": _parse_json_lines,
    ".parquet": _parse_parquet,
}
