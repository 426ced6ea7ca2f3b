"""Scores that mean what they say: a temperature fitted on validation, and how near probabilities are to frequencies."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, log_softmax, softmax

from model.network_textcnn import TextCnnShape
from training.targets import MULTI, SINGLE

BINS = 15  # of equal width, as in Guo et al. 2017 (arXiv:1706.04599)
_LARGEST_LOG = np.log(20.0)  # the temperature is sought between 1/20 and 20

Array = NDArray[Any]

# N texts, C classes.


class Answers(Protocol):
    """What calibration needs of transformers' `PredictionOutput`."""

    @property
    def predictions(self) -> Any:
        """Logits (N, C)."""

    @property
    def label_ids(self) -> Any:
        """Class indices (N,), or zeros and ones (N, C)."""


def calibrate(shape: TextCnnShape, answers: Mapping[str, Answers], problem_type: str) -> dict[str, Any]:
    """Set the temperature that the validation answers ask for; what it changes, for each split."""
    validation = answers["validation"]
    temperature = fit_temperature(validation.predictions, validation.label_ids, problem_type)
    shape.calibration_temperature = temperature
    changes = {
        name: {
            "before": calibration_metrics(answer.predictions, answer.label_ids, problem_type),
            "after": calibration_metrics(answer.predictions / temperature, answer.label_ids, problem_type),
        }
        for name, answer in answers.items()
    }
    return {"temperature": temperature, **changes}


def fit_temperature(logits: Array, targets: Array, problem_type: str) -> float:
    """The temperature under which `logits` (N, C) give `targets` the highest likelihood.

    Targets are class indices (N,) or zeros and ones (N, C). Each is smoothed by what one more text of unknown class
    would tell (Platt 1999): else validation texts that are all classified rightly would ask for endless confidence.
    """
    smoothed = _one_hot(logits, targets, problem_type)
    known = len(logits) / (len(logits) + 1)
    smoothed = known * smoothed + (1 - known) * (1 / logits.shape[1] if problem_type == SINGLE else 0.5)

    def loss(log_temperature: float) -> float:
        return _cross_entropy(logits / np.exp(log_temperature), smoothed, problem_type)

    return float(np.exp(minimize_scalar(loss, bounds=(-_LARGEST_LOG, _LARGEST_LOG), method="bounded").x))


def calibration_metrics(logits: Array, targets: Array, problem_type: str) -> dict[str, float]:
    """`nll` (mean, nats), `brier` (Brier 1950) and `ece` of logits (N, C); several labels count as N * C questions."""
    truth = _one_hot(logits, targets, problem_type)
    squares = (probabilities(logits, problem_type) - truth) ** 2  # (N, C)
    counts, confidence, accuracy = reliability(logits, targets, problem_type)
    return {
        "nll": _cross_entropy(logits, truth, problem_type),
        "brier": float(squares.sum(axis=1).mean() if problem_type == SINGLE else squares.mean()),
        "ece": float(np.abs(confidence - accuracy) @ counts / counts.sum()),
    }


def reliability(logits: Array, targets: Array, problem_type: str) -> tuple[Array, Array, Array]:
    """A reliability diagram: answers, their mean probability and the share that is true, for each of `BINS` bins.

    An answer is the most probable class of a text, or, with several labels, each label of each text. Empty bins hold 0.
    """
    scores = probabilities(logits, problem_type)  # (N, C)
    if problem_type == SINGLE:
        probability, is_true = scores.max(axis=1), scores.argmax(axis=1) == targets  # (N,)
    else:
        probability, is_true = scores.ravel(), targets.ravel() >= 0.5  # (N * C,)
    chosen = np.minimum((probability * BINS).astype(int), BINS - 1)
    counts = np.bincount(chosen, minlength=BINS)
    sums = (np.bincount(chosen, weights, BINS) for weights in (probability, is_true))
    confidence, accuracy = (total / np.maximum(counts, 1) for total in sums)
    return counts, confidence, accuracy


def probabilities(logits: Array, problem_type: str) -> Array:
    """Probabilities (N, C) of logits (N, C)."""
    wide = logits.astype(np.float64)
    return np.asarray(expit(wide) if problem_type == MULTI else softmax(wide, axis=1))


def _one_hot(logits: Array, targets: Array, problem_type: str) -> Array:
    return np.eye(logits.shape[1])[targets] if problem_type == SINGLE else targets.astype(np.float64)


def _cross_entropy(logits: Array, truth: Array, problem_type: str) -> float:
    """Mean over texts, or over texts and labels, in nats."""
    wide = logits.astype(np.float64)
    if problem_type == SINGLE:
        return float(-(truth * log_softmax(wide, axis=1)).sum(axis=1).mean())
    return float(-(truth * log_expit(wide) + (1 - truth) * log_expit(-wide)).mean())
