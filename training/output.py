"""The output folder of a training: what may be in it before, while and after, and what of it may be deleted."""

import errno
import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from model.checkpoint import MODEL_TYPE
from model.errors import InputError, UnwritableError
from model.files import CONFIG, TOKENIZER, WEIGHTS

STATE = "trainer_state.json"  # a checkpoint-N without it cannot be resumed from
STAGING = ".writing-checkpoint"  # where checkpoint-N is written before it gets its name
SEARCH = ".writing-search"  # where the trials of a search are
TRIALS = "trials.json"  # in it; a search without it cannot be gone on with
CARD, SUMMARY = "README.md", "metrics.json"
RECORD, PREDICTIONS, REPORT = "report.json", "predictions.parquet", "report.html"

_FINAL = re.compile(
    "|".join(
        [
            *(re.escape(name) for name in (CONFIG, WEIGHTS, TOKENIZER, "tokenizer_config.json", CARD)),
            *(re.escape(name) for name in (SUMMARY, RECORD, PREDICTIONS, REPORT)),
            *(r"report-\w+\.png", r"\w+_textcnn\.py"),
        ]
    )
)
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_UNFINISHED = re.compile(r"\.writing-.*")
# What torch's and tokenizers' writers say, in exceptions of no class of their own: of a full disk often nothing more.
_NUMBERED = re.compile(r"\(os error (\d+)\)")
_OF_A_DISK = re.compile(rf"PytorchStreamWriter|inline_container|iostream error|{_NUMBERED.pattern}")
_FULL = os.strerror(errno.ENOSPC)


@dataclass(frozen=True)
class OutputFolder:
    """An output folder that was checked: `begin` before the first step, `finish` after the last file."""

    path: Path
    resume_from: Path | None = None

    @classmethod
    def checked(cls, path: Path, overwrite: bool, resume: str | None, searches: bool = False) -> "OutputFolder":
        """Raise `InputError` unless the folder is absent, empty, to be resumed, or ours and to be overwritten.

        What `searches` goes on with the search in the folder, all else with a checkpoint-N. Nothing is created or
        deleted yet: a mistake elsewhere must not cost an earlier result.
        """
        _require_writable(path)
        resume_from = _search(path, resume) if searches else _resumable(path, resume)
        folder = cls(path, resume_from)
        if not folder.goes_on and path.is_dir() and any(path.iterdir()):
            if not overwrite:
                begun = (path / SEARCH / TRIALS).is_file() if searches else _complete_checkpoints(path)
                hint = ", --resume_from_checkpoint true goes on with it" if begun else ""
                replaces = "--overwrite_output_dir replaces an earlier training"
                raise InputError(f"output_dir: {str(path)!r} is not empty; {replaces}{hint}")
            _require_ours(path)
        return folder

    @classmethod
    def of_trial(cls, path: Path) -> "OutputFolder":
        """The folder of a trial in a search, which goes on from its last checkpoint-N if it has any."""
        return cls(path, next(reversed(_complete_checkpoints(path)), None))

    @property
    def goes_on(self) -> bool:
        """Whether what it is resumed from lies in it."""
        return self.resume_from is not None and self.resume_from.resolve().parent == self.path.resolve()

    def begin(self) -> None:
        """Create the folder, or delete what an earlier training left; when resuming, all but what that needs.

        A training that goes on from checkpoint-N writes those with higher numbers anew.
        """
        origin = self.resume_from if self.goes_on else None
        last = -1 if origin is None else _steps(origin)
        with self.writing("anything"):
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / CONFIG).unlink(missing_ok=True)  # first: without it the rest is no checkpoint
            for entry in list(self.path.iterdir()):
                if origin is not None and entry.name == origin.name:
                    continue
                if last < _steps(entry) < math.inf or _FINAL.fullmatch(entry.name) or _UNFINISHED.fullmatch(entry.name):
                    _delete(entry)

    @contextmanager
    def writing(self, what: str) -> Iterator[None]:
        """Raise `UnwritableError` where the disk is full or forbids it, with what is left to go on from."""
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            if not _is_of_a_disk(error):
                raise
            shutil.rmtree(self.path / STAGING, ignore_errors=True)
            left = _complete_checkpoints(self.path)
            hint = f"; --resume_from_checkpoint true goes on from {left[-1].name}" if left else ""
            place = f"{what} in {str(self.path)!r}"
            raise UnwritableError(f"output_dir: cannot write {place}: {_reason(error)}{hint}") from error

    def finish(self, keep_checkpoints: bool) -> None:
        """Delete what was only needed to resume."""
        for entry in list(self.path.iterdir()):
            if _UNFINISHED.fullmatch(entry.name) or (_CHECKPOINT.fullmatch(entry.name) and not keep_checkpoints):
                _delete(entry)


