"""Hypothesis strategies, named by the axes of what they make."""

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

from model.bigrams_textcnn import Bigrams
from model.network_textcnn import TextCnn, TextCnnShape

VOCABULARY = 23  # V; id 0 is padding
CLASSES = 3  # C


def token_lists(max_tokens: int = 12) -> st.SearchStrategy[list[int]]:
    """Token ids of one text, none at all included."""
    return st.lists(st.integers(1, VOCABULARY - 1), max_size=max_tokens)


def batches(max_texts: int = 5, max_tokens: int = 12) -> st.SearchStrategy[list[list[int]]]:
    """Token ids of B texts."""
    return st.lists(token_lists(max_tokens), min_size=1, max_size=max_texts)


@st.composite
def shapes(draw: st.DrawFn) -> TextCnnShape:
    """Small networks over every Conv1d option."""
    padding = draw(st.one_of(st.integers(0, 6), st.sampled_from(["same", "valid"])))
    shape = TextCnnShape(
        vocab_size=VOCABULARY,
        embedding_dim=4,
        embedding_mode=draw(st.sampled_from(["random", "multichannel"])),
        kernel_sizes=draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)),
        num_filters=6,
        stride=1 if padding == "same" else draw(st.integers(1, 3)),
        padding=padding,
        dilation=draw(st.integers(1, 3)),
        groups=draw(st.sampled_from([1, 2])),
        bias=draw(st.booleans()),
        num_bigrams=draw(st.sampled_from([0, 7, 300])),
        max_length=40,
        calibration_temperature=draw(st.sampled_from([1.0, 0.5, 3.0])),
    )
    shape.check()
    return shape


@dataclass(frozen=True)
class PaddedBatch:
    """Ids and mask (B, T) of texts, each with padding of its own on both sides."""

    input_ids: Tensor
    attention_mask: Tensor


def pad(texts: list[list[int]], before: list[int], width: int) -> PaddedBatch:
    """Texts placed in rows of `width` tokens, the i-th after `before[i]` tokens of padding."""
    input_ids = torch.zeros(len(texts), width, dtype=torch.long)
    attention_mask = torch.zeros_like(input_ids)
    for row, (tokens, start) in enumerate(zip(texts, before, strict=True)):
        input_ids[row, start : start + len(tokens)] = torch.tensor(tokens, dtype=torch.long)
        attention_mask[row, start : start + len(tokens)] = 1
    return PaddedBatch(input_ids, attention_mask)


def build_network(shape: TextCnnShape, seed: int = 0) -> TextCnn:
    """A network of that shape in evaluation mode, its weights drawn from `seed`."""
    torch.manual_seed(seed)
    network = TextCnn(shape, CLASSES).eval().requires_grad_(False)
    if network.bigrams is not None:
        fill_bigrams(network.bigrams, shape.vocab_size)
    return network


@torch.no_grad()
def fill_bigrams(bigrams: Bigrams, vocab_size: int) -> None:
    """Pairs and weights for a linear part, which starts without any."""
    pairs = torch.randperm(vocab_size**2)[: bigrams.num_bigrams]
    bigrams.known[:-1] = pairs.sort().values
    bigrams.weight[:-1].normal_()
