"""Rows kept on the disk instead of in memory: written as they are read, looked up where they are needed."""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow
from numpy.typing import NDArray

from model.errors import UnwritableError

if TYPE_CHECKING:  # two seconds of imports
    from datasets import Dataset

TEXT, TARGET = "text", "target"  # columns of the file


class StoredColumn(Sequence[Any]):
    """A column of a file that `store` wrote; what is not looked at stays on the disk. Lists come as tuples."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.chunks: list[pyarrow.Array] = (
            pyarrow.ipc.open_stream(pyarrow.memory_map(str(path))).read_all()[name].chunks
        )
        self._ends = np.cumsum([0, *map(len, self.chunks)])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: Any) -> Any:
        chunk = int(np.searchsorted(self._ends, index, side="right")) - 1
        return _plain(self.chunks[chunk][index - int(self._ends[chunk])].as_py())

    def __iter__(self) -> Iterator[Any]:
        for chunk in self.chunks:
            yield from map(_plain, chunk.to_pylist())

    def dataset(self) -> "Dataset":
        """The column alone, for `map`."""
        from datasets import Dataset

        return Dataset.from_file(str(self.path)).select_columns(self.name)

    def zeros(self, columns: int) -> NDArray[np.float32]:
        """A matrix with a row for each of this column's, in a file beside it that goes with the matrix."""
        with tempfile.TemporaryFile(dir=self.path.parent) as file:
            return np.memmap(file, np.float32, "w+", shape=(len(self), columns))


def store(folder: Path, key: object, chunks: Iterable[tuple[list[str], list[Any]]], target: pyarrow.DataType) -> Path:
    """The file in `folder` with the texts and targets of all chunks, one chunk held at a time; found again by `key`.

    Raises `UnwritableError` where the folder cannot be written.
    """
    path = folder / f"rows-{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.arrow"
    if path.is_file():
        return path
    schema = pyarrow.schema({TEXT: pyarrow.large_string(), TARGET: target})
    with writing(folder), tempfile.TemporaryDirectory(dir=folder) as beside:
        unfinished = Path(beside) / path.name
        with pyarrow.ipc.new_stream(str(unfinished), schema) as file:
            for texts, targets in chunks:
                file.write_batch(pyarrow.record_batch({TEXT: texts, TARGET: targets}, schema=schema))
        unfinished.rename(path)
    return path


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Create the folder of cached files; raise `UnwritableError` where it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UnwritableError(f"cache_dir: cannot write in {str(folder)!r}: {error.strerror}") from error


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
