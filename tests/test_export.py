"""ONNX: the same logits in another runtime, whatever the batch, the length and the side of the padding."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from model.checkpoint import read_config, read_network
from model.export import main
from tests.checkpoints import write_checkpoint

pytestmark = pytest.mark.slow  # torch's exporter takes seconds


@pytest.mark.filterwarnings("ignore")  # of torch's exporter about itself
@pytest.mark.parametrize(
    "options", [{}, {"padding": 1, "stride": 2, "calibration_temperature": 1.7, "num_bigrams": 201}]
)
def test_onnxruntime_gives_our_logits(tmp_path: Path, options: dict[str, object]) -> None:
    checkpoint, target = write_checkpoint(tmp_path / "checkpoint", max_length=40, **options), tmp_path / "network.onnx"
    assert main(["--checkpoint", str(checkpoint), "--output", str(target)]) == 0
    session = onnxruntime.InferenceSession(str(target))
    network = read_network(checkpoint, read_config(checkpoint))
    draw = np.random.default_rng(0)
    for texts, tokens in ((1, 1), (1, 2), (3, 5), (2, 9), (4, 33), (2, 0)):  # the widest kernel has three taps
        ids = draw.integers(1, 20, (texts, tokens))
        for mask in (
            np.ones_like(ids),
            np.arange(tokens) % 2 + 0 * ids,
            np.arange(tokens) <= draw.integers(tokens + 1),
        ):
            attention_mask = np.broadcast_to(mask, ids.shape).astype(np.int64)
            (found,) = session.run(None, {"input_ids": ids, "attention_mask": attention_mask})
            expected = network(torch.from_numpy(ids), torch.from_numpy(attention_mask))
            torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # of torch's exporter about itself
def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, target = write_checkpoint(tmp_path / "checkpoint"), tmp_path / "nowhere" / "network.onnx"
    assert main(["--checkpoint", str(checkpoint), "--output", str(target)]) == 2
    assert f"error: output '{target}' cannot be written (No such file or directory)" in capsys.readouterr().err


def test_a_missing_checkpoint_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--checkpoint", "nowhere", "--output", str(tmp_path / "network.onnx")]) == 2
    assert "checkpoint must be a folder, 'nowhere' does not exist" in capsys.readouterr().err
