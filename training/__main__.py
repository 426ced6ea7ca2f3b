"""`textcnn-train`: a data file in, a checkpoint folder out."""

import logging
import os
import shlex
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from model.command import run


def main(argv: Sequence[str] | None = None) -> int:
    """Train with the arguments of a command line; exit status 0, 2 for a user's mistake, 130 when interrupted."""
    with _notes_on_stderr(), _threads_without_tracebacks():
        return run(lambda: _train(argv))


def _train(argv: Sequence[str] | None) -> None:
    from training.config import parse
    from training.data import load_data
    from training.output import OutputFolder

    data_arguments, model_arguments, arguments = parse(argv)
    path = Path(arguments.output_dir or "")
    searches = arguments.autotune_minutes is not None
    folder = OutputFolder.checked(path, arguments.overwrite_output_dir, arguments.resume_from_checkpoint, searches)
    with arguments.main_process_first() if data_arguments.streaming else nullcontext():  # the others find its file
        data = load_data(data_arguments, arguments.seed)
    from training.run import train  # five seconds of imports that no mistake in the data should wait for

    if not searches:
        summary = train(data, folder, data_arguments, model_arguments, arguments)
    else:
        from training.autotune import Autotune

        summary = Autotune(data, folder, data_arguments, model_arguments, arguments).run()
        print(f"{_trials(summary['autotune'])}\n")
    if not arguments.should_save:  # one of several processes speaks
        return
    print(_table(summary))
    print(f"\ncheckpoint: {path}\nserve it:   textcnn-serve --checkpoint {shlex.quote(str(path))}")


def _table(summary: Mapping[str, Any]) -> str:
    """Rows are splits, columns metrics."""
    splits = [split for split in ("validation", "test") if split in summary]
    names = list(summary["validation"])
    rows = [["", "texts", *names]]
    for split in splits:
        texts = summary["data"]["splits"][split]["texts"]
        rows.append([split.ljust(len("validation")), str(texts), *(f"{summary[split][name]:.4f}" for name in names)])
    return _aligned(rows)


def _trials(trials: Sequence[Mapping[str, Any]]) -> str:
    """Rows are the trials of a search, columns their settings, metric and seconds."""
    return _aligned([list(trials[0]), *([_cell(value) for value in trial.values()] for trial in trials)])


def _cell(value: object) -> str:
    if value is None:  # a trial whose settings make no training
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


@contextmanager
def _notes_on_stderr() -> Iterator[None]:
    """What training has to say besides its result."""
    logger, handler = logging.getLogger("training"), logging.StreamHandler(sys.stderr)
    level = logger.level
    said = logging.INFO if int(os.environ.get("RANK", 0)) == 0 else logging.WARNING
    logger.addHandler(handler)
    logger.setLevel(said)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextmanager
def _threads_without_tracebacks() -> Iterator[None]:
    """What TensorBoard's thread cannot write it hands to the training, which says so."""

    def tell(error: threading.ExceptHookArgs) -> None:
        if not isinstance(error.exc_value, OSError):
            before(error)

    before, threading.excepthook = threading.excepthook, tell
    try:
        yield
    finally:
        threading.excepthook = before


if __name__ == "__main__":
    sys.exit(main())
