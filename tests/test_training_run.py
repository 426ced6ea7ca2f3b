"""A training from its parts."""

from pathlib import Path

import pytest
import torch

from tests.conftest import labelled_texts
from tests.trainers import trainer_of
from training.config_training import TextCnnTrainingArguments


@pytest.mark.parametrize("process", [0, 1])
def test_every_process_drops_other_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process: int) -> None:
    monkeypatch.setattr(TextCnnTrainingArguments, "process_index", process)
    trainer_of(tmp_path, labelled_texts(), "--seed", "40")
    assert torch.initial_seed() == 40 + process
