"""Training by distinct tokens: the gradients of the convolutions, and in use where it is faster."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional
from transformers.integrations.neftune import activate_neftune

from model.network_textcnn import TextCnn, TextCnnShape
from tests.conftest import labelled_texts, train
from tests.strategies import VOCABULARY, batches, build_network, pad, shapes
from tests.trainers import trainer_of
from training import distinct, precision
from training.distinct import pool_by_distinct_tokens


def gradients(network: TextCnn, input_ids: Tensor, attention_mask: Tensor) -> list[Tensor]:
    """Logits of a batch and what they send to every weight, each logit weighed otherwise."""
    network.zero_grad()
    logits = network(input_ids, attention_mask)
    (logits * torch.arange(1, logits.numel() + 1).view_as(logits)).sum().backward()
    return [logits, *(torch.zeros(1) if p.grad is None else p.grad.to_dense() for p in network.parameters())]


@given(shapes(), batches(), st.booleans(), st.booleans())
@settings(max_examples=80, deadline=None)
def test_logits_and_gradients_are_those_of_the_convolutions(
    shape: TextCnnShape, texts: list[list[int]], is_left: bool, is_sparse: bool
) -> None:
    shape.dropout = 0.0
    network = build_network(shape).double().train().requires_grad_(True)
    width = max(map(len, texts)) + 1
    batch = pad(texts, [width - len(tokens) if is_left else 0 for tokens in texts], width)
    expected = gradients(network, batch.input_ids, batch.attention_mask)
    evaluated = network.eval()(batch.input_ids, batch.attention_mask)
    network.train()
    pool_by_distinct_tokens(network)
    network.embedding.sparse = is_sparse
    for found, wanted in zip(gradients(network, batch.input_ids, batch.attention_mask), expected, strict=True):
        torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(network.eval()(batch.input_ids, batch.attention_mask), evaluated)


def test_a_batch_without_texts_has_gradients_of_zero() -> None:
    """The share of a process in a last step with fewer texts than processes."""
    network = build_network(TextCnnShape(vocab_size=VOCABULARY, embedding_dim=4, num_filters=6)).train()
    pool_by_distinct_tokens(network.requires_grad_(True))
    logits, *found = gradients(network, torch.zeros(0, 3, dtype=torch.long), torch.zeros(0, 3, dtype=torch.bool))
    assert len(logits) == 0
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert not any(gradient.any() for gradient in found)


def test_half_precision_rounds_the_products_of_training_alone() -> None:
    network = build_network(TextCnnShape(vocab_size=VOCABULARY, embedding_dim=32, num_filters=8, dropout=0.0)).train()
    batch = pad([[5, 6, 7, 5], [7, 8]], [0, 2], 4)
    expected = gradients(network.requires_grad_(True), batch.input_ids, batch.attention_mask)
    pool_by_distinct_tokens(network, half=True)
    found = gradients(network, batch.input_ids, batch.attention_mask)
    assert (found[0] - expected[0]).abs().max() > 1e-4 * expected[0].abs().max()  # float32 is a thousandth of that
    for rounded, exact in zip(found, expected, strict=True):
        torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.05 * exact.detach().abs().max().item())
    torch.testing.assert_close(network.eval()(batch.input_ids, batch.attention_mask), expected[0])


@pytest.mark.parametrize(("flag", "in_steps"), [("true", torch.bfloat16), ("false", torch.float32)])
def test_products_of_steps_alone_are_rounded_and_no_sums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str, in_steps: torch.dtype
) -> None:
    products: dict[bool, set[torch.dtype]] = {True: set(), False: set()}  # by whether they are of a step
    sums: set[torch.dtype] = set()
    linear, forward = functional.linear, distinct._MaxOfSums.forward

    def spy(features: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        product = linear(features, weight, bias)
        if bias is None:  # not of the last layer
            products[product.requires_grad].add(product.dtype)
        return product

    def spy_on_sums(context: Any, table: Tensor, *rows: Tensor) -> Tensor:
        sums.add(table.dtype)
        return forward(context, table, *rows)

    monkeypatch.setattr(functional, "linear", spy)
    monkeypatch.setattr(distinct._MaxOfSums, "forward", spy_on_sums)
    train(tmp_path, labelled_texts(), "--num_train_epochs", "1", "--bf16", flag)
    assert products == {True: {in_steps}, False: {torch.float32}}
    assert sums == {torch.float32}


def test_only_distinct_tokens_are_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_network(TextCnnShape(vocab_size=VOCABULARY, embedding_dim=4, num_filters=6)).train()
    pool_by_distinct_tokens(network)
    rows: list[int] = []
    linear = functional.linear

    def spy(features: Tensor, *weights: Tensor) -> Tensor:
        rows.append(len(features))
        return linear(features, *weights)

    monkeypatch.setattr(functional, "linear", spy)
    input_ids = torch.tensor([[5, 5, 7, 5], [7, 7, 0, 0]])
    network(input_ids, input_ids > 0)
    assert rows == [4, 2]  # 5, 7, padding and the blank beyond; then the last layer


@pytest.mark.parametrize(
    ("flags", "in_steps"), [((), True), (("--bf16",), True), (("--embedding_dropout", "0.1"), False)]
)
def test_a_training_uses_it_where_the_network_is_linear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], in_steps: bool
) -> None:
    """With dropout between embeddings and filters an evaluation does, but no step."""
    in_a_step: list[bool] = []
    forward = distinct._MaxOfSums.forward

    def spy(context: Any, table: Tensor, *rows: Tensor) -> Tensor:
        in_a_step.append(table.requires_grad)
        return forward(context, table, *rows)

    monkeypatch.setattr(distinct._MaxOfSums, "forward", spy)
    train(tmp_path, labelled_texts(), "--num_train_epochs", "1", *flags)
    assert any(in_a_step) == in_steps
    assert not all(in_a_step)


def test_products_are_in_half_precision_where_that_is_fast_and_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(name: str, fast: bool, *flags: str) -> tuple[bytes, str]:
        """The weights, and what metrics.json says that the products were in."""
        monkeypatch.setattr(precision, "half_precision", lambda device: fast)
        (tmp_path / name).mkdir()
        folder = train(tmp_path / name, labelled_texts(), "--num_train_epochs", "1", *flags)
        told = json.loads((folder / "metrics.json").read_text())["train"]["precision"]
        return (folder / "model.safetensors").read_bytes(), told

    weights, told = trained("slow", False)
    assert told == "float32"
    assert trained("refused", True, "--bf16", "false") == (weights, told)
    fast_weights, told = trained("fast", True)
    assert told == "bfloat16"
    assert fast_weights != weights
    for name, flags in {"dropped": ("--embedding_dropout", "0.1"), "noisy": ("--neftune_noise_alpha", "5")}.items():
        convolved = trained(name, True, *flags)  # the steps are no products of distinct tokens
        assert convolved == trained(f"slow-{name}", False, *flags)
        assert convolved[1] == "float32"


def test_noise_on_the_embeddings_is_drawn_for_each_position(tmp_path: Path) -> None:
    """`--neftune_noise_alpha` (Jain et al. 2024): uniform up to alpha / sqrt(L * D), of L positions and D channels."""
    trainer: Any = trainer_of(tmp_path, labelled_texts(), "--neftune_noise_alpha", "5", "--ngram_buckets", "0")
    network = trainer.model.network.train()
    activate_neftune(trainer.model, trainer.neftune_noise_alpha, trainer.accelerator)
    seen: list[torch.Size] = []
    embedded = network.embedding.forward

    def forward(tokens: Tensor) -> Tensor:  # no hook: the noise is one, and must do by itself
        seen.append(tokens.shape)
        found: Tensor = embedded(tokens)
        return found

    network.embedding.forward = forward
    batch = trainer.train_dataset.__getitems__(range(4))
    trainer.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    assert seen == [batch["input_ids"].shape]
