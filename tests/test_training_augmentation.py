"""The texts that a teacher labels beside the training texts: copies, some with words that are alike."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.decoders import Metaspace

from model.tokenizer import train_tokenizer
from tests.teachers import TEXTS
from training.augmentation import augment, words_of
from training.neighbours import NEAREST, neighbours


@given(st.lists(st.text("ab 退款", min_size=1, max_size=12), min_size=1, max_size=5), st.integers(0, 4))
def test_copies_are_new_texts_of_known_words(texts: list[str], copies: int) -> None:
    made = augment(texts, copies, seed=1)
    assert made == augment(texts, copies, seed=1)
    assert len(made) == len(set(made)) <= copies * len(texts)
    assert not set(made) & set(texts)
    words = set(re.findall(r"[退款]|[ab]+", " ".join(texts)))
    for text in made:
        assert text == text.strip() != ""
        assert len(text.split()) <= sum(len(own.split()) for own in texts) * 2
        assert set(re.sub(r"[ab]+", "", text)) <= {" ", *words} | {""}


def test_a_word_is_replaced_by_one_that_is_like_it() -> None:
    made = augment(["good film, 7 good parts"], 200, {"good": ["fine", "great"], "plot": ["story"]})
    words = {word for text in made for word in re.findall("[a-z]+", text)}
    assert words == {"good", "fine", "great", "film", "parts"}
    assert "good film, 7 great parts" in made
    assert words_of(["good film, 7 good"]) == {"good", "film"}


@pytest.mark.parametrize("kind", ["word", "wordpiece", "bpe"])
def test_words_are_alike_by_their_embeddings(kind: str) -> None:
    tokenizer = train_tokenizer(TEXTS, kind, 200)
    if kind == "bpe":
        tokenizer.backend_tokenizer.decoder = Metaspace()  # pretrained ones bring theirs

    def is_single(word: str) -> bool:
        return word.isalpha() and len(tokenizer(f" {word}").input_ids) == 1

    one, other = sorted({word for text in TEXTS for word in text.split() if is_single(word)})[:2]
    ids = [tokenizer(f" {word}").input_ids[0] for word in (one, other)]
    table = torch.randn(len(tokenizer), 64, generator=torch.Generator().manual_seed(0))
    table[ids[1]] = table[ids[0]] + 0.01
    found = neighbours([one, "un heard of", "7"], tokenizer, table)
    assert list(found) == [one]
    assert found[one][0] == other
    assert one not in found[one]
    assert 1 < len(found[one]) <= NEAREST
    assert all(is_single(word) for word in found[one])
