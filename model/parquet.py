"""Parquet files, for which pyarrow is needed, and what stands in their columns."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from .errors import TableError


@contextmanager
def open_parquet(file: IO[bytes]) -> Iterator[Any]:
    """Its `ParquetFile`; raises `TableError` where pyarrow is missing, or finds it broken, even while it is read."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise TableError("needs pyarrow; pip install pyarrow") from error
    with tempfile.TemporaryFile() as unpacked:
        if hasattr(file, "mtime"):  # a gzip's; it must be unpacked, for the end of a Parquet file is read first
            shutil.copyfileobj(file, unpacked)
        try:
            yield parquet.ParquetFile(unpacked if unpacked.tell() else file)
        except (ArrowException, OSError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise TableError(f"is a broken Parquet file ({reason})") from error


def column_values(name: str, column: Any) -> list[Any]:
    """What stands in a column; raises `TableError` for what Python has no type for."""
    try:
        values: list[Any] = column.to_pylist()
    except (OverflowError, ValueError) as error:  # of a date after 9999, of a time zone that there is not
        raise TableError(f"has a value in column {name!r} that Python cannot hold ({error})") from error
    return values
