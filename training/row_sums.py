"""Sums of rows of an embedding whose sparse gradient names each row once: there is nothing to sort and add up later."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import FunctionCtx
from torch.nn import functional

# V rows of the table, D channels, M rows that are summed up, U sums, R distinct ones of the M rows.


def sums_of_rows(embedding: nn.Embedding, rows: Tensor, starts: Tensor) -> Tensor:
    """Sums (U, D) of the rows (M,), of which those of each sum begin at `starts` (U,); zeros for a sum of none."""
    if not embedding.sparse:
        return functional.embedding_bag(rows, embedding.weight, starts, mode="sum")
    sums: Tensor = _SparseSums.apply(embedding.weight, rows, starts)  # type: ignore[no-untyped-call]
    return sums


def coalesced(gradient: Tensor) -> Tensor:
    """A sparse gradient with each row once, in order: that of `sums_of_rows` is so already, autograd loses the mark."""
    rows = gradient._indices()[0]  # (R,)
    if bool((rows[1:] > rows[:-1]).all()):
        return _sparse(rows, gradient._values(), gradient.shape)
    return gradient.coalesce()


class _SparseSums(Function):
    """torch's own gradient has a row of numbers for each of the M rows.

    Here each distinct row adds up the gradients of the sums that it is in, which is again a sum of rows.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, table: Tensor, rows: Tensor, starts: Tensor) -> Tensor:
        """(U, D) of the table (V, D)."""
        ctx.save_for_backward(rows, starts)
        ctx.shape = table.shape  # type: ignore[attr-defined]
        return functional.embedding_bag(rows, table, starts, mode="sum")

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient of the table; row numbers have none."""
        rows, starts = ctx.saved_tensors
        counts = torch.cat([starts, starts.new_tensor([len(rows)])]).diff()  # (U,)
        owner = torch.arange(len(starts), device=rows.device).repeat_interleave(counts)  # (M,), the sum that each is in
        in_order, order = rows.sort()
        distinct, uses = in_order.unique_consecutive(return_counts=True)  # (R,)
        values = functional.embedding_bag(owner[order], gradients[0], uses.cumsum(0) - uses, mode="sum")  # (R, D)
        return _sparse(distinct, values, ctx.shape), None, None


def _sparse(rows: Tensor, values: Tensor, shape: torch.Size) -> Tensor:
    """A coalesced tensor of these rows (R,), each once and in order, with values (R, D)."""
    return torch.sparse_coo_tensor(rows[None], values, shape, is_coalesced=True, check_invariants=False)
