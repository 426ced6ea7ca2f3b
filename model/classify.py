"""`textcnn-classify`: texts to predictions, one JSON object a line on stdout, or files of any size to files."""

import gc
import io
import os
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from .cli import ArgumentParser
from .errors import InputError
from .folders import Job, score_folder
from .hub import local_folder
from .options import InferenceOptions
from .rows import Row, Rows, read_table
from .scoring import ScoringOptions, score_file, score_rows, to_lines


@dataclass
class ClassifyArguments:
    """What to classify, and with which checkpoint."""

    checkpoint: str = field(metadata={"help": "Folder that textcnn-train wrote, or hf://organisation/name."})
    input: str | None = field(
        default=None,
        metadata={
            "help": ".csv, .tsv, .jsonl, .ndjson or .parquet, else one text a line; .gz too; a folder; - for stdin."
        },
    )
    output: str | None = field(
        default=None,
        metadata={"help": ".jsonl or .csv, .gz too; a folder for a folder. Continued where an interruption left it."},
    )
    text_column: str = field(default="text", metadata={"help": "Column of the texts; the others are kept."})
    on_error: Literal["fail", "skip"] = field(
        default="fail", metadata={"help": "At a row without a text: end there, or report and skip it."}
    )
    ray: bool = field(default=False, metadata={"help": "Score the files of a folder on a Ray cluster."})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda or cuda:N."})
    top_k: int | None = field(default=None, metadata={"help": "Number of labels in scores; all if not given."})
    format: Literal["jsonl", "fasttext"] | None = field(
        default=None,
        metadata={
            "help": "jsonl, or fasttext: __label__x 0.97, as its predict-prob prints; jsonl when absent, on a terminal "
            "bars and evidence."
        },
    )

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top_k must be at least 1, got {self.top_k}")
        is_folder = self.input is not None and Path(self.input).is_dir()
        if is_folder and self.output is None:
            raise InputError(f"input {self.input!r} is a folder: give a folder for --output too")
        if self.ray and not is_folder:
            raise InputError(f"ray needs a folder as --input, got {self.input!r}")

    @property
    def scoring(self) -> ScoringOptions:
        """What the rows decide."""
        return ScoringOptions(self.text_column, self.top_k, self.format or "jsonl", self.on_error)


def classify(argv: list[str]) -> None:
    """Do what the command line says; raises `InputError` for a user's mistake."""
    parser = ArgumentParser(
        [ClassifyArguments, InferenceOptions], prog="textcnn-classify", description="Classify texts and files of texts."
    )
    parser.add_argument("texts", nargs="*", help="Texts to classify.")
    arguments, options, positional = parser.parse(argv)
    texts: list[str] = positional.texts
    if texts and (arguments.input or arguments.output) is not None:
        raise InputError(f"texts exclude --input and --output, got {len(texts)} texts")
    if arguments.output is not None and (arguments.input or "-") == "-":
        raise InputError("output needs --input, a file or a folder that an interrupted program can read again")
    job = Job(local_folder(arguments.checkpoint), arguments.device, options, arguments.scoring)
    if arguments.output is None:
        rows = (Row(number, text, None) for number, text in enumerate(texts, 1)) if texts else None
        show = arguments.format is None and sys.stdout.isatty()
        (_show_predictions if show else _print_predictions)(job, arguments.input or "-", rows)
    elif Path(arguments.input).is_dir():
        score_folder(job, Path(arguments.input), Path(arguments.output), _tell, on_ray=arguments.ray)
    else:
        _write_file(job, arguments.input, Path(arguments.output))


def _print_predictions(job: Job, name: str, rows: Rows | None) -> None:
    classifier = job.classifier()
    rows = read_table(name, job.scoring.text_column).rows if rows is None else rows
    encode = partial(to_lines, options=job.scoring)
    try:
        for _, _, lines in score_rows(classifier, name, rows, job.scoring, _tell, encode):
            sys.stdout.buffer.write(lines)  # UTF-8, whatever the terminal's encoding
            sys.stdout.buffer.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end
        if not isinstance(error, BrokenPipeError):  # of whoever read and has enough, as `head` has
            raise InputError(f"standard output cannot be written ({error.strerror})") from error


def _show_predictions(job: Job, name: str, rows: Rows | None) -> None:
    """One text at a time, so that each typed line is answered."""
    from rich.console import Console

    from .terminal import show

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # not every terminal's encoding has bars, and Chinese
    classifier, console = job.classifier(), Console()
    for row in read_table(name, job.scoring.text_column).rows if rows is None else rows:
        for _, _, scored in score_rows(classifier, name, iter([row]), job.scoring, _tell, list):
            show(console, classifier, [row.text for row, _ in scored], [prediction for _, prediction in scored])


def _write_file(job: Job, source: str, target: Path) -> None:
    """With a progress bar where somebody watches, and the figures at the end."""
    from tqdm import tqdm

    classifier, begin = job.classifier(), time.perf_counter()
    gc.freeze()  # what is loaded stays, so no collection among the rows, which come and go, need look at it
    try:
        with tqdm(unit=" texts", unit_scale=True, disable=None) as bar:
            tell = partial(bar.write, file=sys.stderr)  # above the bar
            texts = score_file(classifier, source, target, job.scoring, tell, bar.update)
    finally:
        gc.unfreeze()
    seconds = time.perf_counter() - begin
    _tell(f"{target}: {texts:,} texts in {seconds:.1f} s ({texts / seconds:,.0f} texts/s)")


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr)
