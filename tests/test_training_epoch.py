"""The benchmark of an epoch, in small and on a CPU."""

import json
from pathlib import Path

from benchmarks.training_epoch import main


def test_an_epoch_is_timed_and_explained(tmp_path: Path) -> None:
    output = tmp_path / "found.json"
    flags = ["--device", "cpu", "--sequences", "64", "--batch_size", "32", "--epochs", "2", "--output", str(output)]
    main([*flags, "--optim", "sgd"])
    found = json.loads(output.read_text(encoding="utf-8"))
    assert 0 < found["epoch_s"] <= found["slowest_epoch_s"]
    profile = found["profile"]
    assert 0 < sum(profile["longest_s"].values()) <= profile["busy_s"]
    assert any(name.startswith("aten::") for name in profile["longest_s"])
    assert found["environment"]["command"].endswith("--sequences 64 --batch_size 32 --epochs 2 --optim sgd")
