"""DataLoader's knobs reach the loader under their names, and the batches are those of the sampler."""

from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from tests.conftest import labelled_texts, train
from training import trainer as trainer_module


def test_every_knob_is_effective(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {}
    sizes: list[int] = []

    class Spy(DataLoader[Any]):
        def __init__(self, dataset: Any, **given: Any) -> None:
            if "batch_sampler" in given and not options:
                options.update(given)
                sizes.extend(len(batch) for batch in given["batch_sampler"])
            super().__init__(dataset, **given)

    monkeypatch.setattr(trainer_module, "DataLoader", Spy)
    flags = ["--dataloader_num_workers", "1", "--dataloader_prefetch_factor", "3", "--dataloader_persistent_workers"]
    flags += ["--dataloader_pin_memory", "false", "--dataloader_drop_last", "--per_device_train_batch_size", "20"]
    flags += ["--dataloader_in_order", "false", "--dataloader_multiprocessing_context", "fork"]
    train(tmp_path, labelled_texts(), "--num_train_epochs", "1", *flags)
    expected: dict[str, Any] = {"num_workers": 1, "prefetch_factor": 3, "persistent_workers": True, "pin_memory": False}
    expected |= {"in_order": False, "multiprocessing_context": "fork"}
    assert {name: options[name] for name in expected} == expected
    assert sizes == [20] * 7  # of 144 texts, the last 4 dropped
