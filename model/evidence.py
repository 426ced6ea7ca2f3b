"""Evidence: which pieces of a text made a logit what it is.

A text CNN's logit is bias + sum over filters of weight x pooled maximum, and each maximum was found in one window of
tokens. Adding up the terms window by window is therefore an exact decomposition of the score, not a causal claim: it
does not say what the score would be without a piece. The windows are those by which Jacovi, Shalom & Goldberg 2018
(arXiv:1809.08037) read text CNNs.
"""

from collections.abc import Sequence
from typing import Protocol, TypedDict

import torch
from tokenizers import Encoding
from torch import Tensor

from .network_textcnn import TextCnnShape

# L tokens, F filters, W windows, K kernel sizes, C classes.


class Evidence(TypedDict):
    """A piece of a text and what it adds to the logit."""

    start: int  # characters from the start of the text
    end: int
    text: str
    contribution: float


class Explainable(Protocol):
    """A network that tells what its filters found: dense, folded, on any device."""

    @property
    def output_layer(self) -> tuple[Tensor, Tensor]:
        """Weight (C, K*F) and bias (C,) of the calibrated logits."""

    def windows(self, token_ids: Sequence[int]) -> Tensor:
        """The rectified answer of each filter to each window of one text (W, K, F), 0 where there is no window."""


@torch.inference_mode()
def explain(
    network: Explainable, shape: TextCnnShape, encoding: Encoding, text: str, label: int
) -> tuple[float, list[Evidence]]:
    """Bias and evidence for a label of one text; bias + contributions = calibrated logit, the largest evidence first.

    Windows of several kernel sizes over the same characters are one piece. What stands on no characters at all (special
    tokens, zeros around a short text) counts as bias.
    """
    activation = network.windows(encoding.ids)  # (W, K, F)
    weight, bias = (parameter[label].float() for parameter in network.output_layer)  # (K*F,), ()
    pooled, found_in = activation.max(dim=0)  # (K, F)
    terms = pooled * weight.view_as(pooled)  # (K, F)
    by_window = torch.zeros_like(activation[..., 0]).scatter_add_(0, found_in.T, terms.T)  # (W, K)
    total, pieces = float(bias), dict[tuple[int, int], float]()
    for window, row in enumerate(by_window.tolist()):
        for kernel_size, contribution in zip(shape.kernel_sizes, row, strict=True):
            if not contribution:
                continue
            span = _span(shape, encoding, window, kernel_size)
            if span is None:
                total += contribution
            else:
                pieces[span] = pieces.get(span, 0.0) + contribution
    ordered = sorted(pieces.items(), key=lambda piece: -abs(piece[1]))
    return total, [
        {"start": start, "end": end, "text": text[start:end], "contribution": contribution}
        for (start, end), contribution in ordered
    ]


def _span(shape: TextCnnShape, encoding: Encoding, window: int, kernel_size: int) -> tuple[int, int] | None:
    """Characters from the first to the last token of a window; None if none of its tokens stands on any."""
    first = window * shape.stride - shape.total_padding(kernel_size) // 2
    taps = range(first, first + shape.window(kernel_size), shape.dilation)
    offsets = [encoding.offsets[token] for token in taps if 0 <= token < len(encoding.offsets)]
    covered = [(start, end) for start, end in offsets if start < end]
    return (covered[0][0], covered[-1][1]) if covered else None
