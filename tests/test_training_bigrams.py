"""The linear part: what it learns from, how much it weighs, and that it is in the checkpoint or not at all."""

from collections import Counter
from itertools import pairwise
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from model.bigrams_textcnn import Bigrams
from model.checkpoint import read_config, read_network
from model.classifier import TextClassifier
from model.network_textcnn import TextCnn, TextCnnShape
from tests.conftest import labelled_texts, multi_labelled_texts, train
from tests.strategies import VOCABULARY, build_network
from training.bigrams import SMOOTHING, WEIGHTS, attach, choose_weight, frequent_pairs, given, learn, log_ratios
from training.calibration import calibration_metrics, fit_temperature
from training.features import Layout, TokenTensors
from training.objective import Objective
from training.report.record import read_outcomes
from training.targets import MULTI, REGRESSION, SINGLE
from training.tokens import Tokens

TEXTS = [[1, 2], [2, 1], [1, 3, 2], [3, 2, 1], [2, 2, 1, 4]] * 8
LABELS = np.array([0, 1, 0, 1, 1] * 8)  # whether 2 comes before 1: no token alone tells


def setting(side: str = "right", classes: int = 2) -> tuple[Bigrams, TextCnn, TokenTensors]:
    flat = np.array([token for text in TEXTS for token in text], dtype=np.int32)
    layout = Layout(max_length=12, padding_side=side)
    texts = TokenTensors(Tokens(flat, np.array(list(map(len, TEXTS)))), LABELS, layout)
    network = build_network(TextCnnShape(vocab_size=VOCABULARY, embedding_dim=4, num_filters=2, max_length=12))
    pairs = frequent_pairs(network, texts, 100)
    bigrams = Bigrams(VOCABULARY, len(pairs), 0, classes)
    bigrams.known[:-1] = pairs
    return bigrams, network, texts


@pytest.mark.parametrize("side", ["left", "right"])
def test_it_learns_the_order_of_words(side: str) -> None:
    bigrams, network, texts = setting(side)
    learn(bigrams, network, texts, Objective(SINGLE), seed=1)
    logits = given(bigrams, network, texts)
    assert (logits.argmax(axis=1) == LABELS).all()
    on_host = bigrams.on_host()
    np.testing.assert_allclose(logits, on_host(TEXTS), atol=1e-6)
    np.testing.assert_allclose(logits, np.concatenate([on_host([text]) for text in TEXTS]), atol=1e-6)


def test_the_same_seed_learns_the_same() -> None:
    learnt: list[torch.Tensor] = []
    for seed in (1, 1, 2):
        bigrams, network, texts = setting()
        torch.manual_seed(len(learnt))  # of no consequence
        learn(bigrams, network, texts, Objective(SINGLE, 0.1), seed)
        learnt.append(bigrams.weight.detach())
    assert torch.equal(learnt[0], learnt[1])


def test_learning_starts_from_naive_bayes() -> None:
    bigrams, network, texts = setting()
    found = log_ratios(bigrams, network, texts)
    share = (np.bincount(LABELS) + 1) / (len(LABELS) + 2)
    for token in range(VOCABULARY):
        counts = [
            sum(text.count(token) for text, label in zip(TEXTS, LABELS, strict=True) if label == c) for c in (0, 1)
        ]
        counts = [len(LABELS[c == LABELS]) for c in (0, 1)] if token == 0 else counts  # the boundary, once a text
        rate = [(counts[c] + SMOOTHING * share[c]) / share[c] for c in (0, 1)]
        assert found[token].tolist() == pytest.approx([log(rate[0] / rate[1]), log(rate[1] / rate[0])], abs=1e-5)
    assert found[VOCABULARY:-1].any(dim=1).any()
    assert not found[5:VOCABULARY].any(), "rows of no text"
    assert not found[-1].any(), "the row of unknown pairs"


