"""What training minimizes: the loss of each kind of problem, with class weights and label smoothing."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from model.errors import InputError
from training.targets import MULTI, REGRESSION, SINGLE

# B texts, C classes.

BALANCED = "balanced"
_LARGEST = float(np.finfo(np.float32).max)


class Objective:
    """The function that `Trainer` calls for the loss of a batch.

    A loss is a sum over the batch divided by `num_items_in_batch`, the labels of the whole step: so steps that are
    accumulated, or shared by several processes, average as one large batch does, whatever the size of the pieces.
    """

    def __init__(self, problem_type: str, label_smoothing: float = 0.0, class_weights: Tensor | None = None) -> None:
        self.problem_type, self.label_smoothing, self._class_weights = problem_type, label_smoothing, class_weights

    def __call__(
        self, outputs: Mapping[str, Tensor], labels: Tensor, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Mean loss of the logits (B, C) for class indices (B,), zeros and ones (B, C) or numbers (B,)."""
        total = self._sum(outputs["logits"], labels)
        return total / (labels.numel() if num_items_in_batch is None else num_items_in_batch)

    def _sum(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self._class_weights is not None and self._class_weights.device != logits.device:
            self._class_weights = self._class_weights.to(logits.device)  # once: it waits for the GPU
        weights = self._class_weights
        if self.problem_type == REGRESSION:
            return functional.mse_loss(logits.view(labels.shape), labels.to(logits.dtype), reduction="sum")
        if self.problem_type == MULTI:
            targets = labels.to(logits.dtype)
            return functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights, reduction="sum")
        return functional.cross_entropy(logits, labels, weights, reduction="sum", label_smoothing=self.label_smoothing)


def class_weights(
    asked: Sequence[str] | None, names: Sequence[str], labels: NDArray[Any], problem_type: str
) -> Tensor | None:
    """Weights (C,) that were asked for: `balanced`, or `NAME=WEIGHT` for some classes and 1 for the others.

    `balanced` makes all classes weigh the same in sum: rows / (classes * rows of the class), which is 1 on average; for
    several labels a text, the rows without the label over those with it, and 1 where every row has it. Raises
    `InputError` for what is neither.
    """
    if not asked:
        return None
    if problem_type == REGRESSION:
        raise InputError("class_weights are for classes, the problem is regression")
    if list(asked) == [BALANCED]:
        counts = np.bincount(labels, minlength=len(names)) if problem_type == SINGLE else labels.sum(axis=0)
        counts = np.maximum(counts, 1)  # (C,)
        weights = len(labels) / (len(names) * counts) if problem_type == SINGLE else (len(labels) - counts) / counts
        weights[weights == 0] = 1  # or else nothing would teach a label that every row has
        return torch.from_numpy(weights.astype(np.float32))
    given: dict[str, float] = {}
    for entry in asked:
        name, equals, number = entry.rpartition("=")
        if not equals or name not in names:
            raise InputError(f"class_weights must be balanced, or CLASS=WEIGHT for classes of the data, got {entry!r}")
        if name in given:
            raise InputError(f"class_weights must give each class one weight, got two of {name!r}")
        given[name] = _weight(number, entry)
    return torch.tensor([given.get(name, 1.0) for name in names])


def _weight(number: str, entry: str) -> float:
    try:
        weight = float(number)
    except ValueError:
        weight = -1.0
    if not 0 <= weight <= _LARGEST:
        raise InputError(f"class_weights: a weight must be a number from 0 to {_LARGEST:.2g}, got {entry!r}")
    return weight
