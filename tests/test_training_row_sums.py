"""Sums of rows of an embedding: torch's sums and gradients, with each row named once."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from training.row_sums import coalesced, sums_of_rows

ROWS, CHANNELS = 6, 3


@given(st.lists(st.lists(st.integers(0, ROWS - 1), max_size=5), min_size=1, max_size=6), st.booleans())
def test_sums_and_gradients_are_torchs_with_each_row_once(bags: list[list[int]], is_sparse: bool) -> None:
    counts = torch.tensor([len(bag) for bag in bags])
    rows, starts = torch.tensor([row for bag in bags for row in bag], dtype=torch.long), counts.cumsum(0) - counts
    embedding = nn.Embedding(ROWS, CHANNELS, sparse=is_sparse)
    sent = torch.randn(len(bags), CHANNELS)
    expected = functional.embedding_bag(rows, embedding.weight, starts, mode="sum")
    (wanted,) = torch.autograd.grad(expected, embedding.weight, sent)
    sums = sums_of_rows(embedding, rows, starts)
    sums.backward(sent)
    found = embedding.weight.grad
    assert isinstance(found, Tensor)
    torch.testing.assert_close(sums, expected)
    torch.testing.assert_close(found.to_dense(), wanted)
    assert found.is_sparse == is_sparse
    if is_sparse:
        assert found._indices().tolist() == [sorted({row for bag in bags for row in bag})]


@given(st.lists(st.integers(0, ROWS - 1), max_size=8))
def test_a_gradient_with_a_row_twice_or_out_of_order_is_coalesced(rows: list[int]) -> None:
    values = torch.randn(len(rows), CHANNELS)
    gradient = torch.sparse_coo_tensor(
        torch.tensor([rows], dtype=torch.long), values, (ROWS, CHANNELS), check_invariants=True
    )
    found, wanted = coalesced(gradient), gradient.coalesce()
    assert found.is_coalesced()
    assert torch.equal(found.indices(), wanted.indices())
    torch.testing.assert_close(found.values(), wanted.values())
