"""The loss, its weights and the thresholds of several labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from model.errors import InputError
from tests.conftest import labelled_texts
from tests.trainers import trainer_of
from training.objective import Objective, class_weights
from training.targets import MULTI, REGRESSION, SINGLE
from training.thresholds import choose_thresholds

LOGITS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
CASES = {
    SINGLE: (torch.tensor([0, 1, 2, 2, 1, 0]), nn.CrossEntropyLoss()),
    MULTI: (torch.tensor([[0, 1, 1], [1, 0, 0]] * 3).float(), nn.BCEWithLogitsLoss()),
    REGRESSION: (torch.tensor([0.5, 1, 2, -2, 1, 0]), nn.MSELoss()),
}


@pytest.mark.parametrize("problem_type", CASES)
def test_loss_is_torchs_mean_and_pieces_add_up_to_it(problem_type: str) -> None:
    labels, peer = CASES[problem_type]
    logits = LOGITS[:, :1] if problem_type == REGRESSION else LOGITS
    expected = peer(logits.view(labels.shape) if problem_type == REGRESSION else logits, labels)
    objective = Objective(problem_type)
    torch.testing.assert_close(objective({"logits": logits}, labels), expected)
    pieces = [objective({"logits": logits[part]}, labels[part], labels.numel()) for part in (slice(4), slice(4, 6))]
    torch.testing.assert_close(pieces[0] + pieces[1], expected)
    assert objective({"logits": logits[:0]}, labels[:0], labels.numel()) == 0  # the share of a process may be empty


def test_label_smoothing_is_torchs() -> None:
    labels, _ = CASES[SINGLE]
    expected = nn.CrossEntropyLoss(label_smoothing=0.1)(LOGITS, labels)
    torch.testing.assert_close(Objective(SINGLE, 0.1)({"logits": LOGITS}, labels), expected)


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    weights = class_weights(["balanced"], ["a", "b", "c"], labels, SINGLE)
    assert weights is not None
    np.testing.assert_allclose(weights, compute_class_weight("balanced", classes=np.arange(3), y=labels), rtol=1e-6)
    single = Objective(SINGLE, class_weights=weights)({"logits": LOGITS}, torch.from_numpy(labels))
    each = nn.functional.cross_entropy(LOGITS, torch.from_numpy(labels), reduction="none")
    torch.testing.assert_close(single, (each * weights[labels]).mean())


def test_weights_of_several_labels_balance_presence_and_absence() -> None:
    labels = np.array([[1, 0, 1], [0, 0, 1], [0, 1, 1], [1, 0, 1]], dtype=np.float32)
    weights = class_weights(["balanced"], ["a", "b", "always"], labels, MULTI)
    assert weights is not None
    assert weights.tolist() == [1, 3, 1]  # the last one lacks nothing to balance, and must be learnt


def test_given_weights_name_their_classes() -> None:
    weights = class_weights(["b=2", "a=c=0.5"], ["a=c", "b", "d"], np.zeros(1, dtype=int), SINGLE)
    assert weights is not None
    assert weights.tolist() == [0.5, 2, 1]
    assert class_weights(None, ["a"], np.zeros(1), SINGLE) is None


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["b"], "CLASS=WEIGHT for classes of the data, got 'b'"),
        (["x=2"], "CLASS=WEIGHT for classes of the data, got 'x=2'"),
        (["a=heavy"], "a weight must be a number from 0 to 3.4e\\+38, got 'a=heavy'"),
        (["a=-1"], "a weight must be a number from 0 to 3.4e\\+38, got 'a=-1'"),
        (["a=1e39"], "a weight must be a number from 0 to 3.4e\\+38, got 'a=1e39'"),  # infinite as the loss has it
        (["a=1", "b=2", "a=3"], "class_weights must give each class one weight, got two of 'a'"),
        (["a=nan"], "a weight must be a number from 0 to 3.4e\\+38, got 'a=nan'"),
    ],
)
def test_mistaken_weights(asked: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        class_weights(asked, ["a", "b"], np.zeros(1, dtype=int), SINGLE)


def test_numbers_have_no_weights() -> None:
    with pytest.raises(InputError, match="class_weights are for classes, the problem is regression"):
        class_weights(["balanced"], ["a"], np.zeros(1), REGRESSION)


def test_the_flags_reach_the_objective(tmp_path: Path) -> None:
    """48 texts of each class, but 24 of praise."""
    rows = [row for row in labelled_texts() if row["label"] != "praise" or "o" in row["text"][:5]]
    few = sum(row["label"] == "praise" for row in rows)
    assert 0 < few < 48

    def objective(*flags: str) -> Any:
        return trainer_of(tmp_path, rows, *flags).compute_loss_func

    usual = objective()
    assert (usual.label_smoothing, usual._class_weights) == (0.05, None)
    assert objective("--label_smoothing_factor", "0.2").label_smoothing == 0.2
    balanced = objective("--class_weights", "balanced")._class_weights
    assert balanced.tolist() == pytest.approx([len(rows) / (3 * count) for count in (48, few, 48)])
    assert objective("--class_weights", "praise=5")._class_weights.tolist() == [1, 5, 1]


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=30))
@settings(deadline=None)
def test_no_threshold_does_better(rows: list[tuple[int, bool]]) -> None:
    probability = np.array([[value / 20] for value, _ in rows], dtype=np.float32)
    truth = np.array([[applies] for _, applies in rows], dtype=np.float32)
    (chosen,) = choose_thresholds(probability, truth)
    assert 0 < chosen <= 1

    def f1(threshold: float) -> float:
        accepted = probability[:, 0] >= threshold
        return float(2 * truth[accepted].sum() / max(truth.sum() + accepted.sum(), 1))

    assert f1(chosen) >= max(f1(step / 40) for step in range(1, 41)) - 1e-9


def test_a_label_without_rows_keeps_the_usual_threshold() -> None:
    assert choose_thresholds(np.array([[0.2], [0.9]], dtype=np.float32), np.zeros((2, 1), dtype=np.float32)) == [0.5]
