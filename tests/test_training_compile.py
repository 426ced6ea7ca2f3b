"""`--torch_compile` on this machine's processor."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch._dynamo.utils import counters
from torch.testing import assert_close

from tests.conftest import labelled_texts, train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),  # torch's own
    pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler, g++"),
]


def test_a_compiled_training_learns_the_same(tmp_path: Path) -> None:
    flags = (
        "--optim",
        "sgd",
        "--learning_rate",
        "0.1",
        "--dropout",
        "0",
        "--num_train_epochs",
        "2",
        "--ngram_buckets",
        "0",
        "--bf16",
        "false",
    )
    weights = []
    counters.clear()
    for name, more in (("eager", ()), ("compiled", ("--torch_compile",))):
        (tmp_path / name).mkdir()
        folder = train(tmp_path / name, labelled_texts(), *flags, "--padding", "max_length", *more)
        weights.append(load_file(folder / "model.safetensors"))
    assert counters["stats"]["unique_graphs"] > 0
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        assert_close(weights[1][name], tensor, atol=1e-5, rtol=0, msg=name)
