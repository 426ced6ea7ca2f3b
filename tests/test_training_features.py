"""Batches of token ids: the same as padding and cutting every text on its own."""

import math
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import processors
from torch.utils.data import DataLoader

from model.tokenizer import encode_batch, train_tokenizer
from training.features import LONGEST_PICKED, Layout, TokenTensors, pick_max_length
from training.tokens import Tokens


def tensors_of(rows: list[list[int]], layout: Layout) -> TokenTensors:
    """Texts given as lists of ids, each with its number as its label."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    return TokenTensors(Tokens(np.array(list(chain(*rows)), dtype=np.int32), lengths), np.arange(len(rows)), layout)


@given(
    token_ids=st.lists(st.lists(st.integers(1, 99), max_size=12), min_size=1, max_size=6),
    max_length=st.integers(1, 10),
    padding_side=st.sampled_from(["left", "right"]),
    truncation_side=st.sampled_from(["left", "right"]),
    trim=st.booleans(),
    data=st.data(),
)
def test_a_batch_is_the_rows_asked_for(
    token_ids: list[list[int]],
    max_length: int,
    padding_side: str,
    truncation_side: str,
    trim: bool,
    data: st.DataObject,
) -> None:
    layout = Layout(max_length, 7, padding_side, truncation_side, trim=trim)
    tensors = tensors_of(token_ids, layout)
    indices = data.draw(st.lists(st.integers(0, len(token_ids) - 1), min_size=1, max_size=5))
    batch = tensors.__getitems__(indices)
    texts = [token_ids[index] for index in indices]
    expected = [ids[-max_length:] if truncation_side == "left" else ids[:max_length] for ids in texts]
    width = max(map(len, expected)) if trim else max_length
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (len(indices), width)
    assert batch["labels"].tolist() == indices
    for row, kept in enumerate(expected):
        padding, is_padding = [7] * (width - len(kept)), [0] * (width - len(kept))
        is_token = [1] * len(kept)
        left = padding_side == "left"
        assert batch["input_ids"][row].tolist() == (padding + kept if left else kept + padding)
        assert batch["attention_mask"][row].int().tolist() == (is_padding + is_token if left else is_token + is_padding)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("max_length", [2, 3, 4, 5, 9])
def test_a_cut_keeps_what_the_tokenizer_keeps(side: str, max_length: int) -> None:
    tokenizer = train_tokenizer(["a b c d e f"], "word", 20)
    frame = processors.TemplateProcessing(single="[UNK] $A [UNK]", special_tokens=[("[UNK]", 1)])
    tokenizer.backend_tokenizer.post_processor = frame
    tokenizer.truncation_side = side
    texts = ["a b c d e f", "b", "f e d"]
    layout = Layout(max_length, truncation_side=side, special_tokens_before=1, special_tokens_after=1)
    batch = tensors_of(encode_batch(tokenizer, texts), layout).__getitems__([0, 1, 2])
    kept = [ids[mask].tolist() for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
    assert kept == encode_batch(tokenizer, texts, max_length)


@given(st.lists(st.integers(0, 700), min_size=1, max_size=300))
def test_picked_length_holds_all_but_the_longest_hundredth(lengths: list[int]) -> None:
    picked = pick_max_length(np.array(lengths))
    assert picked % 8 == 0
    assert 8 <= picked <= LONGEST_PICKED
    if picked < LONGEST_PICKED:
        assert sum(length > picked for length in lengths) <= len(lengths) / 100
    if picked > 8:  # and no more than needed
        assert sum(length > picked - 8 for length in lengths) > len(lengths) - math.ceil(0.99 * len(lengths))


def test_loader_fetches_whole_batches_without_a_loop_over_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = tensors_of([[5]] * 10, Layout(4))
    monkeypatch.setattr(type(tensors), "__getitem__", lambda *_: pytest.fail("fetched a single row"))
    loader = DataLoader(tensors, batch_size=4, collate_fn=lambda batch: batch)
    assert [batch["labels"].tolist() for batch in loader] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert tensors.token_ids.is_contiguous()
    assert tensors.token_ids.dtype == torch.int32


@pytest.mark.gpu
def test_batches_are_made_on_the_device_that_holds_the_texts() -> None:
    rows = [[5, 6, 7], [8], [9, 9, 9, 9, 9, 9]]
    tensors, moved = (tensors_of(rows, Layout(4, padding_side="left", trim=True)) for _ in range(2))
    assert moved.fits(torch.device("cuda"))
    moved.to(torch.device("cuda"))
    for name, tensor in moved.__getitems__([2, 0]).items():
        assert tensor.device.type == "cuda"
        assert torch.equal(tensor.cpu(), tensors.__getitems__([2, 0])[name])
