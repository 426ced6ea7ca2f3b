"""What a split's logits are worth: accuracy and F1 for classes, errors and correlation for numbers."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score
from transformers.trainer_utils import EvalPrediction

from model.errors import InputError
from model.prediction import MULTI_LABEL_THRESHOLD
from training.scaling import Scale
from training.targets import MULTI, REGRESSION, SINGLE, Target, names_of

# N texts, C classes.

METRICS = {  # by problem type; unless another is asked for, the first tells the best epoch
    SINGLE: ("accuracy", "f1_macro"),
    MULTI: ("f1_micro", "f1_macro"),
    REGRESSION: ("mse", "mae", "r2", "spearman"),
}
_LOWER_IS_BETTER = ("loss", "mse", "mae")
# Rows of the most frequent class to one of the rarest, from which on Fernandez et al. 2008 call classes highly
# imbalanced: that one is then a tenth of both, and who never names it loses little accuracy but half of the macro-F1.
IMBALANCE = 9


def best_metric(asked: str | None, problem_type: str, targets: Sequence[Target]) -> tuple[str, bool]:
    """The metric that tells the best epoch, whether more of it is better; `InputError` for an unknown one.

    Of training targets whose classes are imbalanced it is macro-F1 if no other is asked for.
    """
    known = (*METRICS[problem_type], "loss")
    usual = "f1_macro" if problem_type != REGRESSION and is_imbalanced(targets) else known[0]
    metric = usual if asked is None else asked.removeprefix("eval_")
    if metric not in known:
        raise InputError(f"metric_for_best_model must be one of {', '.join(known)} for {problem_type}, got {asked!r}")
    return metric, metric not in _LOWER_IS_BETTER


def is_imbalanced(targets: Sequence[Target]) -> bool:
    """Whether the most frequent class has over nine times the rows of the rarest one."""
    rows = Counter(chain.from_iterable(map(names_of, targets)))
    return max(rows.values()) > IMBALANCE * min(rows.values())


def metrics_for(
    problem_type: str, scale: Scale, thresholds: Sequence[float] | None = None
) -> Callable[[EvalPrediction], dict[str, float]]:
    """The function that `Trainer` calls with logits and labels of a split; numbers are measured in their own unit.

    `thresholds` are those of several labels, as probabilities.
    """

    def compute(prediction: EvalPrediction) -> dict[str, float]:
        logits, labels = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
        if problem_type == REGRESSION:
            return _regression(scale.restore(logits[:, 0]), scale.restore(labels))
        return _single(logits, labels) if problem_type == SINGLE else _multi(logits, labels, thresholds)

    return compute


def applying(probabilities: NDArray[Any], thresholds: Sequence[float] | None) -> NDArray[Any]:
    """Which of several labels apply (N, C), each by its threshold or all by the usual one."""
    return np.asarray(probabilities >= (MULTI_LABEL_THRESHOLD if thresholds is None else np.array(thresholds)))


def _single(logits: NDArray[Any], labels: NDArray[Any]) -> dict[str, float]:
    predicted = logits.argmax(axis=1)  # (N,)
    return {
        "accuracy": float(accuracy_score(labels, predicted)),
        "f1_macro": float(f1_score(labels, predicted, average="macro", zero_division=0)),
    }


def _multi(logits: NDArray[Any], labels: NDArray[Any], thresholds: Sequence[float] | None) -> dict[str, float]:
    probabilities = torch.from_numpy(logits).sigmoid().numpy()  # (N, C), as the classifier computes them
    predicted = applying(probabilities, thresholds)
    truth = labels >= 0.5  # (N, C)
    occurring = (truth | predicted).any(axis=0)  # (C,); as with one class a text, the others are in no mean
    if not occurring.any():
        return {"f1_micro": 0.0, "f1_macro": 0.0}
    truth, predicted = truth[:, occurring], predicted[:, occurring]
    averages = ("micro", "macro")
    return {f"f1_{name}": float(f1_score(truth, predicted, average=name, zero_division=0)) for name in averages}


def _regression(predicted: NDArray[Any], truth: NDArray[Any]) -> dict[str, float]:
    error = predicted.astype(np.float64) - truth  # (N,)
    variance = float(np.var(truth, dtype=np.float64)) if np.ptp(truth) else 0.0  # their mean may be rounded
    mse = float(np.mean(error**2))
    return {
        "mse": mse,
        "mae": float(np.mean(np.abs(error))),
        "r2": 1 - mse / variance if variance else 0.0,
        "spearman": _correlation(_ranks(predicted), _ranks(truth)),
    }


def _ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Rank of each value, ties at their mean."""
    _, position, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray(np.cumsum(counts) - (counts - 1) / 2)[position]


def _correlation(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Pearson's correlation, 0 where one side is constant."""
    left, right = left - left.mean(), right - right.mean()
    norm = float(np.sqrt((left**2).sum() * (right**2).sum()))
    return float((left * right).sum() / norm) if norm else 0.0
