"""Evidence: which pieces of a text made a logit what it is.

A text CNN's logit is bias + sum over filters of weight x pooled maximum, and each maximum was found in one window of
tokens. Adding up the terms window by window is therefore an exact decomposition of the score, not a causal claim: it
does not say what the score would be without a piece. The windows are those by which Jacovi, Shalom & Goldberg 2018
(arXiv:1809.08037) read text CNNs.
"""

import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Protocol, TypedDict

import numpy as np
import torch
from torch import Tensor

from .network_textcnn import TextCnnShape

LAYOUTS = 256  # of windows over tokens, kept at a time

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
    network: Explainable,
    shape: TextCnnShape,
    token_ids: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    text: str,
    label: int,
) -> tuple[float, list[Evidence]]:
    """Bias and evidence for a label of one text; bias + contributions = calibrated logit, the largest evidence first.

    Windows of several kernel sizes over the same characters are one piece. What stands on no characters at all (special
    tokens, zeros around a short text) counts as bias.
    """
    weight, bias = network.output_layer
    terms = _terms(network.windows(token_ids), weight[label])  # (W, K)
    base, pieces = float(bias[label]), dict[tuple[int, int], float]()
    spans = _spans(shape, len(terms), offsets)
    for (start, end), term in zip(spans, terms.flatten().tolist(), strict=True):
        if start >= end:
            base += term
        elif term:
            pieces[start, end] = pieces.get((start, end), 0.0) + term
    return base, [
        {"start": start, "end": end, "text": text[start:end], "contribution": contribution}
        for (start, end), contribution in sorted(pieces.items(), key=lambda piece: -abs(piece[1]))
    ]


def _terms(activation: Tensor, weight: Tensor) -> Tensor:
    """What each window adds to the logit (W, K), of activations (W, K, F); windows that tie share a maximum."""
    pooled = activation.amax(dim=0)  # (K, F)
    is_maximum = (activation == pooled).float()  # (W, K, F)
    shares = pooled * weight.view_as(pooled) / is_maximum.sum(dim=0)  # (K, F)
    return (is_maximum * shares).sum(dim=2)


def _spans(shape: TextCnnShape, windows: int, offsets: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Where the characters under each window start and end, kernel size by kernel size; of none, not before the end."""
    before = tuple(shape.total_padding(size) // 2 for size in shape.kernel_sizes)  # (K,), zeros
    # A special token stands on no characters: a window starts with the next token that does, or ends with the last one.
    starts, ends = [sys.maxsize], [0]
    for start, end in reversed(offsets):
        starts.append(start if start < end else starts[-1])
    for start, end in offsets:
        ends.append(end if start < end else ends[-1])
    starts.append(starts[-1])
    starts.reverse()  # (2 + L)
    taps = _taps(tuple(shape.kernel_sizes), before, shape.stride, shape.dilation, windows, len(offsets))
    return ((starts[first], ends[last]) for first, last in taps)


@lru_cache(LAYOUTS)
def _taps(
    kernel_sizes: tuple[int, ...], before: tuple[int, ...], stride: int, dilation: int, windows: int, tokens: int
) -> list[tuple[int, int]]:
    """The tokens under the first and the last tap of each window that are on the text (W*K), counted from 1.

    For a window that is not on it the last one is 0, which stands on no characters.
    """
    first = np.arange(windows)[:, None] * stride - np.array(before)  # (W, K)
    last = first + (np.array(kernel_sizes) - 1) * dilation  # (W, K)
    first = np.where(first < 0, first % dilation, first)
    beyond = np.maximum(last - tokens + 1, 0)
    last -= -(-beyond // dilation) * dilation
    last = np.where((first >= tokens) | (last < first), -1, last)
    return list(zip((first.clip(max=tokens) + 1).ravel().tolist(), (last + 1).ravel().tolist(), strict=True))
