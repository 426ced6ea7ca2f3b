"""Data files to columns, plain or gzipped, with every mistake's place."""

import codecs
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from model.errors import InputError
from model.fasttext import PREFIX
from training.formats import PARSERS, parse_fasttext
from training.table import Table


def read_table(path: Path) -> Table:
    """All rows of a file, its format told by its name, or for fastText's by its beginning.

    Raises `InputError` for a file that is missing, of an unknown format, not UTF-8, broken or without rows.
    """
    return next(read_tables(path, None))


def read_tables(path: Path, rows: int | None) -> Iterator[Table]:
    """The rows of `read_table` in tables of at most `rows` rows, of which one at a time is held."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compressed = suffixes[-1:] == [".gz"]
    parse = PARSERS.get("".join(suffixes[:-1][-1:] if compressed else suffixes[-1:]))
    with _reading(path, compressed) as file:
        head = file.read(len(codecs.BOM_UTF8) + len(PREFIX)).removeprefix(codecs.BOM_UTF8)
        file.seek(0)
        if parse is None and head.startswith(PREFIX.encode()):
            parse = parse_fasttext  # its files have all sorts of endings: .txt, .train, .valid
        if parse is None:
            known = ", ".join(PARSERS)
            raise InputError(
                f"{path}: unknown kind of file; must end in {known}, or one of them and .gz, or begin with {PREFIX}"
            )
        empty = True
        for table in parse(str(path), file, rows):
            empty = False
            yield table
        if empty:
            raise InputError(f"{path}: no rows")


@contextmanager
def _reading(path: Path, compressed: bool) -> Iterator[IO[bytes]]:
    try:
        if not path.is_dir() and path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty")
        with gzip.open(path) if compressed else path.open("rb") as file:
            yield file  # type: ignore[misc]  # a gzip reads like any other file
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: broken or cut off gzip ({error})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
