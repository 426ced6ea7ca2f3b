"""A file that is complete when it appears under its name, and that an interrupted program continues."""

import gzip
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from .errors import InputError

COMMIT_SECONDS = 1.0  # of work that an interruption costs at most


class ResumableFile:
    """Writes to `NAME.partial` beside the target, and keeps in `NAME.progress` how far that goes.

    What lies behind the last recorded byte is cut off when another program goes on, so no row is lost or repeated,
    whenever the first one ended. Raises `InputError` when the target exists, or a partial one of another `run`.
    """

    def __init__(self, target: Path, run: Mapping[str, Any]) -> None:
        self._target, self._run = target, dict(run)
        self._partial = target.with_name(f"{target.name}.partial")
        self._progress = target.with_name(f"{target.name}.progress")
        if target.exists():
            raise InputError(f"output {str(target)!r} exists; remove it or give another name")
        rows, written = self._begun()
        waiting: list[tuple[bytes, int]] = []  # content, and the rows that it is of
        self._reached = rows, written, waiting
        self._committed = time.monotonic()

    @property
    def rows(self) -> int:
        """Rows of the input that need no more work."""
        return self._reached[0]

    @property
    def is_empty(self) -> bool:
        """Whether nothing stands in it."""
        return not self._reached[1]

    def __enter__(self) -> "ResumableFile":
        try:
            self._file = self._partial.open("r+b" if self._reached[1] else "wb")
        except OSError as error:
            raise InputError(f"output {str(self._target)!r} cannot be written ({error.strerror})") from error
        if self.is_empty:  # what an earlier file has left must not be taken for a record of this one
            self._progress.unlink(missing_ok=True)
        self._file.truncate(self._reached[1])
        return self

    def write(self, content: bytes, rows: int) -> None:
        """Append what came of so many rows of the input."""
        self._reached[2].append((content, rows))  # together, whatever interrupts
        if time.monotonic() - self._committed >= COMMIT_SECONDS:
            self._commit()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._commit()
        finally:
            self._file.close()
        if kind is None:
            self._partial.replace(self._target)
            self._progress.unlink()

    def _commit(self) -> None:
        rows, written, waiting = self._reached
        content = b"".join(content for content, _ in waiting)
        if content and self._target.suffix == ".gz":
            content = gzip.compress(content, compresslevel=3)  # a member of its own, so that a cut leaves whole ones
        reached = rows + sum(count for _, count in waiting), written + len(content)
        try:
            self._append(content)
            self._reached = *reached, []
            self._record(*reached)
        except OSError as error:
            raise InputError(f"output {str(self._target)!r} cannot be written ({error.strerror})") from error
        self._committed = time.monotonic()

    def _append(self, content: bytes) -> None:
        self._file.seek(self._reached[1])  # an interrupted attempt may have gone farther
        self._file.truncate()
        self._file.write(content)
        self._file.flush()
        os.fsync(self._file.fileno())  # the record must never be ahead of the file

    def _record(self, rows: int, written: int) -> None:
        beside = self._progress.with_suffix(".writing")
        beside.write_text(json.dumps({"run": self._run, "rows": rows, "bytes": written}), encoding="utf-8")
        beside.replace(self._progress)

    def _begun(self) -> tuple[int, int]:
        if not (self._progress.exists() and self._partial.exists()):
            return 0, 0
        state = json.loads(self._progress.read_text(encoding="utf-8"))
        if state["run"] != self._run:
            changed = next(key for key in self._run if state["run"].get(key) != self._run[key])
            raise InputError(f"{str(self._partial)!r} was begun with another {changed}; remove it to begin anew")
        is_whole = self._partial.stat().st_size >= state["bytes"]
        return (state["rows"], state["bytes"]) if is_whole else (0, 0)
