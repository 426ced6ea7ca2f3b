"""Files of any size through a classifier: every row that holds a text gets its prediction, in order."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from pydantic_core import to_json

from .classifier import TextClassifier
from .errors import InputError
from .fasttext import fasttext_line
from .prediction import Prediction
from .resumption import ResumableFile
from .rows import BadRow, Row, Rows, read_rows

BATCH_ROWS = 4096  # read, scored and written together
PREFIX = "predicted_"  # of the results beside columns, which may have a label or score of their own

Scored = tuple[Row, Prediction]
Report = Callable[[str], None]
Advance = Callable[[int], object]  # takes the number of texts that are done


@dataclass(frozen=True)
class ScoringOptions:
    """What is read of the rows and written beside them."""

    text_column: str = "text"
    top_k: int | None = None
    format: Literal["jsonl", "fasttext"] = "jsonl"
    on_error: Literal["fail", "skip"] = "fail"


def score_rows(
    classifier: TextClassifier, name: str, rows: Rows, options: ScoringOptions, report: Report
) -> Iterator[tuple[int, list[Scored]]]:
    """For each batch, how many rows were read and those that hold a text, with their predictions.

    A bad row is reported and skipped, or, with `on_error` "fail", an `InputError` after the rows before it.
    """
    while batch := list(islice(rows, BATCH_ROWS)):
        good: list[Row] = []
        failure, read = None, 0
        for row in batch:
            if isinstance(row, Row):
                good.append(row)
            elif options.on_error == "fail":
                failure = InputError(_sentence(name, row))
                break
            else:
                report(f"{_sentence(name, row)}; skipped")
            read += 1
        predictions = classifier([row.text for row in good], top_k=options.top_k)
        yield read, list(zip(good, predictions, strict=True))
        if failure:
            raise failure


def score_file(
    classifier: TextClassifier, source: str, target: Path, options: ScoringOptions, report: Report, advance: Advance
) -> int:
    """Score `source` into `target`, or what an interruption has left of it; how many texts this took.

    Raises `InputError` for a mistake in either, and for a bad row with `on_error` "fail"; another call goes on there.
    """
    encode = _encoder(source, target, options)
    rows, texts = read_rows(source, options.text_column), 0
    with ResumableFile(target, _run(classifier, source, options)) as output:
        advance(output.rows)
        is_first = not output.rows
        for read, scored in score_rows(classifier, source, islice(rows, output.rows, None), options, report):
            output.write(encode(scored, is_first), read)
            is_first, texts = is_first and not scored, texts + len(scored)
            advance(len(scored))
    return texts


def to_lines(scored: list[Scored], options: ScoringOptions) -> str:
    """One line for each: a JSON object with the text, or fastText's form."""
    if options.format == "fasttext":
        return "".join(f"{fasttext_line(prediction, options.top_k)}\n" for _, prediction in scored)
    return "".join(map(_json_line, scored))


def _json_line(scored: Scored) -> str:
    fields = _fields(scored)
    try:
        return to_json(fields).decode() + "\n"
    except ValueError:  # a lone surrogate in a column besides the text: JSON can escape it
        return json.dumps(fields) + "\n"


def _fields(scored: Scored) -> dict[str, Any]:
    row, prediction = scored
    if row.columns is None:
        return {"text": row.text, **prediction.to_dict()}
    return row.columns | {PREFIX + name: value for name, value in prediction.to_dict().items()}


def _encoder(source: str, target: Path, options: ScoringOptions) -> Callable[[list[Scored], bool], bytes]:
    """What makes bytes of rows for a file of that name; its second argument tells whether they are the first."""
    if options.format == "fasttext" or _kind(target) == ".jsonl":
        return lambda scored, is_first: to_lines(scored, options).encode()
    if _kind(target) != ".csv":
        raise InputError(f"output must end in .jsonl or .csv, .gz may follow, got {str(target)!r}")
    if _kind(Path(source)) == ".jsonl":
        raise InputError(f"output must end in .jsonl for such an input, whose rows may differ, got {str(target)!r}")
    return _csv_bytes


def _kind(path: Path) -> str:
    return (path.with_suffix("") if path.suffix == ".gz" else path).suffix


def _csv_bytes(scored: list[Scored], is_first: bool) -> bytes:
    """CSV with what is no string or number as JSON."""
    lines = io.StringIO(newline="")
    writer = csv.writer(lines)
    for index, item in enumerate(scored):
        fields = _fields(item)
        if is_first and not index:
            writer.writerow(fields)
        writer.writerow(
            to_json(value).decode() if isinstance(value, dict | list | bool) else value for value in fields.values()
        )
    return lines.getvalue().encode()


def _run(classifier: TextClassifier, source: str, options: ScoringOptions) -> dict[str, Any]:
    """What must not change between an interruption and its continuation."""
    try:
        status = Path(source).stat()
    except OSError as error:
        raise InputError(f"input {source!r} cannot be read ({error.strerror})") from error
    return {
        "input": [str(Path(source).resolve()), status.st_size, status.st_mtime_ns],
        "checkpoint": classifier.revision,
        "windows": str(classifier.windows),
        "text_column": options.text_column,
        "top_k": options.top_k,
        "format": options.format,
    }


def _sentence(name: str, row: BadRow) -> str:
    unit = "row" if ".parquet" in Path(name).suffixes else "line"
    return f"{name}: {unit} {row.number} {row.reason}"
