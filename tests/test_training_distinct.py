"""Training by distinct tokens: the gradients of the convolutions, and in use where it is faster."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from model.network_textcnn import TextCnn, TextCnnShape
from tests.conftest import labelled_texts, train
from tests.strategies import VOCABULARY, batches, build_network, pad, shapes
from training import distinct, onednn
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
    pool_by_distinct_tokens(network)
    network.embedding.sparse = is_sparse
    for found, wanted in zip(gradients(network, batch.input_ids, batch.attention_mask), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_a_batch_without_texts_has_gradients_of_zero() -> None:
    """The share of a process in a last step with fewer texts than processes."""
    network = build_network(TextCnnShape(vocab_size=VOCABULARY, embedding_dim=4, num_filters=6)).train()
    pool_by_distinct_tokens(network.requires_grad_(True))
    logits, *found = gradients(network, torch.zeros(0, 3, dtype=torch.long), torch.zeros(0, 3, dtype=torch.bool))
    assert len(logits) == 0
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert not any(gradient.any() for gradient in found)


@given(st.integers(1, 70), st.integers(1, 40), st.integers(1, 90))
@settings(deadline=None)
def test_products_and_gradients_of_onednn_are_torchs(rows: int, columns: int, outputs: int) -> None:
    if not torch.backends.mkldnn.is_available():
        pytest.skip("needs a torch with oneDNN")
    given_rows, weight = (
        torch.randn(rows, columns, requires_grad=True),
        torch.randn(outputs, columns, requires_grad=True),
    )
    sent, expected = torch.randn(rows, outputs), functional.linear(given_rows, weight)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onednn, "mkl_is_slow", lambda: True)
        found = onednn.linear(given_rows, weight)
        assert "_Linear" in str(found.grad_fn)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        wanted = torch.autograd.grad(expected, (given_rows, weight), sent)
        for got, want in zip(torch.autograd.grad(found, (given_rows, weight), sent), wanted, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
        with torch.autocast("cpu", torch.bfloat16):
            assert onednn.linear(given_rows, weight).dtype == torch.bfloat16
        assert onednn.linear(given_rows.double(), weight.double()).dtype == torch.float64


def test_in_half_precision_only_the_product_is_rounded() -> None:
    network = build_network(TextCnnShape(vocab_size=VOCABULARY, embedding_dim=32, num_filters=8, dropout=0.0)).train()
    pool_by_distinct_tokens(network.requires_grad_(True))
    batch = pad([[5, 6, 7, 5], [7, 8]], [0, 2], 4)
    expected = gradients(network, batch.input_ids, batch.attention_mask)
    with torch.autocast("cpu", torch.bfloat16):
        pooled = network.pool(batch.input_ids, batch.attention_mask.sum(dim=1))
        found = gradients(network, batch.input_ids, batch.attention_mask)
    assert pooled.dtype == torch.float32
    assert not torch.equal(found[0], expected[0])
    for rounded, exact in zip(found, expected, strict=True):
        torch.testing.assert_close(rounded.float(), exact, rtol=0.05, atol=0.05 * exact.detach().abs().max().item())


def test_only_distinct_tokens_are_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_network(TextCnnShape(vocab_size=VOCABULARY, embedding_dim=4, num_filters=6)).train()
    pool_by_distinct_tokens(network)
    rows: list[int] = []
    linear = functional.linear

    def spy(features: Tensor, *weights: Tensor) -> Tensor:
        rows.append(len(features))
        return linear(features, *weights)

    monkeypatch.setattr(functional, "linear", spy)
    monkeypatch.setattr(onednn, "mkl_is_slow", lambda: False)
    input_ids = torch.tensor([[5, 5, 7, 5], [7, 7, 0, 0]])
    network(input_ids, input_ids > 0)
    assert rows == [4, 2]  # 5, 7, padding and the blank beyond; then the last layer


@pytest.mark.parametrize(("flags", "used"), [((), True), (("--bf16",), True), (("--embedding_dropout", "0.1"), False)])
def test_a_training_uses_it_where_the_network_is_linear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], used: bool
) -> None:
    calls: list[int] = []
    forward = distinct._MaxOfSums.forward

    def spy(*arguments: Any) -> Tensor:
        calls.append(1)
        return forward(*arguments)

    monkeypatch.setattr(distinct._MaxOfSums, "forward", spy)
    train(tmp_path, labelled_texts(), "--num_train_epochs", "1", *flags)
    assert bool(calls) == used
