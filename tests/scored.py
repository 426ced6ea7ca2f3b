"""Files of rows for `textcnn-classify`, written, scored and read again."""

import csv
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from model.__main__ import main
from tests.checkpoints import TEXTS

ROWS: list[dict[str, Any]] = [
    {"id": index, "label": "gold", "text": text} for index, text in enumerate([*TEXTS, "", 'a,"b"\nc', "x" * 9])
]


def content_of(rows: Sequence[dict[str, Any]], kind: str) -> bytes:
    if kind == ".jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    if kind == ".parquet":
        file = io.BytesIO()
        parquet.write_table(pyarrow.Table.from_pylist(list(rows)), file)
        return file.getvalue()
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter="\t" if kind == ".tsv" else ",")
    writer.writeheader()
    writer.writerows(rows)
    return b"\xef\xbb\xbf" + text.getvalue().encode()  # as Excel begins it


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def read(path: Path) -> list[dict[str, Any]]:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if ".csv" in path.suffixes:
        return list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    return [json.loads(line) for line in content.decode().split("\n")[:-1]]


def classify(folder: Path, source: Path, target: Path, *flags: str) -> int:
    return main(
        ["--checkpoint", str(folder), "--device", "cpu", "--input", str(source), "--output", str(target), *flags]
    )
