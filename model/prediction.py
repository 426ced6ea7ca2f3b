"""What a classifier says of one text."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MULTI_LABEL_THRESHOLD = 0.5  # a label with at least this probability is among `labels`

# B texts, C classes.


@dataclass(slots=True)
class Prediction:
    """Label and scores of one text; the fields of another problem type are None."""

    label: str | None = None  # the most probable one
    score: float | None = None  # its probability
    scores: dict[str, float] | None = None  # probability by label, descending
    labels: list[str] | None = None  # multi-label: those that apply, most probable first
    value: float | None = None  # regression

    def to_dict(self) -> dict[str, Any]:
        """The fields that apply, ready for JSON."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def predictions(
    outputs: NDArray[np.float32], labels: Sequence[str], problem_type: str, top_k: int | None = None
) -> list[Prediction]:
    """One prediction for each row of `outputs` (B, C): probabilities, or values for regression.

    `top_k` keeps the k most probable labels in `scores`; ties keep the order of `labels`.
    """
    if problem_type == "regression":
        return [Prediction(value=value) for value in outputs[:, 0].tolist()]
    order = np.argsort(-outputs, axis=1, kind="stable")[:, :top_k]  # (B, k)
    probabilities = np.take_along_axis(outputs, order, axis=1).tolist()
    multi_label = problem_type == "multi_label_classification"
    return [
        _prediction([labels[index] for index in indices], scores, multi_label)
        for indices, scores in zip(order.tolist(), probabilities, strict=True)
    ]


def _prediction(ranked: list[str], scores: list[float], multi_label: bool) -> Prediction:
    prediction = Prediction(ranked[0], scores[0], dict(zip(ranked, scores, strict=True)))
    if multi_label:
        prediction.labels = [label for label, score in prediction.scores.items() if score >= MULTI_LABEL_THRESHOLD]  # type: ignore[union-attr]
    return prediction
