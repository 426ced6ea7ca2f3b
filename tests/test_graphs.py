"""Buckets, and that padding to one changes no answer; on a GPU, the captured passes themselves."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.device import resolve_device
from model.encoding import fill
from model.folding import FoldedTextCnn
from model.graphs import MOST_TOKENS, Buckets, GraphRunner
from model.network_textcnn import TextCnn, TextCnnShape
from tests.strategies import VOCABULARY, batches, build_network, pad, shapes


@given(st.integers(1, 200_000), st.data())
def test_the_bucket_is_the_smallest_that_takes_the_pass(max_length: int, data: st.DataObject) -> None:
    buckets = Buckets(max_length)
    texts = data.draw(st.integers(1, buckets.texts[-1]))
    tokens = data.draw(st.integers(0, max_length))
    found = buckets.of(texts, tokens)
    fitting = [(some, long) for some, long in buckets if some >= texts and long >= tokens]
    assert found in fitting
    assert all(found[0] <= some and found[1] <= long for some, long in fitting)


@given(st.integers(1, MOST_TOKENS))
def test_no_bucket_takes_more_memory_than_the_first_and_none_too_much(max_length: int) -> None:
    sizes = [texts * tokens for texts, tokens in Buckets(max_length)]
    assert max(sizes) == sizes[0] <= MOST_TOKENS


@given(shapes(), batches(), batches(), st.booleans())
@settings(max_examples=100, deadline=None)
def test_neither_the_bucket_nor_what_was_in_it_changes_an_answer(
    shape: TextCnnShape, before: list[list[int]], texts: list[list[int]], folded: bool
) -> None:
    network = build_network(shape)
    alone = pad(texts, [0] * len(texts), max(map(len, texts)))
    expected = network(alone.input_ids, alone.attention_mask)
    rows, tokens = Buckets(16).of(max(len(before), len(texts)), 12)
    buffer = np.zeros((rows, 1 + tokens), dtype=np.int32)
    for batch in (before, texts):
        fill(buffer, batch)
    placed = torch.from_numpy(buffer)
    form: TextCnn | FoldedTextCnn = FoldedTextCnn(network) if folded else network
    found = form.logits(placed[:, 1:], placed[:, 0])[: len(texts)]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


TEXTS = [[1, 2, 3, 4, 5, 6, 7], [], [8], list(range(1, 21)), [9, 10, 11]]


@pytest.mark.gpu
@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.parametrize(
    ("dtype", "tf32", "error"),
    [
        (torch.float32, False, 1e-5),
        (torch.float32, True, 3e-3),
        (torch.bfloat16, False, 5e-2),
        (torch.float16, False, 5e-3),
    ],
)
def test_captured_passes_give_the_networks_logits(folded: bool, dtype: torch.dtype, tf32: bool, error: float) -> None:
    shape = TextCnnShape(vocab_size=VOCABULARY, embedding_dim=32, num_filters=16, num_bigrams=50, max_length=40)
    network = build_network(shape)
    alone = pad(TEXTS, [0] * len(TEXTS), 20)
    expected = network(alone.input_ids, alone.attention_mask)
    device = resolve_device("cuda")
    form: TextCnn | FoldedTextCnn = network.to(device)
    form = FoldedTextCnn(network, dtype) if folded else network.to(dtype)
    run = GraphRunner(form, torch.Tensor.float, device, 40, tf32)
    for chosen in ([0, 1, 2, 3, 4], [3], [1, 0], [1]):
        found, elapsed_ms = run([TEXTS[index] for index in chosen])
        torch.testing.assert_close(
            torch.from_numpy(found), expected[chosen], rtol=0, atol=error * float(expected.abs().max())
        )
        assert elapsed_ms > 0


@pytest.mark.gpu
def test_serving_allocates_nothing_and_keeps_its_events() -> None:
    network = build_network(TextCnnShape(vocab_size=VOCABULARY, embedding_dim=8, num_filters=6, max_length=40))
    device = resolve_device("cuda")
    run = GraphRunner(FoldedTextCnn(network.to(device)), torch.Tensor.float, device, 40)
    run(TEXTS)
    before = torch.cuda.memory_stats(device)["allocation.all.allocated"]
    for count in range(1, 6):
        run(TEXTS[:count])
    assert torch.cuda.memory_stats(device)["allocation.all.allocated"] == before
