"""The invariants of the network: parity with a naive loop, blindness to padding, defined logits for every text."""

from itertools import pairwise
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from model.network_textcnn import TextCnn, TextCnnShape
from tests.strategies import CLASSES, VOCABULARY, batches, build_network, pad, shapes, token_lists

TOLERANCE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}


def naive_logits(network: TextCnn, tokens: list[int]) -> Tensor:
    """Logits (C,) of one text by the definition: a loop over windows, filters by matrix products, zeros outside."""
    shape = network.config
    pooled = []
    for conv in network.convs:
        assert isinstance(conv, nn.Conv1d)
        size = conv.kernel_size[0]
        total = shape.total_padding(size)
        left = total // 2
        signal = [network.embedding_table[token] for token in tokens]
        signal = [torch.zeros(shape.channels)] * left + signal + [torch.zeros(shape.channels)] * (total - left)
        signal += [torch.zeros(shape.channels)] * (shape.window(size) - len(signal))
        windows = []
        for start in range(0, len(signal) - shape.window(size) + 1, shape.stride):
            taps = [signal[start + tap * shape.dilation] for tap in range(size)]  # size x (D,)
            windows.append(_convolve(conv, torch.stack(taps, dim=1)))
        pooled.append(torch.stack(windows).amax(dim=0).relu())
    logits: Tensor = network.classifier(torch.cat(pooled)) + naive_bigrams(network, tokens)
    return logits / shape.calibration_temperature


def naive_bigrams(network: TextCnn, tokens: list[int]) -> Tensor:
    """What the linear part adds (C,), pair by pair; 0 is the boundary around a text."""
    if network.bigrams is None:
        return torch.zeros(CLASSES)
    rows, known = 0, network.bigrams.known.tolist()
    total = torch.zeros(CLASSES)
    for first, second in pairwise([0, *tokens, 0]):
        total += network.bigrams.weight[second]
        if (pair := first * VOCABULARY + second) in known:
            total += network.bigrams.weight[VOCABULARY + known.index(pair)]
        rows += 2
    logits: Tensor = total / rows**0.5
    return logits


def _convolve(conv: nn.Conv1d, window: Tensor) -> Tensor:
    """One window (D, k) through every filter: (F,)."""
    channels, filters = conv.in_channels // conv.groups, conv.out_channels // conv.groups
    sums = [
        (conv.weight[index] * window[index // filters * channels : (index // filters + 1) * channels]).sum()
        for index in range(conv.out_channels)
    ]
    return torch.stack(sums) + (0 if conv.bias is None else conv.bias)


@given(shapes(), batches())
@settings(max_examples=60, deadline=None)
def test_logits_equal_a_naive_loop_over_windows(shape: TextCnnShape, texts: list[list[int]]) -> None:
    network = build_network(shape)
    batch = pad(texts, [0] * len(texts), max(map(len, texts)))
    expected = torch.stack([naive_logits(network, tokens) for tokens in texts])
    torch.testing.assert_close(network(batch.input_ids, batch.attention_mask), expected, **TOLERANCE)


@given(shapes(), batches(), st.data())
@settings(max_examples=60, deadline=None)
def test_padding_and_neighbours_never_change_logits(
    shape: TextCnnShape, texts: list[list[int]], data: st.DataObject
) -> None:
    network = build_network(shape)
    longest = max(map(len, texts))
    before = [data.draw(st.integers(0, 4 + longest - len(tokens)), label="before") for tokens in texts]
    together = pad(texts, before, longest + 4)
    for row, tokens in enumerate(texts):
        alone = pad([tokens], [0], len(tokens))
        expected = network(alone.input_ids, alone.attention_mask)[0]
        found = network(together.input_ids, together.attention_mask)[row]
        torch.testing.assert_close(found, expected, **TOLERANCE)


@given(shapes(), token_lists(), st.integers(1, VOCABULARY - 1))
@settings(max_examples=30, deadline=None)
def test_what_stands_under_the_padding_is_never_read(shape: TextCnnShape, tokens: list[int], filler: int) -> None:
    network = build_network(shape)
    batch = pad([tokens], [0], len(tokens) + 5)
    filled = torch.where(batch.attention_mask.bool(), batch.input_ids, filler)
    expected = network(batch.input_ids, batch.attention_mask)
    assert torch.equal(network(filled, batch.attention_mask), expected)


@given(shapes(), st.integers(0, 6))
@settings(max_examples=30, deadline=None)
def test_short_and_empty_texts_have_finite_logits(shape: TextCnnShape, width: int) -> None:
    network = build_network(shape)
    logits = network(torch.ones(2, width, dtype=torch.long), torch.zeros(2, width))
    assert logits.shape == (2, CLASSES)
    assert logits.isfinite().all()
    torch.testing.assert_close(logits[0], logits[1], **TOLERANCE)


def test_conv1d_takes_channels_first() -> None:
    embedded = torch.randn(32, 35, 256)  # (B, T, D)
    assert nn.Conv1d(256, 100, 2)(embedded.permute(0, 2, 1)).shape == (32, 100, 34)


def test_gradients_reach_every_parameter_and_never_the_padding() -> None:
    network = TextCnn(TextCnnShape(vocab_size=9, embedding_dim=6, kernel_sizes=[1, 3], num_filters=50), CLASSES)
    batch = pad([[1, 2, 3, 4], [5]], [0, 0], 4)
    network(batch.input_ids, batch.attention_mask).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.any(), name
    gradient = network.embedding.weight.grad
    assert gradient is not None
    assert not gradient[0].any(), "row 0 is padding alone"
    assert gradient[1:6].any(dim=1).all()


@given(token_lists(30), st.integers(3, 8), st.sampled_from(["left", "right"]), st.integers(0, 1), st.integers(0, 2))
@settings(max_examples=60, deadline=None)
def test_long_texts_are_cut_between_their_special_tokens(
    tokens: list[int], limit: int, side: str, before: int, after: int
) -> None:
    shape = TextCnnShape(
        max_length=limit, truncation_side=side, special_tokens_before=before, special_tokens_after=after
    )
    tokens = [21] * before + tokens + [22] * after
    batch = pad([tokens, []], [3, 0], len(tokens) + 3)
    found, lengths = TextCnn.compact(_Shaped(shape), batch.input_ids, batch.attention_mask)  # type: ignore[arg-type]
    if len(tokens) <= limit:
        expected = tokens
    elif side == "right":
        expected = tokens[: limit - after] + tokens[len(tokens) - after :]
    else:
        expected = tokens[:before] + tokens[len(tokens) - (limit - before) :]
    assert found[0, : int(lengths[0])].tolist() == expected
    assert lengths.tolist() == [len(expected), 0]


class _Shaped:
    """The part of a network that `compact` reads."""

    def __init__(self, config: TextCnnShape) -> None:
        self.config = config
