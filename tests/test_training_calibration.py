"""Calibration: the temperature against the one that made the labels, figures against definitions and scikit-learn."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from model.checkpoint import read_config, read_network
from tests.checkpoints import build_network
from training.calibration import calibration_metrics, fit_temperature, probabilities, reliability
from training.targets import MULTI, SINGLE


def drawn(seed: int, problem_type: str, texts: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, 5), and targets drawn from their probabilities."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(texts, 5)) * 2
    chances = probabilities(logits, problem_type)
    if problem_type == MULTI:
        return logits, (draw.random(chances.shape) < chances).astype(np.float32)
    return logits, (draw.random((texts, 1)) > chances.cumsum(axis=1)).sum(axis=1).clip(max=4)


@given(st.floats(0.2, 8), st.sampled_from([SINGLE, MULTI]), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_finds_the_temperature_that_the_logits_were_multiplied_by(temperature: float, kind: str, seed: int) -> None:
    logits, targets = drawn(seed, kind)
    sharpened = logits * temperature
    found = fit_temperature(sharpened, targets, kind)
    assert found == pytest.approx(temperature, rel=0.1)
    before, after = (calibration_metrics(values, targets, kind) for values in (sharpened, sharpened / found))
    assert after["nll"] <= before["nll"] + 1e-4  # what the smoothing of the targets may cost
    assert after["ece"] < 0.04


@pytest.mark.parametrize("kind", [SINGLE, MULTI])
@pytest.mark.parametrize("texts", [3, 300])
def test_few_texts_that_are_all_right_promise_no_certainty(kind: str, texts: int) -> None:
    targets = np.arange(texts) % 3
    logits = 4 * np.eye(3)[targets] - 2
    truth = targets if kind == SINGLE else np.eye(3)[targets]
    highest = probabilities(logits / fit_temperature(logits, truth, kind), kind).max()
    assert 1 - 1 / texts < highest < 1 - 0.1 / texts


def test_figures_by_hand() -> None:
    logits = np.log([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]])
    targets = np.array([0, 2])
    found = calibration_metrics(logits, targets, SINGLE)
    assert found["nll"] == pytest.approx(log_loss(targets, np.exp(logits), labels=[0, 1, 2]))
    assert found["brier"] == pytest.approx((0.16 + 0.09 + 0.01 + 0.04 + 0.49 + 0.81) / 2)
    assert found["ece"] == pytest.approx((0.4 + 0.7) / 2)  # two bins of one text each
    counts, confidence, accuracy = reliability(logits, targets, SINGLE)
    assert counts[[9, 10]].tolist() == [1, 1]
    assert counts.sum() == 2
    assert confidence[[9, 10]] == pytest.approx([0.6, 0.7])
    assert accuracy[[9, 10]] == pytest.approx([1, 0])


def test_several_labels_are_so_many_questions() -> None:
    logits = np.array([[0.0, np.log(3)]])
    found = calibration_metrics(logits, np.array([[1.0, 1.0]]), MULTI)
    assert found == pytest.approx(
        {"nll": (np.log(2) + np.log(4 / 3)) / 2, "brier": (0.25 + 0.0625) / 2, "ece": (0.5 + 0.25) / 2}
    )


def test_a_probability_of_one_falls_into_the_last_bin() -> None:
    counts, _, _ = reliability(np.array([[900.0, 0.0]]), np.array([0]), SINGLE)
    assert counts.tolist() == [0] * 14 + [1]


def test_the_network_learns_without_and_answers_with_the_temperature() -> None:
    ids = torch.tensor([[2, 3, 4]])
    plain, calibrated = build_network(20), build_network(20, calibration_temperature=4.0)
    torch.testing.assert_close(calibrated(ids).logits, plain(ids).logits / 4)
    for network in (plain, calibrated):
        network.train()
        network.network.dropout.p = 0.0
    torch.testing.assert_close(calibrated(ids).logits, plain(ids).logits)


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), "1"])
def test_a_wrong_temperature_is_a_sentence(value: object) -> None:
    with pytest.raises(ValueError, match=r"^calibration_temperature must be a finite number above 0, got"):
        build_network(20, calibration_temperature=value)


@pytest.mark.parametrize("name", ["checkpoint", "multi_label_checkpoint"])
def test_training_stores_it_and_reports_what_it_brought(name: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(name)
    report = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["calibration"]
    config = read_config(folder)
    assert config.calibration_temperature == report["temperature"] != 1
    assert read_network(folder, config).config.calibration_temperature == report["temperature"]
    assert report["validation"]["after"]["nll"] < report["validation"]["before"]["nll"]
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f"{report['temperature']:.3f}" in card
    assert f"{report['test']['after']['ece']:.4f}" in card
