"""The files of a checkpoint folder and its revision, and what names of files tell; imports no torch, which is slow."""

import hashlib
from pathlib import Path

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
METRICS = "metrics.json"


def revision(folder: Path) -> str:
    """`sha256:...` over configuration, weights and tokenizer: the same for the same answers.

    Raises `OSError` for a file that cannot be read.
    """
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS, TOKENIZER):
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{digest.hexdigest()}"


def ending(path: Path) -> str:
    """What tells the format of a file, in small letters: the ending, or the one before `.gz`.

    >>> ending(Path("texts.JSONL.gz"))
    '.jsonl'
    """
    return Path(path.stem if is_gzip(path) else path.name).suffix.lower()


def is_gzip(path: Path) -> bool:
    """Whether the name says so."""
    return path.suffix.lower() == ".gz"
