"""`textcnn-report`: the report of a checkpoint, or two checkpoints side by side."""

# ruff: noqa: RUF009  (`flag` makes a dataclass field, no shared default)

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.command import run
from model.errors import InputError
from training.flags import flag


@dataclass
class ReportArguments:
    """What to report on."""

    checkpoint: str | None = flag("Folder that textcnn-train wrote.")
    compare: list[str] | None = flag("Two such folders, to be set side by side.", nargs=2)
    output: str | None = flag("File to write; report.html in the checkpoint folder, with --compare in this folder.")

    def __post_init__(self) -> None:
        if (self.checkpoint is None) == (self.compare is None):
            raise InputError("checkpoint: give either --checkpoint FOLDER or --compare FOLDER FOLDER")
        if self.compare is not None and len(self.compare) != 2:  # `HfArgumentParser` takes any number
            raise InputError(f"compare must be two folders, got {len(self.compare)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `textcnn-report`; returns its exit status."""
    return run(lambda: _report(argv))


def _report(argv: Sequence[str] | None) -> None:
    from model.cli import ArgumentParser

    parser = ArgumentParser([ReportArguments], prog="textcnn-report", description="Write report.html.")
    (arguments,) = parser.parse(argv)
    from training.report.comparison import compare  # five seconds of imports that no mistake should wait for
    from training.report.page import make_report, write_report

    if arguments.compare is not None:
        print(_written(Path(arguments.output or "report.html"), compare(*map(Path, arguments.compare))))
    elif arguments.output is not None:
        print(_written(Path(arguments.output), make_report(Path(arguments.checkpoint))[1]))
    else:
        print(write_report(Path(arguments.checkpoint)))


def _written(path: Path, page: str) -> Path:
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(f"output {str(path)!r} cannot be written ({error.strerror})") from error
    return path


if __name__ == "__main__":
    sys.exit(main())
