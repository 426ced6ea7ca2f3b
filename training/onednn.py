"""Products of float32 matrices by oneDNN where torch's choice, MKL, is slow: it uses AVX-512 on Intel's CPUs alone."""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx
from torch.nn import functional

# N rows, D columns, M outputs.


def linear(rows: Tensor, weight: Tensor) -> Tensor:
    """`functional.linear` without bias: (N, M) of rows (N, D) and weight (M, D), in --bf16 of that precision."""
    if rows.dtype != torch.float32 or torch.is_autocast_enabled("cpu") or not mkl_is_slow():
        return functional.linear(rows, weight)
    product: Tensor = _Linear.apply(rows, weight)  # type: ignore[no-untyped-call]
    return product


@cache
def mkl_is_slow() -> bool:
    """Whether this is a CPU of AMD with AVX-512, on which oneDNN multiplies about twice as fast."""
    has_avx512 = torch.backends.cpu.get_cpu_capability() == "AVX512"
    has_both = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()
    return has_avx512 and has_both and "AMD" in torch.cpu.get_capabilities().get("cpu_name", "")


class _Linear(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return _product(rows, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        rows, weight = ctx.saved_tensors
        of_rows, of_weight = ctx.needs_input_grad
        return (
            _product(gradient, weight.t()) if of_rows else None,
            _product(gradient.t(), rows.t()) if of_weight else None,
        )


def _product(rows: Tensor, weight: Tensor) -> Tensor:
    """As torch's compiler calls oneDNN: no bias, nothing done to the outputs."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, None, "none", [], "")
    return product
