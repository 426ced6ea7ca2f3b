"""Evidence: which pieces of a text made a logit what it is.

A text CNN's logit is bias + sum over filters of weight x pooled maximum, and each maximum was found in one window of
tokens; a linear part adds a term for each token and each pair of neighbours. Adding up the terms piece by piece is
therefore an exact decomposition of the score, not a causal claim: it does not say what the score would be without a
piece. The windows are those by which Jacovi, Shalom & Goldberg 2018 (arXiv:1809.08037) read text CNNs.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Protocol, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .bigrams_textcnn import Bigrams
from .network_textcnn import TextCnnShape

LAYOUTS = 256  # of windows over tokens, kept at a time
LAYOUT_WINDOWS = 4096  # of a layout that is kept; a longer one takes much memory, and little of its text's time

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

    @property
    def bigrams(self) -> Bigrams | None:
        """The linear part, uncalibrated, if there is one."""

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
    weight, bias = (layer.float().cpu().numpy() for layer in network.output_layer)
    terms = _terms(network.windows(token_ids).float().cpu().numpy(), weight[label])  # (W, K)
    base, pieces = float(bias[label]), dict[tuple[int, int], float]()
    edges = _edges(offsets)
    found: Iterable[tuple[tuple[int, int], float]] = zip(
        _spans(shape, len(terms), *edges), terms.ravel().tolist(), strict=True
    )
    if network.bigrams is not None:
        added = network.bigrams.terms(token_ids, label) / shape.calibration_temperature  # (P, 2)
        found = chain(found, zip(_pair_spans(*edges), added.ravel("F").tolist(), strict=True))
    for span, term in found:
        if term:  # not so of most windows of a long text, for a filter has its maximum in one
            pieces[span] = pieces.get(span, 0.0) + term
    base += sum(contribution for (start, end), contribution in pieces.items() if start >= end)
    return base, [
        {"start": start, "end": end, "text": text[start:end], "contribution": contribution}
        for (start, end), contribution in sorted(pieces.items(), key=lambda piece: -abs(piece[1]))
        if start < end
    ]


def _terms(activation: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """What each window adds to the logit (W, K), of activations (W, K, F); windows that tie share a maximum."""
    pooled = activation.max(axis=0)  # (K, F)
    is_maximum = (activation == pooled).astype(np.float32)  # (W, K, F)
    shares = pooled * weight.reshape(pooled.shape) / is_maximum.sum(axis=0)  # (K, F)
    terms: NDArray[np.float32] = np.einsum("wkf,kf->wk", is_maximum, shares)
    return terms


def _edges(offsets: Sequence[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Where the characters of each token start (2 + L) and end (1 + L), tokens counted from 1.

    A special token stands on no characters: it starts with the next token that does, and ends with the last one.
    """
    starts, ends = [sys.maxsize], [0]
    for start, end in reversed(offsets):
        starts.append(start if start < end else starts[-1])
    for start, end in offsets:
        ends.append(end if start < end else ends[-1])
    starts.append(starts[-1])
    starts.reverse()
    return starts, ends


def _spans(shape: TextCnnShape, windows: int, starts: list[int], ends: list[int]) -> Iterator[tuple[int, int]]:
    """Where the characters under each window start and end, kernel size by kernel size; of none, not before the end."""
    before = tuple(shape.total_padding(size) // 2 for size in shape.kernel_sizes)  # (K,), zeros
    taps = _kept_taps if windows <= LAYOUT_WINDOWS else _taps
    first, last = taps(tuple(shape.kernel_sizes), before, shape.stride, shape.dilation, windows, len(ends) - 1)
    return zip(map(starts.__getitem__, first.tolist()), map(ends.__getitem__, last.tolist()), strict=True)


def _pair_spans(starts: list[int], ends: list[int]) -> Iterator[tuple[int, int]]:
    """The same for the second token of each pair, then for each pair (2 * P)."""
    lasts = [*ends[1:], ends[-1]]  # (P,); the boundary at the end stands on nothing, and is no token alone
    return chain(zip(starts[1:], lasts, strict=True), zip(starts[:-1], lasts, strict=True))


def _taps(
    kernel_sizes: tuple[int, ...], before: tuple[int, ...], stride: int, dilation: int, windows: int, tokens: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The tokens under the first and the last tap of each window that are on the text, both (W*K,), counted from 1.

    For a window that is not on it the last one is 0, which stands on no characters.
    """
    first = np.arange(windows)[:, None] * stride - np.array(before)  # (W, K)
    last = first + (np.array(kernel_sizes) - 1) * dilation  # (W, K)
    first = np.where(first < 0, first % dilation, first)
    beyond = np.maximum(last - tokens + 1, 0)
    last -= -(-beyond // dilation) * dilation
    last = np.where((first >= tokens) | (last < first), -1, last)
    return (first.clip(max=tokens) + 1).ravel().astype(np.int32), (last + 1).ravel().astype(np.int32)


_kept_taps = lru_cache(LAYOUTS)(_taps)
