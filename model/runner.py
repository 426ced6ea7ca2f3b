"""How a checkpoint's network is run: dense or folded, in which precision, on which device."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .checkpoint import CheckpointConfig
from .errors import InputError
from .folding import FoldedTextCnn, folded_bytes
from .graphs import GraphRunner, fastest
from .host import HostRunner
from .network_textcnn import TextCnn
from .options import InferenceOptions

DTYPES = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# B texts, C classes.


class Runner(Protocol):
    """Passes through the network on some device."""

    clock: str  # that measures them, "cuda_events" or "perf_counter"
    pass_texts: int  # the most that one pass takes

    @property
    def is_parallel(self) -> bool:
        """Whether two passes at a time are faster than one after the other."""

    def __call__(self, token_ids: list[list[int]]) -> tuple[NDArray[np.float32], float]:
        """Outputs (B, C) of the token ids of B texts, and the milliseconds they took."""


def choose_network(
    network: TextCnn, config: CheckpointConfig, device: torch.device, options: InferenceOptions
) -> TextCnn | FoldedTextCnn:
    """The form of the network to run; on a GPU "auto" measures which is faster."""
    if options.precision == "tf32" and device.type != "cuda":
        raise InputError(f"precision tf32 needs a CUDA device, got {device}")
    dtype = DTYPES[options.precision]
    network = network.to(device)
    fits = folded_bytes(config, dtype) <= options.folding_budget_mb * 1e6
    if options.folding == "off" or (options.folding == "auto" and not fits):
        return network.to(dtype)
    folded = FoldedTextCnn(network, dtype)
    if options.folding == "on" or device.type == "cpu":
        return folded
    return fastest([folded, network.to(dtype)], config, device, tf32=options.precision == "tf32")


def build_runner(
    network: TextCnn | FoldedTextCnn, config: CheckpointConfig, device: torch.device, options: InferenceOptions
) -> Runner:
    """The network on its device with what makes outputs of its logits."""
    outputs = _outputs(config.problem_type)
    if device.type == "cpu":
        return HostRunner(network, outputs)
    return GraphRunner(network, outputs, device, config.max_length, tf32=options.precision == "tf32")


def _outputs(problem_type: str) -> Callable[[Tensor], Tensor]:
    """Probabilities (B, C) of logits (B, C), or the logits themselves for a regression."""
    match problem_type:
        case "single_label_classification":
            return partial(torch.softmax, dim=1)
        case "multi_label_classification":
            return torch.sigmoid
    return torch.Tensor.float
