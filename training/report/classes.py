"""Figures by class, and which classes are taken for which: the same for one class a text and for several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.metrics import precision_recall_fscore_support

from training.report.record import Outcomes

SHOWN_PAIRS = 30
SHOWN_CLASSES = 20  # rows of the table of confusions, besides the one for all others

# N texts, C classes.


@dataclass(frozen=True)
class ClassFigures:
    """One class: `support` is the texts that have it, `answered` those that were given it."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    answered: int


def indicators(targets: Sequence[Any], labels: Sequence[str]) -> sparse.csr_matrix:
    """Ones where a text has a class (N, C)."""
    position = {label: index for index, label in enumerate(labels)}
    names = [[target] if isinstance(target, str) else target for target in targets]
    columns = [position[name] for several in names for name in several]
    ends = np.cumsum([0, *map(len, names)])
    return sparse.csr_matrix((np.ones(len(columns), np.int64), columns, ends), shape=(len(names), len(labels)))


def class_figures(outcomes: Outcomes, labels: Sequence[str]) -> list[ClassFigures]:
    """Figures of each class, the weakest F1 first; a ratio without cases is 0."""
    truth, answer = (indicators(names, labels) for names in (outcomes.targets, outcomes.answers))
    columns = precision_recall_fscore_support(truth, answer, zero_division=0)
    answered = np.asarray(answer.sum(axis=0)).ravel()
    rows = zip(labels, *(column.tolist() for column in columns), answered.tolist(), strict=True)
    return sorted((ClassFigures(*row) for row in rows), key=lambda row: row.f1)


def confusions(outcomes: Outcomes, labels: Sequence[str]) -> NDArray[np.int64]:
    """Texts of class i that lack the answer i and have a wrong answer j (C, C); the diagonal counts right answers."""
    truth, answer = (indicators(names, labels) for names in (outcomes.targets, outcomes.answers))
    right = truth.multiply(answer)
    mistaken = (truth - right).T @ (answer - right)
    return np.asarray(mistaken.todense()) + np.diag(np.asarray(right.sum(axis=0)).ravel())


def confused_pairs(
    matrix: NDArray[np.int64], labels: Sequence[str], support: Mapping[str, int]
) -> list[tuple[str, str, int, float]]:
    """The pairs (true, answered, texts, share of the `support` texts that have the true class) that occur most."""
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:SHOWN_PAIRS]
    pairs = [(int(row), int(column)) for row, column in zip(*np.unravel_index(order, wrong.shape), strict=True)]
    return [
        (labels[row], labels[column], int(wrong[row, column]), float(wrong[row, column] / support[labels[row]]))
        for row, column in pairs
        if wrong[row, column]
    ]


def condensed(matrix: NDArray[np.int64], labels: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """A matrix that can be read: the classes with most confusions, and a last one for all others."""
    if len(labels) <= SHOWN_CLASSES:
        return list(labels), matrix
    wrong = matrix - np.diag(np.diag(matrix))
    chosen = np.sort(np.argsort(-(wrong.sum(axis=0) + wrong.sum(axis=1)), kind="stable")[:SHOWN_CLASSES])
    group = np.full(len(labels), SHOWN_CLASSES)
    group[chosen] = np.arange(SHOWN_CLASSES)
    small = np.zeros((SHOWN_CLASSES + 1, SHOWN_CLASSES + 1), np.int64)
    np.add.at(small, (group[:, None], group[None, :]), matrix)
    return [*(labels[index] for index in chosen), f"{len(labels) - SHOWN_CLASSES} others"], small
