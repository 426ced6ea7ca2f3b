"""Texts to tensors: cut like the tokenizer cuts, padded like Keras pads, batched by one index-select."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import processors
from torch.utils.data import DataLoader

from model.tokenizer import encode_batch, train_tokenizer
from training.features import LONGEST_PICKED, Cut, pack, pick_max_length, tokenize

token_ids = st.lists(st.lists(st.integers(2, 99), max_size=9), min_size=1, max_size=9)
sides = st.sampled_from(["left", "right"])


@given(token_ids=token_ids, max_length=st.integers(1, 6), padding_side=sides, truncation_side=sides, data=st.data())
def test_a_batch_is_the_rows_asked_for(
    token_ids: list[list[int]], max_length: int, padding_side: str, truncation_side: str, data: st.DataObject
) -> None:
    tensors = pack(token_ids, np.arange(len(token_ids)), Cut(max_length, truncation_side), 0, padding_side)
    indices = data.draw(st.lists(st.integers(0, len(token_ids) - 1), min_size=1, max_size=5))
    batch = tensors.__getitems__(indices)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (len(indices), max_length)
    assert batch["labels"].tolist() == indices
    for row, index in enumerate(indices):
        ids = token_ids[index]
        kept = ids[-max_length:] if truncation_side == "left" else ids[:max_length]
        padding = [0] * (max_length - len(kept))
        is_token = [1] * len(kept)
        left = padding_side == "left"
        assert batch["input_ids"][row].tolist() == (padding + kept if left else kept + padding)
        assert batch["attention_mask"][row].int().tolist() == (padding + is_token if left else is_token + padding)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("max_length", [2, 3, 4, 5, 9])
def test_cut_keeps_what_the_tokenizer_keeps(side: str, max_length: int) -> None:
    tokenizer = train_tokenizer(["a b c d e f"], "word", 20)
    frame = processors.TemplateProcessing(single="[UNK] $A [UNK]", special_tokens=[("[UNK]", 1)])
    tokenizer.backend_tokenizer.post_processor = frame
    tokenizer.truncation_side = side
    texts = ["a b c d e f", "b", "f e d"]
    cut = Cut(max_length, side, special_tokens_before=1, special_tokens_after=1)
    assert [cut(ids) for ids in tokenize(tokenizer, texts)] == encode_batch(tokenizer, texts, max_length)


@given(st.lists(st.integers(0, 700), min_size=1, max_size=300))
def test_picked_length_holds_all_but_the_longest_hundredth(lengths: list[int]) -> None:
    picked = pick_max_length([[7] * length for length in lengths])
    assert picked % 8 == 0
    assert 8 <= picked <= LONGEST_PICKED
    if picked < LONGEST_PICKED:
        assert sum(length > picked for length in lengths) <= len(lengths) / 100
    if picked > 8:  # and no more than needed
        assert sum(length > picked - 8 for length in lengths) > len(lengths) - math.ceil(0.99 * len(lengths))


def test_loader_fetches_whole_batches_without_a_loop_over_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = pack([[5]] * 10, np.arange(10), Cut(4), 0, "right")
    monkeypatch.setattr(type(tensors), "__getitem__", lambda *_: pytest.fail("fetched a single row"))
    loader = DataLoader(tensors, batch_size=4, collate_fn=lambda batch: batch)
    assert [batch["labels"].tolist() for batch in loader] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert tensors.input_ids.is_contiguous()
    assert tensors.input_ids.dtype == torch.int32
