"""Data files to columns, plain or gzipped, with every mistake's place."""

import codecs
import glob
import gzip
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from model.errors import InputError
from model.fasttext import PREFIX
from model.files import ending, is_gzip
from training.formats import PARSERS, parse_fasttext
from training.table import Table, joined

_KNOWN = f"{', '.join(PARSERS)}, or one of them and .gz"
_UNTYPED = (".csv", ".tsv")  # formats in which a number is told from a string only by how it looks


def data_files(flag: str, given: Sequence[str]) -> list[Path]:
    """The files that a flag names: files as they are, those in folders and of patterns in the order of their names.

    Raises `InputError` where a folder or a pattern has none, where one comes twice, and where they do not go together.
    """
    files: list[Path] = []
    for name in given:
        if not name:
            raise InputError(f"{flag} must name a file, a folder or a pattern, got {name!r}")
        path, found = Path(name), [Path(name)]
        if path.is_dir():
            found = [file for file in sorted(path.iterdir()) if ending(file) in PARSERS and file.name[0] != "."]
        elif not path.exists() and any(sign in name for sign in "*?["):
            found = [file for file in map(Path, sorted(glob.glob(name, recursive=True))) if file.is_file()]  # noqa: PTH207  (absolute ones too)
        if not found:
            lacks = f"is a folder without a file that ends in {_KNOWN}" if path.is_dir() else "matches no file"
            raise InputError(f"{flag}: {name!r} {lacks}")
        files += found
    file, times = Counter(files).most_common(1)[0]
    if times > 1:
        raise InputError(f"{flag}: {str(file)!r} is given {times} times")
    typed = {ending(file) not in _UNTYPED: file for file in files}
    if len(typed) > 1:
        raise InputError(
            f"{flag}: give files with types or .csv and .tsv, not both, got {typed[True]} and {typed[False]}"
        )
    return files


def read_files(files: Sequence[Path]) -> Table:
    """All rows of several files as one table; raises what `read_table` raises."""
    return joined([read_table(file) for file in files], source_of(files))


def source_of(files: Sequence[Path]) -> str:
    """Files by a name that is not too long."""
    return str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"


def read_table(path: Path) -> Table:
    """All rows of a file, its format told by its name, or for fastText's by its beginning.

    Raises `InputError` for a file that is missing, of an unknown format, not UTF-8, broken or without rows.
    """
    return next(read_tables(path, None))


def read_tables(path: Path, rows: int | None) -> Iterator[Table]:
    """The rows of `read_table` in tables of at most `rows` rows, of which one at a time is held."""
    parse = PARSERS.get(ending(path))
    with _reading(path) as file:
        head = file.read(len(codecs.BOM_UTF8) + len(PREFIX)).removeprefix(codecs.BOM_UTF8)
        file.seek(0)
        if parse is None and head.startswith(PREFIX.encode()):
            parse = parse_fasttext  # its files have all sorts of endings: .txt, .train, .valid
        if parse is None:
            raise InputError(f"{path}: unknown kind of file; must end in {_KNOWN}, or begin with {PREFIX}")
        empty = True
        for table in parse(str(path), file, rows):
            empty = False
            yield table
        if empty:
            raise InputError(f"{path}: no rows")


@contextmanager
def _reading(path: Path) -> Iterator[IO[bytes]]:
    try:
        if not path.is_dir() and path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty")
        with gzip.open(path) if is_gzip(path) else path.open("rb") as file:
            yield file  # type: ignore[misc]  # a gzip reads like any other file
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: broken or cut off gzip ({error})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