def _is_of_a_disk(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno is not None:  # without a number it is of a hub or a network
        return True
    return isinstance(error, SafetensorError) or _OF_A_DISK.search(str(error)) is not None


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if (numbered := _NUMBERED.search(str(error))) is not None:
        return os.strerror(int(numbered[1]))
    if _FULL in str(error):
        return _FULL
    first = next(iter(str(error).splitlines()), type(error).__name__)
    return f"the disk is full or broken ({first})"


def _search(path: Path, resume: str | None) -> Path | None:
    if resume is None or resume.lower() == "false":
        return None
    if resume.lower() != "true":
        raise InputError(f"resume_from_checkpoint must be true or false with autotune_minutes, got {resume!r}")
    if not (path / SEARCH / TRIALS).is_file():
        raise InputError(f"resume_from_checkpoint: no search to go on with in {str(path)!r}")
    return path / SEARCH


def _resumable(path: Path, resume: str | None) -> Path | None:
    if resume is None or resume.lower() == "false":
        return None
    if resume.lower() == "true":
        complete = _complete_checkpoints(path)
        if not complete:
            raise InputError(f"resume_from_checkpoint: no checkpoint-N to go on from in {str(path)!r}")
        return complete[-1]
    folder = Path(resume).resolve()
    if not (folder / STATE).is_file():
        raise InputError(f"resume_from_checkpoint must be true, false or a checkpoint-N folder, got {resume!r}")
    return path / folder.name if folder.parent == path.resolve() else folder  # as all others in it are spelt


def best_so_far(checkpoint: Path) -> Path | None:
    """The best checkpoint-N when `checkpoint` was written: beside it, wherever both were moved, or where it was."""
    best = json.loads((checkpoint / STATE).read_text(encoding="utf-8")).get("best_model_checkpoint")
    if best is None:
        return None
    recorded, beside = Path(best), checkpoint.parent / Path(best).name
    return recorded if recorded.is_dir() and not beside.is_dir() else beside


def _complete_checkpoints(path: Path) -> list[Path]:
    """Those that can be resumed from, the last one last."""
    found = [entry for entry in path.glob("checkpoint-*") if _steps(entry) < math.inf]
    return sorted((entry for entry in found if (entry / STATE).is_file()), key=_steps)


def _steps(entry: Path) -> float:
    """N of a checkpoint-N; of anything else infinite."""
    number = _CHECKPOINT.fullmatch(entry.name)
    return int(number[1]) if number else math.inf


def _require_writable(path: Path) -> None:
    parent = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not parent.is_dir():
        raise InputError(f"output_dir must be a folder, but {str(parent)!r} is a file")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"output_dir: no right to write in {str(parent)!r}")


def _require_ours(path: Path) -> None:
    """Deleting is only for what an earlier training wrote."""
    names = sorted(entry.name for entry in path.iterdir())
    foreign = [name for name in names if not any(own.fullmatch(name) for own in (_FINAL, _CHECKPOINT, _UNFINISHED))]
    if foreign:
        raise InputError(
            f"output_dir: {str(path)!r} holds {foreign[0]!r}, which no training wrote; choose another folder"
        )
    unfinished = [path / name for name in names if _CHECKPOINT.fullmatch(name)]
    types = {_model_type(folder / CONFIG) for folder in (path, *unfinished) if (folder / CONFIG).exists()}
    if types != {MODEL_TYPE} and (types or not any(_UNFINISHED.fullmatch(name) for name in names)):
        raise InputError(f"output_dir: {str(path)!r} holds no earlier training; choose another folder")


def _model_type(config: Path) -> object:
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content.get("model_type") if isinstance(content, dict) else None


def _delete(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()
