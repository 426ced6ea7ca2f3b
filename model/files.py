"""The files of a checkpoint folder and what tells one content from another; imports no torch, which costs seconds."""

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
