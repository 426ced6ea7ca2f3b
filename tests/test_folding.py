"""`FoldedTextCnn`: the same logits as the network it was made from, whatever its shape and the texts."""

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from model import folding as folding_module
from model.folding import FoldedTextCnn, folded_bytes
from model.network_textcnn import TextCnn, TextCnnShape
from tests.strategies import VOCABULARY, batches, build_network, pad, shapes

TEXTS = [[1, 2, 3, 4, 5, 6, 7], [], [8], [9, 10, 11], [12, 13, 14, 15, 16, 17, 18, 19, 20]]


def network_logits(network: TextCnn, texts: list[list[int]]) -> Tensor:
    batch = pad(texts, [0] * len(texts), max(map(len, texts)))
    logits: Tensor = network(batch.input_ids, batch.attention_mask)
    return logits


@given(shapes(), batches())
@settings(max_examples=200, deadline=None)
def test_logits_equal_the_networks(shape: TextCnnShape, texts: list[list[int]]) -> None:
    network = build_network(shape)
    torch.testing.assert_close(FoldedTextCnn(network)(texts), network_logits(network, texts), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("texts_in_cache", [0, 1, 2, 3, 4, 5])
def test_a_pass_in_pieces_gives_the_same(monkeypatch: pytest.MonkeyPatch, texts_in_cache: int) -> None:
    shape = TextCnnShape(vocab_size=VOCABULARY, embedding_dim=4, kernel_sizes=[2, 3], num_filters=6)
    network = build_network(shape)
    windows = max(map(len, TEXTS)) - 1
    monkeypatch.setattr(folding_module, "CACHED_BYTES", texts_in_cache * windows * 2 * 6 * 4)
    torch.testing.assert_close(FoldedTextCnn(network)(TEXTS), network_logits(network, TEXTS))


@pytest.mark.parametrize("num_filters", [31, 32, 33, 48, 64, 75])
def test_maxima_are_right_in_whole_blocks_of_columns_and_in_what_is_left(num_filters: int) -> None:
    network = build_network(
        TextCnnShape(vocab_size=VOCABULARY, embedding_dim=4, kernel_sizes=[1, 2], num_filters=num_filters)
    )
    torch.testing.assert_close(FoldedTextCnn(network)(TEXTS), network_logits(network, TEXTS))


@pytest.mark.parametrize("bias", [True, False])
def test_a_window_that_no_text_has_never_wins(bias: bool) -> None:
    """Filters that fire on zeros and nothing else: windows of pure padding would decide the maximum."""
    network = build_network(TextCnnShape(vocab_size=VOCABULARY, embedding_dim=4, kernel_sizes=[2], bias=bias))
    network.embedding.weight.fill_(1)
    conv = network.convs[0]
    assert isinstance(conv.weight, Tensor)
    conv.weight.fill_(-1)
    if isinstance(conv.bias, Tensor):
        conv.bias.fill_(5)
    texts = [[1, 2, 3, 4, 5, 6], [1, 2]]
    found = FoldedTextCnn(network)(texts)
    torch.testing.assert_close(found, network_logits(network, texts))
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize(("dtype", "error"), [(torch.bfloat16, 3e-2), (torch.float16, 3e-3)])
def test_half_a_table_is_off_by_its_rounding(dtype: torch.dtype, error: float) -> None:
    network = build_network(TextCnnShape(vocab_size=VOCABULARY, embedding_dim=32, num_filters=16, max_length=40))
    expected, exact, half = network_logits(network, TEXTS), FoldedTextCnn(network), FoldedTextCnn(network, dtype)
    found = half(TEXTS)
    assert half.table_bytes * 2 == exact.table_bytes
    assert found.dtype == torch.float32
    assert error / 300 < (found - expected).abs().max() / expected.abs().max() < error


@given(shapes())
@settings(max_examples=20, deadline=None)
def test_the_size_of_the_table_is_known_before_it_is_built(shape: TextCnnShape) -> None:
    assert folded_bytes(shape) == FoldedTextCnn(build_network(shape)).table_bytes


@pytest.mark.parametrize(("max_length", "kept"), [(64, folding_module.PLANS), (4096, 56)])
def test_the_plans_that_are_kept_fit_their_budget(max_length: int, kept: int) -> None:
    network = FoldedTextCnn(
        build_network(TextCnnShape(vocab_size=VOCABULARY, kernel_sizes=[3, 4, 5], max_length=max_length))
    )
    plan = network._plan(max_length, network._windows(max_length))
    assert network._plan.cache_parameters()["maxsize"] == kept
    assert kept * sum(part.nbytes for part in plan) <= folding_module.PLANS_BYTES


def test_folding_leaves_the_network_as_it_was_and_asks_for_no_gradient() -> None:
    network = build_network(TextCnnShape(vocab_size=VOCABULARY, embedding_dim=4)).requires_grad_(True)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert not FoldedTextCnn(network)(TEXTS).requires_grad
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name
