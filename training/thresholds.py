"""From which probability on each of several labels applies: chosen where the validation rows favour it."""

import numpy as np
from numpy.typing import NDArray

from model.prediction import MULTI_LABEL_THRESHOLD

# N texts, C classes.


def choose_thresholds(probabilities: NDArray[np.floating], truth: NDArray[np.floating]) -> list[float]:
    """The threshold of each label with the best F1 on these rows (N, C); 0.5 for a label that no row has.

    A threshold lies halfway between two probabilities. Of equally good ones the nearest to 0.5 is taken.
    """
    return [_best_threshold(*column) for column in zip(probabilities.T, truth.T > 0.5, strict=True)]


def _best_threshold(probability: NDArray[np.floating], applies: NDArray[np.bool_]) -> float:
    """Tries to accept the k most probable rows, for every k that no tie forbids."""
    if not applies.any() or not probability.any():
        return MULTI_LABEL_THRESHOLD
    order = np.argsort(-probability, kind="stable")
    ranked = probability[order].astype(np.float64)  # (N,), descending
    hits = np.cumsum(applies[order])  # (N,), rows that have the label among the first k
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + applies.sum())  # (N,)
    following = np.append(ranked[1:], 0.0)
    threshold = (ranked + following) / 2  # (N,), accepts the first k alone
    possible = (ranked > following) & (threshold > 0)
    f1 = np.where(possible, f1, -1.0)
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    return float(threshold[best[np.abs(threshold[best] - MULTI_LABEL_THRESHOLD).argmin()]])
