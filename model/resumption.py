"""A file that is complete when it appears under its name, and that an interrupted program continues."""

import fcntl
import gzip
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from .errors import InputError

COMMIT_SECONDS = 1.0  # of work that an interruption costs at most

Run = Mapping[str, Any]  # what decides what is written: the input, the checkpoint, the options


class _Reached(NamedTuple):
    """How far a file goes; replaced as a whole, whatever interrupts."""

    rows: int  # of the input, whose results are in the file
    written: int  # bytes
    waiting: list[tuple[bytes, int]]  # content that is yet to be written, and the rows that it is of


class ResumableFile:
    """Writes to `NAME.partial` beside the target, and keeps in `NAME.progress` how far that goes.

    What lies behind the last recorded byte is cut off when another program goes on, so no row is lost or repeated,
    whenever the first one ended. The run that made a target stays in the file `record` if there is to be one. Raises
    `InputError` when the target exists, another process is writing it, or it was begun by another `run`.
    """

    def __init__(self, target: Path, run: Run, record: Path | None = None) -> None:
        self._target, self._run, self._record = target, dict(run), record
        self._partial = target.with_name(f"{target.name}.partial")
        self._progress = target.with_name(f"{target.name}.progress")
        self._is_gzip = target.suffix.lower() == ".gz"

    @property
    def rows(self) -> int:
        """Rows of the input that need no more work."""
        return self._reached.rows

    @property
    def is_empty(self) -> bool:
        """Whether nothing stands in it."""
        return not self._reached.written

    def __enter__(self) -> "ResumableFile":
        self._require_absent()
        with self._sentences():
            self._file = self._partial.open("ab")  # which cuts off nothing, for it may be another's
            try:
                self._begin()
            except BaseException:
                self._file.close()
                raise
        return self

    def write(self, content: bytes, rows: int) -> None:
        """Append what came of so many rows of the input."""
        self._reached.waiting.append((content, rows))  # together, whatever interrupts
        if time.monotonic() - self._committed >= COMMIT_SECONDS:
            self._commit()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._sentences(), self._file:  # which is locked until the target is there
            self._commit(is_last=kind is None)
            if kind is None:
                self._finish()

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Tell what the system says against it."""
        try:
            yield
        except OSError as error:
            raise InputError(f"output {str(self._target)!r} cannot be written ({error.strerror})") from error

    def _require_absent(self) -> None:
        if self._target.exists():
            raise InputError(f"output {str(self._target)!r} exists; remove it or give another name")

    def _begin(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"output {str(self._target)!r} is being written by another process") from None
        self._require_absent()  # that process may have come to its end just before
        self._reached, self._committed = self._recorded(), time.monotonic()
        if self.is_empty:  # what an earlier file has left must not be taken for a record of this one
            self._progress.unlink(missing_ok=True)
        self._file.truncate(self._reached.written)

    def _recorded(self) -> _Reached:
        state = _read(self._progress)
        if state is None or not 0 < state["bytes"] <= self._partial.stat().st_size:
            return _Reached(0, 0, [])
        if other := _difference(state["run"], self._run):
            raise InputError(f"{str(self._partial)!r} was begun with another {other}; remove it to begin anew")
        return _Reached(state["rows"], state["bytes"], [])

    def _commit(self, *, is_last: bool = False) -> None:
        rows, written, waiting = self._reached
        content = b"".join(content for content, _ in waiting)
        if self._is_gzip and (content or (is_last and self.is_empty)):  # no member at all is no gzip
            content = gzip.compress(content, compresslevel=3)  # a member of its own, so that a cut leaves whole ones
        rows, end = rows + sum(count for _, count in waiting), written + len(content)
        with self._sentences():
            self._append(content)
            self._reached = _Reached(rows, end, [])
            _write(self._progress, {"run": self._run, "rows": rows, "bytes": end})
        self._committed = time.monotonic()

    def _append(self, content: bytes) -> None:
        self._file.truncate(self._reached.written)  # an interrupted attempt may have gone farther
        self._file.write(content)
        self._file.flush()
        os.fsync(self._file.fileno())  # the record must never be ahead of the file

    def _finish(self) -> None:
        if self._record:
            _write(self._record, self._run)  # first, so that no target is without
        self._partial.replace(self._target)
        self._progress.unlink()


def require_made_by(run: Run, target: Path, record: Path) -> None:
    """Raise `InputError` unless `record` says that this run made the target."""
    found = _read(record)
    if found is None:
        what = "exists, and no record says what made it"
    elif other := _difference(found, run):
        what = f"was made with another {other}"
    else:
        return
    raise InputError(f"output {str(target)!r} {what}; remove it or give another --output")


def _difference(before: Run, run: Run) -> str | None:
    return next((key for key in run if before.get(key) != run[key]), None)


def _write(path: Path, content: dict[str, Any]) -> None:
    """Replace a file at once and for good: after a power cut it holds this or what it held before."""
    beside = path.with_suffix(".writing")
    with beside.open("w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _read(path: Path) -> Any:
    """What a file holds; None where it is missing or broken."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
