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

CACHED_BYTES = 1 << 20  # of window sums between addition and maximum; more leaves the second-level cache

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
        self._weight, self._bias = network.classifier.weight.detach(), network.classifier.bias.detach()

    @property
    def table_bytes(self) -> int:
        """Memory of the table."""
        return self._table.numel() * self._table.element_size()

    def __call__(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """Logits (B, C) of the first `lengths` (B,) ids of each row of `input_ids` (B, L), best given on the CPU."""
        rows = self._rows(input_ids.cpu().numpy(), lengths.cpu().numpy())  # (B, W, S)
        window_bytes = len(self._first_slots) * self._table.shape[1] * self._table.element_size()
        texts = max(1, CACHED_BYTES // (rows.shape[1] * window_bytes))
        starts = np.arange(0, rows[:texts].size, len(self._slots), dtype=np.int32)[:, None] + self._first_slots
        bags = torch.from_numpy(starts.ravel()).to(self._table.device)  # (b*W*K,), where each sum begins
        pooled = [self._max_over_time(rows[i : i + texts], bags) for i in range(0, len(rows), texts)]  # (b, K*F) each
        return functional.linear(torch.cat(pooled), self._weight, self._bias)

    def _rows(self, input_ids: NDArray[np.integer], lengths: NDArray[np.integer]) -> NDArray[np.int32]:
        """The rows of the table that each window adds up (B, W, S)."""
        slots, longest = len(self._slots), input_ids.shape[1]
        windows = max(longest - self._least_room, 0) // self._stride + 1
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

    def _max_over_time(self, rows: NDArray[np.int32], bags: Tensor) -> Tensor:
        """Rectified maximum (b, K*F) over the windows of a few texts, given the rows (b, W, S) to add up."""
        texts, windows, _ = rows.shape
        chosen = torch.from_numpy(rows.ravel()).to(self._table.device)
        sums = torch.embedding_bag(self._table, chosen, bags[: texts * windows * len(self._first_slots)])[0]
        return sums.view(texts, windows, -1).amax(dim=1).relu_().float()  # (b*W*K, F) -> (b, K*F)


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
