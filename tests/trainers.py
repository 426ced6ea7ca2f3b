"""A trainer as `textcnn-train` makes it, before its first step."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY, write_json_lines
from training.__main__ import main
from training.trainer import TextCnnTrainer


def trainer_of(folder: Path, rows: Iterable[Mapping[str, Any]], *flags: str) -> TextCnnTrainer:
    """The trainer of the command with these flags, on `rows` as training and validation texts."""
    made: list[TextCnnTrainer] = []

    def stop(trainer: TextCnnTrainer, **_: Any) -> None:
        made.append(trainer)
        raise KeyboardInterrupt

    file = str(write_json_lines(folder / "texts.jsonl", rows))
    command = ["--train_file", file, "--validation_file", file, "--output_dir", str(folder / "out"), *TINY, *flags]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TextCnnTrainer, "train", stop)
        assert main(command) == 130
    return made[0]
