"""Folding: the trained network as look-ups and additions, the same logits without a convolution.

Embedding and convolution are both linear, so what a token adds to a window depends only on the token and on the tap of
the window that it stands under. `FoldedTextCnn` works all of that out once, P_j = E W_j^T for tap j, and a forward pass
adds up table rows; the linear part of a network does so anyway. It is the precomputation of the first layer of Devlin
et al. 2014 (ACL P14-1129) and of Chen & Manning 2014 (EMNLP D14-1082), applied to a convolution over embeddings.
"""

import mmap
from collections.abc import Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import lru_cache
from itertools import groupby
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from .network_textcnn import TextCnn, TextCnnShape

CACHED_BYTES = 1 << 21  # of window sums between addition and maximum; more would leave the cache
COLUMNS = 64  # that torch compares at once with AVX-512; with AVX2 half as many
PLANS = 256  # kept at a time, fewer where those of the longest texts would exceed PLANS_BYTES
PLANS_BYTES = 1 << 25
FOLDED_TOKENS = 4096  # at a time

# B texts, L tokens, V vocabulary, D channels, F filters, W windows, K kernel sizes, C classes,
# S slots: the taps of all kernel sizes, one after the other.


class FoldedTextCnn:
    """The inference form of a `TextCnn`: equal logits up to rounding, no gradient, weights of its own.

    Row t * S + s of the table is what token t adds to the F filters that slot s belongs to. Two made-up tokens spare
    the forward pass all special cases: BLANK is the zero beyond the end of a text, and a window of VOID sums to 0,
    which a maximum that ReLU follows never notices. A table in bfloat16 or float16 takes half the memory for logits
    that are off by some 1e-2 or 1e-3 of their size.

    >>> network = TextCnn(TextCnnShape(vocab_size=9, embedding_dim=4, num_filters=2, kernel_sizes=[2, 3]), 3)
    >>> FoldedTextCnn(network)([[5, 6, 7], [8]]).shape
    torch.Size([2, 3])
    """

    def __init__(self, network: TextCnn, dtype: torch.dtype = torch.float32) -> None:
        shape, device = network.config, network.embedding.weight.device
        sizes = torch.tensor([size for size in shape.kernel_sizes for _ in range(size)])  # (S,)
        taps = torch.cat([torch.arange(size) for size in shape.kernel_sizes])  # (S,)
        padding = torch.tensor([shape.total_padding(int(size)) for size in sizes])  # (S,), zeros on both sides together
        room = (sizes - 1) * shape.dilation + 1 - padding  # (S,), tokens that one window needs
        self._offset = (taps * shape.dilation - padding // 2).to(device)  # (S,), where window 0 has its taps
        self._room, self._least_room = room.to(device), int(room.min())
        self._kernel_sizes, self._stride = list(shape.kernel_sizes), shape.stride
        self._blank, self._void = shape.vocab_size, shape.vocab_size + 1  # tokens
        self._slots = torch.arange(len(sizes), dtype=torch.int32, device=device)  # (S,)
        self._host_slots = np.arange(len(sizes), dtype=np.int32)  # (S,)
        self._first_slots = torch.arange(len(sizes), dtype=torch.int32)[taps == 0]  # (K,)
        self._window_bytes = len(self._kernel_sizes) * shape.num_filters * dtype.itemsize  # of its sums
        self._bags = torch.empty(0, dtype=torch.int32)  # (W*K,), where the rows of each sum begin
        self._table = _fold(network).to(dtype)  # ((V + 2) * S, F)
        self.output_layer = network.output_layer  # weight (C, K*F) and bias (C,) of the calibrated logits
        self.bigrams = None if network.bigrams is None else deepcopy(network.bigrams).float().requires_grad_(False)
        self._bigrams_scale = 1 / shape.calibration_temperature
        on_host = self.bigrams if device.type == "cpu" else None
        self._bigrams_on_host = None if on_host is None else on_host.on_host(self._bigrams_scale)
        longest = self._windows(shape.max_length) * len(sizes) * (8 + 4)  # bytes of a plan: an int64 and an int32 each
        self._plan = lru_cache(max(min(PLANS, PLANS_BYTES // longest), 1))(self._make_plan)

    @property
    def table_bytes(self) -> int:
        """Memory of the table."""
        return self._table.nbytes

    def __call__(self, token_ids: Sequence[Sequence[int]]) -> Tensor:
        """Logits (B, C) of the token ids of B texts on the CPU; fastest where neighbours are of similar lengths."""
        logits = self._text_logits(token_ids[0]) if len(token_ids) == 1 else self._list_logits(token_ids)
        if self._bigrams_on_host is not None:
            added = logits.numpy()  # the same memory
            added += self._bigrams_on_host(token_ids)
        return logits

    def _list_logits(self, token_ids: Sequence[Sequence[int]]) -> Tensor:
        """What the filters give the logits (B, C) of B texts."""
        lengths = [len(ids) for ids in token_ids]
        pooled = []
        for begin, end, windows in self._pieces(lengths):
            rows = self._rows(token_ids[begin:end], lengths[begin:end], windows)
            pooled.append(_maxima(self._pool(rows.reshape(-1)).view(end - begin, windows, -1)))  # (b, K*F)
        return self._classify(pooled[0] if len(pooled) == 1 else torch.cat(pooled))

    def _text_logits(self, token_ids: Sequence[int]) -> Tensor:
        """The same of one text (1, C), made as a vector: that costs less than a batch of one."""
        rows, (weight, bias) = self._text_rows(token_ids), self.output_layer
        pooled = self._pool(rows).view(len(rows) // len(self._slots), -1).amax(dim=0)  # (K*F,)
        return torch.addmv(bias, weight, pooled.float().relu_()).unsqueeze(0)

    def logits(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """Logits (B, C) of the first `lengths` (B,) ids of each row of `input_ids` (B, L).

        For a GPU: what it does depends on shapes alone, so a CUDA graph may capture it.
        """
        logits = self._classify(self._sums(input_ids, lengths).flatten(2).amax(dim=1))
        return logits if self.bigrams is None else logits + self._bigrams_scale * self.bigrams(input_ids, lengths)

    def windows(self, token_ids: Sequence[int]) -> Tensor:
        """The rectified answer of each filter to each window of one text (W, K, F), 0 where there is no window."""
        device = self._table.device
        if device.type == "cpu":
            sums = self._pool(self._text_rows(token_ids))  # (W*K, F)
            return sums.view(-1, len(self._kernel_sizes), sums.shape[1]).float().relu_()
        input_ids = torch.tensor([token_ids], dtype=torch.int32, device=device)  # (1, L)
        return self._sums(input_ids, torch.tensor([len(token_ids)], device=device))[0].float().relu_()

    def _sums(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """Sums over the taps of all windows of all texts (B, W, K, F)."""
        ends = lengths.long()[:, None]  # (B, 1)
        tokens = functional.pad(input_ids, (0, 2)).scatter(1, ends, self._blank).scatter(1, ends + 1, self._void)
        layout = self._layout(lengths.long(), self._windows(input_ids.shape[1]))  # (B, W, S)
        rows = tokens.gather(1, layout.flatten(1)).view(layout.shape) * len(self._slots) + self._slots  # (B, W, S)
        gathered = functional.embedding(rows, self._table)  # (B, W, S, F)
        sums = [taps.sum(dim=2) for taps in gathered.split(self._kernel_sizes, dim=2)]  # K x (B, W, F)
        return torch.stack(sums, dim=2)

    def _classify(self, pooled: Tensor) -> Tensor:
        """Logits (B, C) of the maxima over time (B, K*F)."""
        return functional.linear(pooled.float().relu_(), *self.output_layer)

    def _pool(self, rows: NDArray[np.int32]) -> Tensor:
        """Sums over the taps of windows, (W*S,) to (W*K, F)."""
        bags, starts = len(rows) // len(self._host_slots) * len(self._kernel_sizes), self._bags
        if bags > len(starts):
            firsts = torch.arange(0, len(rows), len(self._host_slots), dtype=torch.int32)
            self._bags = starts = (firsts[:, None] + self._first_slots).flatten()
        return torch.embedding_bag(self._table, torch.from_numpy(rows), starts[:bags])[0]

    def _windows(self, length: int) -> int:
        """Windows of a text with so many tokens, for the kernel size that has most."""
        return max(length - self._least_room, 0) // self._stride + 1

    def _pieces(self, lengths: list[int]) -> Iterator[tuple[int, int, int]]:
        """First text and end of each piece whose sums stay in the cache, and the most windows of one of its texts."""
        limit = CACHED_BYTES // self._window_bytes
        begin = 0
        while begin < len(lengths):
            end = begin + max(limit // self._windows(lengths[begin]), 1)
            most = self._windows(max(lengths[begin:end]))
            end = min(begin + max(limit // most, 1), len(lengths))
            yield begin, end, self._windows(max(lengths[begin:end]))
            begin = end

    def _rows(self, token_ids: Sequence[Sequence[int]], lengths: list[int], windows: int) -> NDArray[np.int32]:
        """The rows of the table that each window of each text adds up (B, W*S)."""
        stream: list[int] = []
        for ids in token_ids:
            stream += ids
            stream += self._blank, self._void
        first_rows = self._first_rows(stream)
        rows = np.empty((len(lengths), windows * len(self._host_slots)), dtype=np.int32)
        text = token = 0
        for length, alike in groupby(lengths):
            next_text = text + len(list(alike))
            next_token = token + (next_text - text) * (length + 2)
            tokens = first_rows[token:next_token].reshape(next_text - text, length + 2)
            plan, slots = self._plan(length, windows)
            tokens.take(plan, axis=1, out=rows[text:next_text], mode="clip")  # the mode that needs no copy
            text, token = next_text, next_token
        rows += slots  # of as many windows, whatever the length
        return rows

    def _text_rows(self, token_ids: Sequence[int]) -> NDArray[np.int32]:
        """The same of one text (W*S,)."""
        length = len(token_ids)
        plan, slots = self._plan(length, self._windows(length))
        rows: NDArray[np.int32] = self._first_rows([*token_ids, self._blank, self._void]).take(plan)
        rows += slots
        return rows

    def _first_rows(self, tokens: list[int]) -> NDArray[np.int32]:
        """Where the rows of each token begin in the table."""
        rows = np.fromiter(tokens, np.int32, len(tokens))
        rows *= len(self._host_slots)
        return rows

    def _make_plan(self, length: int, windows: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """`_layout` of one text, and the slots beside it, both (W*S,); texts of one length share them."""
        layout: NDArray[np.int64] = self._layout(torch.tensor([length]), windows).numpy().reshape(-1)
        return layout, np.tile(self._host_slots, windows)

    def _layout(self, lengths: Tensor, windows: int) -> Tensor:
        """Which token of its text stands under each slot of each window (B, W, S), where BLANK and VOID follow it."""
        window = torch.arange(windows, device=lengths.device)[:, None] * self._stride  # (W, 1), where each begins
        position = window + self._offset  # (W, S)
        ends = lengths[:, None, None]
        tokens = position.where((position >= 0) & (position < ends), ends)  # (B, W, S), with BLANK
        last = (ends - self._room).clamp(min=0)  # (B, 1, S), where the last window may begin
        return tokens.where(window <= last, ends + 1)  # (B, W, S), with VOID


def _maxima(sums: Tensor) -> Tensor:
    """The maximum over windows (B, K*F) of their sums (B, W, K*F).

    torch compares COLUMNS of them at once and what is left, far more slowly, one by one: here the last ones go together
    as well, some of them twice.
    """
    whole = sums.shape[2] // COLUMNS * COLUMNS
    if whole in (0, sums.shape[2]):
        return sums.amax(dim=1)
    maxima = sums.new_empty(len(sums), sums.shape[2])
    for columns in (slice(whole), slice(-COLUMNS, None)):
        torch.amax(sums[..., columns], dim=1, out=maxima[:, columns])
    return maxima


def folded_bytes(shape: TextCnnShape, dtype: torch.dtype = torch.float32) -> int:
    """Memory that the table of a network of that shape takes."""
    return (shape.vocab_size + 2) * sum(shape.kernel_sizes) * shape.num_filters * dtype.itemsize


@torch.no_grad()
def _fold(network: TextCnn) -> Tensor:
    """The table ((V + 2) * S, F): the embeddings of the whole vocabulary times the weights of each slot."""
    shape, embedding = network.config, network.embedding_table  # (V, D)
    convs = [conv for conv in network.convs if isinstance(conv, nn.Conv1d)]  # all of them
    weights = torch.cat([conv.weight.permute(2, 0, 1) for conv in convs])  # (S, F, D / G), G groups
    grouped = weights.view(len(weights), shape.groups, -1, weights.shape[2])  # (S, G, F / G, D / G)
    table = _zeros((shape.vocab_size + 2, *weights.shape[:2]), embedding)
    for begin in range(0, shape.vocab_size, FOLDED_TOKENS):  # a second table would double the memory
        tokens = embedding[begin : begin + FOLDED_TOKENS].unflatten(1, (shape.groups, -1))  # (v, G, D / G)
        table[begin : begin + len(tokens)] = torch.einsum("vgd,sgfd->vsgf", tokens, grouped).flatten(2)
    slot = 0
    for conv in convs:
        if conv.bias is not None:
            table[:-1, slot] += conv.bias  # once in each window, by its first tap; never in VOID
        slot += conv.kernel_size[0]
    return table.flatten(0, 1)


def _zeros(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Zeros of the type of `like` on its device; on a CPU in huge pages if it has them: their rows are found faster."""
    if like.device.type != "cpu" or not hasattr(mmap, "MADV_HUGEPAGE"):
        return like.new_zeros(shape)
    memory = mmap.mmap(-1, prod(shape) * like.element_size(), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel built without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=like.dtype).view(shape)
