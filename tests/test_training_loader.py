"""DataLoader's knobs and the samplers reach the loader that trains, under their names."""

from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import labelled_texts
from tests.trainers import trainer_of
from training.trainer import TextCnnTrainer

WORKERS = ["--dataloader_num_workers", "1"]


@pytest.mark.parametrize(
    ("flags", "name", "usual", "asked"),
    [
        (WORKERS, "num_workers", 0, 1),
        ([*WORKERS, "--dataloader_prefetch_factor", "3"], "prefetch_factor", None, 3),
        ([*WORKERS, "--dataloader_persistent_workers"], "persistent_workers", False, True),
        ([*WORKERS, "--dataloader_in_order", "false"], "in_order", True, False),
    ],
)
def test_every_knob_is_effective(tmp_path: Path, flags: list[str], name: str, usual: object, asked: object) -> None:
    for given, expected in (([], usual), (flags, asked)):
        trainer = trainer_of(tmp_path, labelled_texts(), *given)
        assert getattr(trainer.get_train_dataloader(), name) == expected
        assert getattr(trainer.get_eval_dataloader(), name) == expected
        assert trainer.get_train_dataloader()._non_blocking  # type: ignore[attr-defined]


@pytest.mark.parametrize("pinned", [True, False])
def test_memory_is_pinned_as_asked(tmp_path: Path, pinned: bool) -> None:
    trainer = trainer_of(tmp_path, labelled_texts())
    assert not trainer.args.dataloader_pin_memory  # transformers' own: nothing to pin for on a CPU
    trainer.args.dataloader_pin_memory = pinned
    assert trainer.get_train_dataloader().pin_memory == pinned


def test_the_context_of_the_workers(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, labelled_texts(), *WORKERS, "--dataloader_multiprocessing_context", "spawn")
    assert trainer.get_train_dataloader().multiprocessing_context.get_start_method() == "spawn"


def test_sizes_of_batches(tmp_path: Path) -> None:
    """144 texts: the last four are dropped in training only."""
    flags = ["--per_device_train_batch_size", "20", "--per_device_eval_batch_size", "50", "--dataloader_drop_last"]
    trainer = trainer_of(tmp_path, labelled_texts(), *flags)
    assert [len(batch["labels"]) for batch in trainer.get_train_dataloader()] == [20] * 7
    assert [len(batch["labels"]) for batch in trainer.get_eval_dataloader()] == [50, 50, 44]


def rows_of(trainer: TextCnnTrainer) -> list[int]:
    """The rows of an epoch in the order of the sampler."""
    return [int(row) for row in chain.from_iterable(trainer.get_train_dataloader().batch_sampler)]  # type: ignore[arg-type]


def test_every_sampler_is_effective(tmp_path: Path) -> None:
    texts: list[dict[str, Any]] = [row for row in labelled_texts() if row["label"] != "praise"]
    texts += [row for row in labelled_texts() if row["label"] == "praise"][:4]  # of 100

    def rows(*flags: str) -> list[int]:
        return rows_of(trainer_of(tmp_path, texts, *flags))

    everyone = list(range(100))
    assert rows("--sampler", "sequential") == everyone
    assert rows() != sorted(rows()) == everyone == sorted(rows("--sampler", "length_grouped"))
    assert rows("--data_seed", "5") != rows()
    weighted = Counter(texts[row]["label"] for row in rows("--sampler", "weighted", "--sampler_num_samples", "3000"))
    assert all(900 < count < 1100 for count in weighted.values())
    drawn = rows("--sampler_replacement", "--sampler_num_samples", "70")
    assert len(drawn) == 70 > len(set(drawn))
    trainer = trainer_of(tmp_path, texts, "--sampler", "length_grouped")
    lengths = trainer.train_dataset.lengths[torch.tensor(rows_of(trainer)[:96])].view(6, 16)
    assert float(lengths.double().std(dim=1).mean()) < 0.5 * float(trainer.train_dataset.lengths.double().std())