def test_what_a_class_of_few_texts_lacks_says_little() -> None:

    by_classes = {}
    for classes in (2, 20):
        bigrams, network, texts = setting(classes=classes)
        by_classes[classes] = log_ratios(bigrams, network, texts)
    share = (np.bincount(LABELS, minlength=20) + 1) / (len(LABELS) + 2)
    smoothing = SMOOTHING * 20**2 / len(LABELS)
    assert by_classes[20][4, 0].item() == pytest.approx(
        log(smoothing * share[0] / share[0]) - log((8 + smoothing * (1 - share[0])) / (1 - share[0])), abs=1e-5
    )
    assert abs(by_classes[20][4, 0]) < abs(by_classes[2][4, 0]) / 2


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("most", [1, 3, 6, 100])
def test_the_most_frequent_pairs_are_known(side: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.bigrams.BLOCK", 7 * 12)  # tokens of seven texts: six blocks
    monkeypatch.setattr("training.bigrams.BATCH", 2)
    _, network, texts = setting(side)
    counts = Counter(pair for text in TEXTS for pair in pairwise([0, *text, 0]))
    found = [divmod(pair, VOCABULARY) for pair in frequent_pairs(network, texts, most).tolist()]
    assert found == sorted(set(found))
    assert len(found) == min(most, len(counts))
    assert sorted(counts[pair] for pair in found) == sorted(counts.values())[-most:]


def test_few_pairs_are_remembered_of_many_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    _, network, texts = setting()
    exact = frequent_pairs(network, texts, 2)
    monkeypatch.setattr("training.bigrams.BLOCK", 5 * 12)  # tokens of five texts: each block holds all kinds
    monkeypatch.setattr("training.bigrams.CANDIDATES", 6)
    assert torch.equal(frequent_pairs(network, texts, 2), exact)
    assert len(frequent_pairs(network, texts, 100)) > 6  # what is wanted is never less than what is remembered


def test_unknown_pairs_say_nothing_and_learn_nothing() -> None:
    _, network, texts = setting()
    pairs = frequent_pairs(network, texts, 2)
    bigrams = Bigrams(VOCABULARY, 2, 0, 2)
    bigrams.known[:-1] = pairs
    learn(bigrams, network, texts, Objective(SINGLE), seed=1)
    assert bigrams.weight[VOCABULARY:-1].any(dim=1).all()
    assert not bigrams.weight[-1].any()
    unknown = [[4, 3], [3, 3, 4, 4]]
    assert all(a * VOCABULARY + b not in pairs for text in unknown for a, b in pairwise([0, *text, 0]))
    tokens = [bigrams.weight[[*text, 0]].sum(dim=0) / (2 * len(text) + 2) ** 0.5 for text in unknown]
    np.testing.assert_allclose(bigrams.on_host()(unknown), torch.stack(tokens).detach(), atol=1e-6)


@pytest.mark.parametrize("room", [VOCABULARY + 1, VOCABULARY + 6])
def test_the_table_has_a_bound(room: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("training.bigrams.LARGEST", 3 * room)
    monkeypatch.setattr("training.bigrams.WEIGHTS", np.array([0.5]))
    flags = ("--vocab_size", str(VOCABULARY), "--tokenizer", "char", "--num_train_epochs", "1")
    config = read_config(train(tmp_path, labelled_texts(), *flags))
    assert (config.vocab_size, config.num_bigrams) == (VOCABULARY, room - VOCABULARY - 1)


def test_the_better_part_weighs_more_and_a_useless_one_nothing() -> None:
    targets = np.arange(400) % 3
    truth, noise = np.eye(3)[targets] * 4, np.random.default_rng(0).normal(size=(400, 3))
    assert choose_weight(truth, noise, targets) == 0
    assert choose_weight(noise, truth, targets) == pytest.approx(WEIGHTS[-1])
    assert choose_weight(truth + noise, truth - noise, targets) == pytest.approx(0.5)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.7, 0.9])
def test_the_weight_is_the_best_of_all(share: float) -> None:
    draw, targets = np.random.default_rng(int(100 * share)), np.arange(600) % 4
    filters, linear = (np.eye(4)[targets] * 3 * part + draw.normal(size=(600, 4)) * 2 for part in (1 - share, share))
    losses = []
    for weight in WEIGHTS:
        logits = (1 - weight) * filters + weight * linear
        losses.append(calibration_metrics(logits / fit_temperature(logits, targets, SINGLE), targets, SINGLE)["nll"])
    assert choose_weight(filters, linear, targets) == pytest.approx(WEIGHTS[int(np.argmin(losses))])


def test_the_network_answers_with_the_weighted_mean() -> None:
    bigrams, network, _ = setting(classes=3)
    bigrams.weight.data.normal_()
    ids, lengths = torch.tensor([[1, 2, 3], [4, 0, 0]]), torch.tensor([3, 1])
    filters, linear = network.logits(ids, lengths), bigrams(ids, lengths).detach()
    attach(network, bigrams, 0.25)
    torch.testing.assert_close(network.logits(ids, lengths), 0.75 * filters + 0.25 * linear)
    assert network.config.num_bigrams == bigrams.num_bigrams > 0


def test_a_checkpoint_answers_as_it_was_measured(tmp_path: Path) -> None:
    """`predictions.parquet` was written from the sum of what both parts say, before the checkpoint was."""
    checkpoint = train(
        tmp_path, labelled_texts(), "--max_bigrams", "50", "--num_train_epochs", "1"
    )  # so the filters err
    config = read_config(checkpoint)
    network = read_network(checkpoint, config)
    assert config.num_bigrams == 50
    assert network.bigrams is not None
    assert network.bigrams.weight.any()
    classifier = TextClassifier.from_pretrained(checkpoint, "cpu")
    found = [
        max((prediction.scores or {}).values()) for prediction in classifier([row["text"] for row in labelled_texts()])
    ]
    np.testing.assert_allclose(found, read_outcomes(checkpoint)["test"].scores, atol=1e-4)


@pytest.mark.parametrize("kind", ["off", REGRESSION, MULTI])
def test_without_it_nothing_is_left_of_it(tmp_path: Path, kind: str) -> None:
    rows: list[dict[str, Any]] = multi_labelled_texts() if kind == MULTI else [*labelled_texts()]
    if kind == REGRESSION:
        rows = [{"text": row["text"], "label": float(len(row["label"]))} for row in rows]
    checkpoint = train(tmp_path, rows, *(["--max_bigrams", "0"] if kind == "off" else []))
    assert read_config(checkpoint).num_bigrams == 0
    assert not [name for name in load_file(checkpoint / "model.safetensors") if "bigrams" in name]
