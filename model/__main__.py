"""`textcnn-classify`: texts to predictions, one JSON object a line on stdout."""

import gzip
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Literal

from .classifier import TextClassifier
from .cli import ArgumentParser, run
from .errors import InputError
from .fasttext import fasttext_line

BATCH_TEXTS = 1024  # read, scored and written together


@dataclass
class ClassifyArguments:
    """What to classify, and with which checkpoint."""

    checkpoint: str = field(metadata={"help": "Folder that textcnn-train wrote."})
    input: str | None = field(
        default=None, metadata={"help": "UTF-8 file with one text a line (.gz too), or - for standard input."}
    )
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda or cuda:N."})
    top_k: int | None = field(default=None, metadata={"help": "Number of labels in scores; all if not given."})
    format: Literal["jsonl", "fasttext"] = field(
        default="jsonl", metadata={"help": "jsonl, or fasttext: __label__x 0.97, as its predict-prob prints."}
    )

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top_k must be at least 1, got {self.top_k}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `textcnn-classify`; returns its exit status."""
    return run(lambda: _classify(sys.argv[1:] if argv is None else list(argv)))


def _classify(argv: list[str]) -> None:
    parser = ArgumentParser(
        [ClassifyArguments],
        prog="textcnn-classify",
        description="Classify texts; JSON lines on stdout.",
    )
    parser.add_argument("texts", nargs="*", help="Texts to classify.")
    arguments, positional = parser.parse(argv)
    if positional.texts and arguments.input is not None:
        raise InputError(
            f"texts and --input exclude each other, got {len(positional.texts)} texts and {arguments.input!r}"
        )
    classifier = TextClassifier.from_pretrained(arguments.checkpoint, arguments.device)
    texts = iter(positional.texts) if positional.texts else _read_lines(arguments.input or "-")
    while batch := list(islice(texts, BATCH_TEXTS)):
        for text, prediction in zip(batch, classifier(batch, top_k=arguments.top_k), strict=True):
            print(
                fasttext_line(prediction, arguments.top_k)
                if arguments.format == "fasttext"
                else json.dumps({"text": text, **prediction.to_dict()}, ensure_ascii=False)
            )


def _read_lines(name: str) -> Iterator[str]:
    """Lines of a file without their line ends; raises `InputError` when it is missing or no UTF-8."""
    read = 0
    try:
        with _open(name) as lines:
            for line in lines:
                read += 1
                yield line.rstrip(b"\r\n").decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: line {read} is not UTF-8 (byte 0x{error.object[error.start]:02x})") from error
    except OSError as error:
        raise InputError(f"input {name!r} cannot be read ({error.strerror or error})") from error


def _open(name: str) -> IO[bytes]:
    if name == "-":
        return sys.stdin.buffer
    return gzip.open(name) if name.endswith(".gz") else Path(name).open("rb")  # type: ignore[return-value]


if __name__ == "__main__":
    sys.exit(main())
