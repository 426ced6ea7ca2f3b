"""Evidence: which pieces of a text made a logit what it is.

A text CNN's logit is bias + sum over filters of weight x pooled maximum, and each maximum was found in one window of
tokens. Adding up the terms window by window is therefore an exact decomposition of the score, not a causal claim: it
does not say what the score would be without a piece. The windows are those by which Jacovi, Shalom & Goldberg 2018
(arXiv:1809.08037) read text CNNs.
"""

from collections.abc import Sequence
from typing import Protocol, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
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
    weight, bias = network.output_layer
    terms = _terms(network.windows(encoding.ids), weight[label])  # (W, K)
    starts, ends = _spans(shape, len(terms), encoding.offsets)  # (W, K)
    nowhere = starts >= ends  # (W, K)
    on_text = ~nowhere & (terms != 0)  # (W, K)
    spans, piece = np.unique(starts[on_text] * (len(text) + 1) + ends[on_text], return_inverse=True)
    contributions = np.bincount(piece, terms[on_text], len(spans))
    order = np.argsort(-np.abs(contributions), kind="stable")
    starts, ends = np.divmod(spans[order], len(text) + 1)
    return float(bias[label]) + float(terms[nowhere].sum()), [
        {"start": start, "end": end, "text": text[start:end], "contribution": contribution}
        for start, end, contribution in zip(starts.tolist(), ends.tolist(), contributions[order].tolist(), strict=True)
    ]


def _terms(activation: Tensor, weight: Tensor) -> NDArray[np.float64]:
    """What each window adds to the logit (W, K), of activations (W, K, F); windows that tie share a maximum."""
    pooled = activation.amax(dim=0)  # (K, F)
    is_maximum = activation == pooled  # (W, K, F)
    shares = pooled * weight.view_as(pooled) / is_maximum.sum(dim=0)  # (K, F)
    return (is_maximum * shares.float()).sum(dim=2).double().cpu().numpy()


def _spans(
    shape: TextCnnShape, windows: int, offsets: list[tuple[int, int]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the characters under each window start and end (W, K); those of a window without any do not."""
    sizes = np.array(shape.kernel_sizes)  # (K,)
    before = np.array([shape.total_padding(size) // 2 for size in shape.kernel_sizes])  # (K,), zeros
    first = np.arange(windows)[:, None] * shape.stride - before  # (W, K), token under the first tap
    last = first + (sizes - 1) * shape.dilation  # (W, K)
    first = np.where(first < 0, first % shape.dilation, first)  # the first tap that is on the text
    beyond = np.maximum(last - len(offsets) + 1, 0)
    last -= -(-beyond // shape.dilation) * shape.dilation
    outside = (first >= len(offsets)) | (last < first)  # (W, K)
    # A special token stands on no characters: a window starts with the next token that does, or ends with the last one.
    bounds = np.array([(0, 0), *offsets, (0, 0)])  # (2 + L, 2)
    is_covered = bounds[:, 0] < bounds[:, 1]
    starts = np.minimum.accumulate(np.where(is_covered, bounds[:, 0], np.iinfo(np.int64).max)[::-1])[::-1]
    ends = np.maximum.accumulate(np.where(is_covered, bounds[:, 1], 0))
    first, last = first.clip(-1, len(offsets)) + 1, last.clip(-1, len(offsets)) + 1
    return np.where(outside, 0, starts[first]), np.where(outside, 0, ends[last])
