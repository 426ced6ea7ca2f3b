"""What a classifier says of one text."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .evidence import Evidence

MULTI_LABEL_THRESHOLD = 0.5  # a label with at least this probability applies, if the checkpoint says nothing else

# B texts, C classes.


@dataclass(slots=True)
class Prediction:
    """Label and scores of one text; the fields of another problem type are None."""

    label: str | None = None  # the most probable one
    score: float | None = None  # its probability
    scores: dict[str, float] | None = None  # probability by label, descending
    labels: list[str] | None = None  # multi-label: those that apply, most probable first
    value: float | None = None  # regression
    abstained: bool | None = None  # classes: whether the text is too unlike the training texts for an answer
    bias: float | None = None  # explained: the part of the logit that no piece of the text accounts for
    evidence: list[Evidence] | None = None  # explained: what each piece of the text adds to the logit

    def to_dict(self) -> dict[str, Any]:
        """The fields that apply, ready for JSON."""
        return {name: value for name, value in zip(_FIELDS, _values(self), strict=True) if value is not None}


_FIELDS = tuple(field.name for field in fields(Prediction))
_values = attrgetter(*_FIELDS)


def check_thresholds(thresholds: object, labels: int) -> None:
    """Raise `ValueError` unless there are none, or a probability for each of so many labels."""
    if thresholds is None:
        return
    is_list = isinstance(thresholds, list) and len(thresholds) == labels
    if not is_list or not all(isinstance(value, int | float) and 0 <= value <= 1 for value in thresholds):  # type: ignore[attr-defined]
        raise ValueError(f"thresholds must be {labels} probabilities between 0 and 1, got {thresholds!r}")


def predictions(
    outputs: NDArray[np.float32],
    labels: Sequence[str],
    problem_type: str,
    top_k: int | None = None,
    thresholds: Sequence[float] | None = None,
    abstained: Sequence[bool] | None = None,
) -> list[Prediction]:
    """One prediction for each row of `outputs` (B, C): probabilities, or values for regression.

    `top_k` keeps the k most probable labels in `scores`; ties keep the order of `labels`. `thresholds` (C,) are the
    probabilities from which on each of several labels applies, `MULTI_LABEL_THRESHOLD` when absent. `abstained` (B,)
    says which texts get no answer; it changes nothing else.
    """
    if problem_type == "regression":
        return [Prediction(value=value) for value in outputs[:, 0].tolist()]
    limits = [MULTI_LABEL_THRESHOLD] * len(labels) if thresholds is None else thresholds  # (C,)
    order = (-outputs).argsort(axis=1, kind="stable")  # (B, C)
    found = []
    for row, (ranked, scores) in enumerate(zip(order.tolist(), outputs.tolist(), strict=True)):
        by_label = {labels[index]: scores[index] for index in ranked[:top_k]}
        applying = None
        if problem_type == "multi_label_classification":
            applying = [labels[index] for index in ranked if scores[index] >= limits[index]]
        best, is_abstained = ranked[0], bool(abstained and abstained[row])
        found.append(Prediction(labels[best], scores[best], by_label, applying, abstained=is_abstained))
    return found
