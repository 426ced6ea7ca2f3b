"""Metrics against their definitions, and the scale of a regression."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import spearmanr
from torch import nn
from transformers.trainer_utils import EvalPrediction

from model.errors import InputError
from training.metrics import METRICS, best_metric, metrics_for
from training.scaling import Scale
from training.targets import MULTI, REGRESSION, SINGLE, Target

values = arrays.arrays(np.float32, st.integers(2, 20), elements=st.floats(-100, 100, width=16))


def measure(problem_type: str, logits: object, labels: object, scale: Scale | None = None) -> dict[str, float]:
    prediction = EvalPrediction(predictions=np.array(logits, dtype=float), label_ids=np.array(labels))
    return metrics_for(problem_type, scale or Scale())(prediction)


def test_single_label_by_hand() -> None:
    logits = [[2, 1, 0], [0, 1, 0], [0, 3, 1], [5, 0, 1]]  # predicts 0 1 1 0
    assert measure(SINGLE, logits, [0, 1, 2, 1]) == pytest.approx(
        {"accuracy": 0.5, "f1_macro": (2 / 3 + 1 / 2 + 0) / 3}
    )


def test_multi_label_by_hand() -> None:
    logits = [[1, -1], [0, 2], [-1, -1]]  # 0 is the threshold: 0.5 after the sigmoid
    labels = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    expected = {"f1_micro": 2 * 2 / (2 * 2 + 1 + 1), "f1_macro": (1 / 2 + 1) / 2}
    assert measure(MULTI, logits, labels) == pytest.approx(expected)


def test_a_label_that_does_not_occur_is_in_no_mean() -> None:
    logits, labels = [[9.0, -9.0, -9.0], [-9.0, 9.0, -9.0]], [[1.0, 0, 0], [0, 1, 0]]
    assert measure(MULTI, logits, labels) == {"f1_micro": 1.0, "f1_macro": 1.0}
    assert measure(MULTI, [[-9.0] * 3] * 2, [[0.0] * 3] * 2) == {"f1_micro": 0.0, "f1_macro": 0.0}


def test_no_label_predicted_is_zero_without_a_warning() -> None:
    assert measure(MULTI, [[-1, -1]], [[1.0, 0.0]]) == {"f1_micro": 0.0, "f1_macro": 0.0}


@given(truth=values, noise=st.floats(0.1, 3), scale=st.builds(Scale, st.floats(-9, 9), st.floats(0.5, 9)))
def test_regression_by_definition_in_the_targets_unit(truth: np.ndarray, noise: float, scale: Scale) -> None:
    predicted = truth[::-1] * noise
    found = measure(REGRESSION, predicted[:, None], truth, scale)
    error = (predicted.astype(float) - truth) * scale.deviation
    assert found["mse"] == pytest.approx(np.mean(error**2), rel=1e-6, abs=1e-6)
    assert found["mae"] == pytest.approx(np.mean(abs(error)), rel=1e-6, abs=1e-6)
    if np.ptp(truth) > 0:
        assert found["spearman"] == pytest.approx(spearmanr(predicted, truth).statistic, abs=1e-9)
        total = np.var(truth.astype(float) * scale.deviation)
        assert found["r2"] == pytest.approx(1 - np.mean(error**2) / total, rel=1e-5)


def test_constant_numbers_are_only_shifted() -> None:
    scale = Scale.of(np.full(41, 0.1))
    assert scale.mean == pytest.approx(0.1)
    assert scale.deviation == 1.0


def test_constant_numbers_have_no_correlation() -> None:
    assert measure(REGRESSION, [[1], [2]], [3.0, 3.0]) == {"mse": 2.5, "mae": 1.5, "r2": 0.0, "spearman": 0.0}


@given(values)
def test_folded_layer_answers_in_the_targets_unit(targets: np.ndarray) -> None:
    scale = Scale.of(targets)
    scaled = scale.apply(targets.astype(np.float64))
    assert scaled.mean() == pytest.approx(0, abs=1e-6)
    assert scale.restore(scaled) == pytest.approx(targets, abs=1e-6)
    layer, features = nn.Linear(4, 1), torch.randn(3, 4)
    before = layer(features).detach().numpy()
    scale.fold_into(layer)
    assert layer(features).detach().numpy() == pytest.approx(scale.restore(before), rel=1e-4, abs=1e-4)


BALANCED: dict[str, list[Target]] = {SINGLE: ["a", "b"], MULTI: [("a",), ("b",)], REGRESSION: [1.0, 2.0]}


@pytest.mark.parametrize(
    ("asked", "problem_type", "expected"),
    [
        (None, SINGLE, ("accuracy", True)),
        (None, MULTI, ("f1_micro", True)),
        (None, REGRESSION, ("mse", False)),
        ("loss", SINGLE, ("loss", False)),
        ("eval_f1_macro", MULTI, ("f1_macro", True)),
        ("spearman", REGRESSION, ("spearman", True)),
    ],
)
def test_which_metric_tells_the_best_epoch(asked: str | None, problem_type: str, expected: tuple[str, bool]) -> None:
    assert best_metric(asked, problem_type, BALANCED[problem_type]) == expected


def test_imbalanced_classes_are_told_by_macro_f1() -> None:
    nine, ten = ["a"] * 9 + ["b"], ["a"] * 10 + ["b"]
    assert best_metric(None, SINGLE, nine) == ("accuracy", True)
    assert best_metric(None, SINGLE, ten) == ("f1_macro", True)
    assert best_metric("accuracy", SINGLE, ten) == ("accuracy", True)
    several: list[Target] = [("a", "b"), *[("a",)] * 9, ()]
    assert best_metric(None, MULTI, several[:-2]) == ("f1_micro", True)
    assert best_metric(None, MULTI, several) == ("f1_macro", True)


def test_unknown_metric_names_the_known() -> None:
    with pytest.raises(InputError, match=r"metric_for_best_model must be one of accuracy, f1_macro, loss .* got 'mse'"):
        best_metric("mse", SINGLE, ["a", "b"])


@pytest.mark.parametrize("problem_type", list(METRICS))
def test_every_metric_listed_is_measured(problem_type: str) -> None:
    labels = {SINGLE: [0, 1], MULTI: [[1.0, 0.0], [0.0, 1.0]], REGRESSION: [0.5, 1.0]}[problem_type]
    found = measure(problem_type, [[1, 0], [0, 1]], labels)
    assert tuple(found) == METRICS[problem_type]
    assert all(math.isfinite(value) for value in found.values())


def test_constant_numbers_explain_nothing_though_their_mean_is_rounded() -> None:
    assert np.var([0.1] * 20) > 0
    assert measure(REGRESSION, [[1.0]] * 20, [0.1] * 20)["r2"] == 0
