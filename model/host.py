"""Passes through the network on the CPU."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .encoding import right_padded
from .folding import FoldedTextCnn
from .network_textcnn import TextCnn

# B texts, L tokens, C classes.

TokenIds = Sequence[Sequence[int]]  # of B texts


class HostRunner:
    """A network on the CPU and what makes outputs of its logits.

    `pass_texts` is the most that one pass takes.
    """

    clock = "perf_counter"
    pass_texts = 64

    def __init__(self, network: TextCnn | FoldedTextCnn, outputs: Callable[[Tensor], Tensor]) -> None:
        self._logits: Callable[[TokenIds], Tensor] = network if isinstance(network, FoldedTextCnn) else _dense(network)
        self._outputs = outputs

    @property
    def is_parallel(self) -> bool:
        """Whether a second pass may run beside one: not where torch's own threads share each pass already."""
        return torch.get_num_threads() == 1

    @torch.inference_mode()
    def __call__(self, token_ids: TokenIds) -> tuple[NDArray[np.float32], float]:
        """Outputs (B, C) of the token ids of B texts, and the milliseconds they took."""
        begin = time.perf_counter()
        outputs = self._outputs(self._logits(token_ids)).numpy()
        return outputs, (time.perf_counter() - begin) * 1e3


def _dense(network: TextCnn) -> Callable[[TokenIds], Tensor]:
    """The network with all its convolutions, as it was trained."""

    def logits(token_ids: TokenIds) -> Tensor:
        input_ids, lengths = map(torch.from_numpy, right_padded(token_ids))  # (B, L), (B,)
        return network.logits(input_ids, lengths).float()

    return logits
