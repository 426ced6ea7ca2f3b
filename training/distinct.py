"""The convolutions of a training worked out once for each distinct token of a batch, not once a position.

Embedding and convolution are linear, so what a token adds to a window depends only on the token and on the tap that it
stands under (`model.folding` does the same for inference, with the whole vocabulary). A batch holds far fewer distinct
tokens than positions, and the maximum over time sends a gradient to one window for each text and filter only: so the
three matrix products of a step shrink to the distinct tokens. Same network, same gradients up to rounding.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from model.network_textcnn import TextCnn

# B texts, L tokens of a row, U distinct tokens, D channels, F filters, W windows, K kernel sizes,
# S slots: the taps of all kernel sizes, one after the other.


def pool_by_distinct_tokens(network: TextCnn, half: bool = False) -> None:
    """Let `network` train and be evaluated this way on a CPU; products of its steps are in bfloat16 if `half`.

    What is not linear there stays as it is. A GPU is faster with the convolutions: its time is in launching kernels and
    waiting for counts, not in arithmetic.
    """
    network.pool = _DistinctPool(network, half)  # type: ignore[method-assign]


class _DistinctPool:
    """`TextCnn.pool` of one network."""

    def __init__(self, network: TextCnn, half: bool) -> None:
        self._network, self._half = network, half

    def __call__(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """Pooled features (B, K*F) of the first `lengths` (B,) ids of each row of `input_ids` (B, L)."""
        network, shape = self._network, self._network.config
        is_empty = not len(input_ids)  # the share of one of several processes in the last step
        changes_embeddings = shape.embedding_dropout or network.embedding._forward_hooks  # NEFTune's noise is a hook
        is_linear = shape.groups == 1 and not (network.training and changes_embeddings)
        if is_empty or not is_linear or input_ids.device.type != "cpu":
            return TextCnn.pool(network, input_ids, lengths)
        distinct, place = input_ids.unique(return_inverse=True)  # (U,), (B, L)
        embedded = functional.pad(network.embed(distinct[None])[0], (0, 0, 0, 1))  # (U+1, D), the last one is blank
        convs = [conv for conv in network.convs if isinstance(conv, nn.Conv1d)]
        weights = torch.cat([tap for conv in convs for tap in conv.weight.unbind(2)])  # (S*F, D)
        with torch.autocast("cpu", torch.bfloat16, enabled=self._half and network.training):
            table = functional.linear(embedded, weights)  # (U+1, S*F)
        table = table.to(embedded.dtype).view(-1, shape.num_filters)  # ((U+1)*S, F), sums are exact again
        rows = self._rows(place, lengths, blank=len(distinct))
        pooled: Tensor = _MaxOfSums.apply(table, *rows)  # type: ignore[no-untyped-call]  # (B, K*F)
        biases = [conv.bias for conv in convs if conv.bias is not None]
        return (pooled + torch.cat(biases) if biases else pooled).relu()

    def _rows(self, place: Tensor, lengths: Tensor, blank: int) -> list[Tensor]:
        """The table rows (B, W, k) that each window sums up, for each of the K kernel sizes.

        Windows that a text would not have if it stood alone repeat its last one, which no maximum notices.
        """
        shape, rows, slot = self._network.config, [], 0
        slots = sum(shape.kernel_sizes)
        place = functional.pad(place, (0, 1), value=blank)  # (B, L+1)
        for size in shape.kernel_sizes:
            padding = shape.total_padding(size)
            last = (lengths - shape.window(size) + padding).clamp(min=0) // shape.stride  # (B,)
            window = torch.arange(int(last.max()) + 1).minimum(last[:, None])  # (B, W)
            tap = torch.arange(size)  # (k,)
            position = (window * shape.stride)[..., None] + tap * shape.dilation - padding // 2  # (B, W, k)
            inside = (position >= 0) & (position < lengths[:, None, None])
            position = torch.where(inside, position, place.shape[1] - 1)
            token = place.gather(1, position.flatten(1)).view_as(position)
            rows.append(token * slots + slot + tap)
            slot += size
        return rows


class _MaxOfSums(Function):
    """For each kernel size the maximum over windows of the sum of their table rows; gradients go to the winners."""

    @staticmethod
    def forward(ctx: FunctionCtx, table: Tensor, *rows: Tensor) -> Tensor:
        """(B, K*F) of the table (N, F) and K row numbers (B, W, k)."""
        pooled, winners = [], []
        for each in rows:
            texts, windows, size = each.shape
            sums = functional.embedding_bag(each.view(-1, size), table, mode="sum").view(texts, windows, -1)
            largest, window = sums.max(dim=1)  # (B, F)
            pooled.append(largest)
            winners.append(each.transpose(1, 2).gather(2, window[:, None].expand(-1, size, -1)))  # (B, k, F)
        ctx.save_for_backward(*winners)
        ctx.rows = len(table)  # type: ignore[attr-defined]
        return torch.cat(pooled, dim=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient of the table; row numbers have none."""
        filters = ctx.saved_tensors[0].shape[2]
        gradient = gradients[0].new_zeros(ctx.rows * filters)
        for winners, given in zip(ctx.saved_tensors, gradients[0].split(filters, dim=1), strict=True):
            places = winners * filters + torch.arange(filters)  # (B, k, F)
            gradient.index_add_(0, places.flatten(), given[:, None].expand_as(winners).flatten())
        return gradient.view(-1, filters), *[None] * len(ctx.saved_tensors)
