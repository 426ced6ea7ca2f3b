"""Files of any size through a classifier: every row that holds a text gets its prediction, in order."""

import csv
import io
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic_core import to_json, to_jsonable_python

from .classifier import TextClassifier
from .errors import InputError
from .fasttext import fasttext_line
from .files import ending
from .prediction import Prediction
from .resumption import ResumableFile
from .rows import BadRow, Row, Rows, read_table

BATCH_ROWS = 4096  # scored together where one thread scores
PREFIX = "predicted_"  # of the results beside columns, which may have a label or score of their own

Item = TypeVar("Item")
Result = TypeVar("Result")
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
    classifier: TextClassifier,
    name: str,
    rows: Rows,
    options: ScoringOptions,
    report: Report,
    encode: Callable[[list[Scored]], Result],
) -> Iterator[tuple[int, int, Result]]:
    """For each batch in order, how many rows were read, how many hold a text, and what `encode` makes of those.

    A bad row is reported and skipped, or, with `on_error` "fail", an `InputError` after the rows before it.
    """

    def score(batch: _Batch) -> tuple[_Batch, Result]:
        predictions = classifier([row.text for row in batch.rows], top_k=options.top_k)
        return batch, encode(list(zip(batch.rows, predictions, strict=True)))

    # A list that is one pass is classified by the thread that asks; of a longer one two passes may go side by side.
    size = classifier.pass_texts if classifier.is_parallel else BATCH_ROWS
    batches = _batches(name, rows, size, options, report)
    for batch, encoded in (_side_by_side if classifier.is_parallel else map)(score, batches):
        yield batch.read, len(batch.rows), encoded
        if batch.failure:
            raise batch.failure


@dataclass
class _Batch:
    """Rows that hold a text, of so many that were read, and what is wrong with the one after them."""

    rows: list[Row] = field(default_factory=list)
    read: int = 0
    failure: InputError | None = None


def _batches(name: str, rows: Rows, size: int, options: ScoringOptions, report: Report) -> Iterator[_Batch]:
    batch = _Batch()
    try:
        for row in rows:
            if isinstance(row, Row):
                batch.rows.append(row)
            elif options.on_error == "fail":
                raise InputError(_sentence(name, row))
            else:
                report(f"{_sentence(name, row)}; skipped")
            batch.read += 1
            if batch.read == size:
                yield batch
                batch = _Batch()
    except InputError as error:
        batch.failure = error
    if batch.read or batch.failure:
        yield batch


def _side_by_side(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """The results for the items in order, made by two threads that are a few items ahead."""
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(2)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 4:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def score_file(
    classifier: TextClassifier,
    source: str,
    target: Path,
    options: ScoringOptions,
    report: Report,
    advance: Advance,
    record: Path | None = None,
) -> int:
    """Score `source` into `target`, or what an interruption has left of it; how many texts this took.

    The file `record` gets what made the target, if there is to be one: see `run_of`. Raises `InputError` for a mistake
    in either, and for a bad row with `on_error` "fail"; another call goes on there.
    """
    is_csv, total = _is_csv(source, target, options), 0
    encode = _csv_rows if is_csv else partial(to_lines, options=options)
    columns, rows = read_table(source, options.text_column)
    with ResumableFile(target, run_of(classifier, source, options), record) as output:
        advance(output.rows)
        if is_csv and output.is_empty:
            output.write(_csv_header(columns, classifier([""], top_k=options.top_k)[0]), 0)
        rest = islice(rows, output.rows, None)
        for read, texts, lines in score_rows(classifier, source, rest, options, report, encode):
            output.write(lines, read)
            total += texts
            advance(texts)
    return total


def to_lines(scored: list[Scored], options: ScoringOptions) -> bytes:
    """One line for each: a JSON object with the text, or fastText's form."""
    if options.format == "fasttext":
        return "".join(f"{fasttext_line(prediction, options.top_k)}\n" for _, prediction in scored).encode()
    return b"\n".join([*map(_json_line, scored), b""])


def _json_line(scored: Scored) -> bytes:
    fields = _fields(scored)
    try:
        return to_json(fields, bytes_mode="base64", inf_nan_mode="null")
    except ValueError:  # a lone surrogate in a column besides the text: JSON can escape it
        return json.dumps(to_jsonable_python(fields, bytes_mode="base64", inf_nan_mode="null")).encode()


def _fields(scored: Scored) -> dict[str, Any]:
    """What is written of a row; raises `InputError` where a column of its own has the name of a result."""
    row, prediction = scored
    if row.columns is None:
        return {"text": row.text, **prediction.to_dict()}
    results = {PREFIX + name: value for name, value in prediction.to_dict().items()}
    if taken := row.columns.keys() & results.keys():
        raise InputError(f"column {min(taken)!r} of the input has the name of a result; rename it")
    return row.columns | results


def _is_csv(source: str, target: Path, options: ScoringOptions) -> bool:
    """Whether rows become CSV rather than lines of their own; raises `InputError` for a target that can be neither."""
    if options.format == "fasttext" or ending(target) == ".jsonl":
        return False
    if ending(target) != ".csv":
        raise InputError(f"output must end in .jsonl or .csv, .gz may follow, got {str(target)!r}")
    if ending(Path(source)) in (".jsonl", ".ndjson"):
        raise InputError(f"output must end in .jsonl for such an input, whose rows may differ, got {str(target)!r}")
    return True


def _csv_header(columns: list[str] | None, prediction: Prediction) -> bytes:
    """The names of what is written of every row: with these columns, and a prediction like this one."""
    return _csv_lines([_fields((Row(0, "", None if columns is None else dict.fromkeys(columns)), prediction))])


def _csv_rows(scored: list[Scored]) -> bytes:
    """CSV with what is no string or number as JSON."""
    return _csv_lines(map(_plain, _fields(item).values()) for item in scored)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return to_jsonable_python(value, bytes_mode="base64")
    return to_json(value, bytes_mode="base64").decode() if isinstance(value, dict | list | bool) else value


def _csv_lines(rows: Iterable[Iterable[Any]]) -> bytes:
    lines = io.StringIO(newline="")
    csv.writer(lines).writerows(rows)
    return lines.getvalue().encode()


def run_of(classifier: TextClassifier, source: str, options: ScoringOptions) -> dict[str, Any]:
    """What decides what is written, and must not change between an interruption and its continuation.

    Raises `InputError` for a source that cannot be read.
    """
    try:
        status = Path(source).stat()
    except OSError as error:
        raise InputError(f"input {source!r} cannot be read ({error.strerror})") from error
    return {
        "input": [str(Path(source).resolve()), status.st_size, status.st_mtime_ns],
        "checkpoint": classifier.revision,
        "precision": classifier.precision,
        "windows": str(classifier.windows),
        "text_column": options.text_column,
        "top_k": options.top_k,
        "format": options.format,
    }


def _sentence(name: str, row: BadRow) -> str:
    unit = "row" if ending(Path(name)) == ".parquet" else "line"
    return f"{name}: {unit} {row.number} {row.reason}"
