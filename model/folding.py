"""Folding: the trained network as look-ups and additions, the same logits without a convolution.

Embedding and convolution are both linear, so what a token adds to a window depends only on the token and on the tap of
the window that it stands under. `FoldedTextCnn` works all of that out once, P_j = E W_j^T for tap j, and a forward pass
adds up table rows. It is the precomputation of the first layer of Devlin et al. 2014 (ACL P14-1129) and of Chen &
Manning 2014 (EMNLP D14-1082), applied to a convolution over embeddings.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from .network_textcnn import TextCnn, TextCnnShape

CACHED_BYTES = 1 << 21  # of window sums between addition and maximum; more would leave the cache

# B texts, L tokens, V vocabulary, D channels, F filters, W windows, K kernel sizes, C classes,
# S slots: the taps of all kernel sizes, one after the other.


class FoldedTextCnn:
    """The inference form of a `TextCnn`, on its device: equal logits up to rounding, no gradient, weights of its own.

    Row t * S + s of the table is what token t adds to the F filters that slot s belongs to. Two made-up tokens spare
    the forward pass all special cases: BLANK is the zero beyond the end of a text, and a window of VOID sums to 0,
    which a maximum that ReLU follows never notices. A table in bfloat16 or float16 takes half the memory for logits
    that are off by some 1e-2 or 1e-3 of their size, and is no faster on a CPU.

    >>> network = TextCnn(TextCnnShape(vocab_size=9, embedding_dim=4, num_filters=2, kernel_sizes=[2, 3]), 3)
    >>> FoldedTextCnn(network)(torch.tensor([[5, 6, 7], [8, 0, 0]]), torch.tensor([3, 1])).shape
    torch.Size([2, 3])
    """

    def __init__(self, network: TextCnn, dtype: torch.dtype = torch.float32) -> None:
        shape = network.config
        sizes = np.array([size for size in shape.kernel_sizes for _ in range(size)])  # (S,)
        taps = np.concatenate([np.arange(size) for size in shape.kernel_sizes])  # (S,)
        padding = np.array([shape.total_padding(size) for size in sizes])  # (S,), zeros on both sides together
        self._before = int(padding.max()) // 2  # BLANKs before each text
        self._offset = taps * shape.dilation + self._before - padding // 2  # (S,), where window 0 has its taps
        self._reach = int(self._offset.max()) + 1  # tokens from the begin of a window to its last tap
        self._room = (sizes - 1) * shape.dilation + 1 - padding  # (S,), tokens that one window needs
        self._least_room = int(self._room.min())
        self._stride, self._vocab_size = shape.stride, shape.vocab_size
        self._slots = np.arange(len(sizes), dtype=np.int32)  # (S,)
        self._first_slots = self._slots[taps == 0]  # (K,)
        self._table = _fold(network).to(dtype)  # ((V + 2) * S, F)
        linear, temperature = network.classifier, shape.calibration_temperature
        self._weight, self._bias = linear.weight.detach() / temperature, linear.bias.detach() / temperature

    @property
    def table_bytes(self) -> int:
        """Memory of the table."""
        return self._table.numel() * self._table.element_size()

    def __call__(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """Logits (B, C) of the first `lengths` (B,) ids of each row of `input_ids` (B, L), best given on the CPU."""
        ids, sizes = input_ids.cpu().numpy(), lengths.cpu().numpy()
        text_bytes = self._windows(ids.shape[1]) * len(self._first_slots) * self._table[0].nbytes
        texts = max(1, CACHED_BYTES // text_bytes)
        pooled = [self._pool(ids[i : i + texts], sizes[i : i + texts]) for i in range(0, len(ids), texts)]
        return functional.linear(torch.cat(pooled), self._weight, self._bias)

    def _pool(self, input_ids: NDArray[np.integer], lengths: NDArray[np.integer]) -> Tensor:
        """Rectified maximum over time (B, K*F) of a few texts."""
        rows = self._rows(input_ids[:, : lengths.max()], lengths)  # (B, W, S)
        starts = np.arange(0, rows.size, len(self._slots), dtype=np.int32)[:, None] + self._first_slots  # (B*W, K)
        chosen, bags = (torch.from_numpy(array.ravel()).to(self._table.device) for array in (rows, starts))
        sums = torch.embedding_bag(self._table, chosen, bags)[0]  # (B*W*K, F)
        return sums.view(*rows.shape[:2], -1).amax(dim=1).relu_().float()

    def _windows(self, longest: int) -> int:
        """Windows of the text with so many tokens, for the kernel size that has most."""
        return max(longest - self._least_room, 0) // self._stride + 1

    def _rows(self, input_ids: NDArray[np.integer], lengths: NDArray[np.integer]) -> NDArray[np.int32]:
        """The rows of the table that each window adds up (B, W, S)."""
        slots, longest = len(self._slots), input_ids.shape[1]
        windows = self._windows(longest)
        window = np.arange(0, windows * self._stride, self._stride)[:, None]  # (W, 1), where each begins
        position = window + self._offset  # (W, S)
        width = max((windows - 1) * self._stride + self._reach, self._before + longest)
        token_rows = np.full((len(input_ids), width), self._vocab_size * slots, dtype=np.int32)  # all BLANK
        is_token = np.arange(longest) < lengths[:, None]  # (B, L)
        inside = token_rows[:, self._before : self._before + longest]
        np.multiply(input_ids, slots, out=inside, where=is_token, casting="same_kind")
        rows: NDArray[np.int32] = token_rows.take(position, axis=1)  # (B, W, S)
        last = np.maximum(lengths[:, None] - self._room, 0)  # (B, S), where each text's last window may begin
        np.putmask(rows, window > last[:, None], (self._vocab_size + 1) * slots)  # VOID
        rows += self._slots
        return rows


def folded_bytes(shape: TextCnnShape) -> int:
    """Memory that the float32 table of a network of that shape takes."""
    return (shape.vocab_size + 2) * sum(shape.kernel_sizes) * shape.num_filters * 4


@torch.no_grad()
def _fold(network: TextCnn) -> Tensor:
    """The table ((V + 2) * S, F): one convolution of width 1 over the whole vocabulary for each slot."""
    shape, embedding = network.config, network.embedding.weight
    vocabulary = embedding.T[None]  # (1, D, V), all tokens as one long text
    table = embedding.new_zeros(shape.vocab_size + 2, sum(shape.kernel_sizes), shape.num_filters)
    slot = 0
    for conv in network.convs:
        assert isinstance(conv, nn.Conv1d)  # noqa: S101  (narrows the type that ModuleList forgets)
        if conv.bias is not None:
            table[:-1, slot] = conv.bias  # once in each window, by its first tap; never in VOID
        for tap in conv.weight.split(1, dim=2):  # (F, D / groups, 1)
            table[:-2, slot] += functional.conv1d(vocabulary, tap, groups=shape.groups)[0].T
            slot += 1
    return table.flatten(0, 1)
