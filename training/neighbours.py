"""Words that a transformer takes for alike: near each other among its input embeddings (Jiao et al. 2020)."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

# V tokens of the vocabulary, U words that are one token, D channels.

NEAREST = 15  # as in Jiao et al. 2020, arXiv:1909.10351
_PIECE = 2048  # words that are compared with all others at a time


@torch.inference_mode()
def neighbours(words: Iterable[str], tokenizer: Any, table: Tensor) -> dict[str, list[str]]:
    """The words nearest to each by the cosine of their rows in `table` (V, D), itself excluded.

    Only words of letters that are a single token have any, and are any.
    """
    whole = _whole_words(tokenizer)
    ids = torch.tensor(sorted(whole))  # (U,)
    rows = functional.normalize(table[ids].float() - table.float().mean(dim=0), dim=1)  # (U, D)
    place = {int(token): row for row, token in enumerate(ids)}
    known = {word: place[token] for word, token in _single(tokenizer, words).items() if token in place}
    found: dict[str, list[str]] = {}
    for piece in _pieces(list(known.items())):
        likeness = rows[[row for _, row in piece]] @ rows.T  # (B, U)
        nearest = likeness.topk(min(NEAREST + 1, len(ids)), dim=1).indices  # (B, 16)
        for (word, row), others in zip(piece, nearest.tolist(), strict=True):
            found[word] = [whole[int(ids[other])] for other in others if other != row]
    return found


def _whole_words(tokenizer: Any) -> dict[int, str]:
    """The tokens that are words of letters, as they stand in a text."""
    spelt = {
        index: tokenizer.convert_tokens_to_string([token]).strip() for token, index in tokenizer.get_vocab().items()
    }
    single = _single(tokenizer, spelt.values())
    return {index: word for index, word in spelt.items() if single.get(word) == index}


def _single(tokenizer: Any, words: Iterable[str]) -> dict[str, int]:
    """The token of each word of letters that is one token."""
    letters = [word for word in dict.fromkeys(words) if word.isalpha()]
    within = [f" {word}" for word in letters]  # a word at the start of a text is another token to some
    encoded = tokenizer(within, add_special_tokens=False)["input_ids"] if letters else []
    return {word: ids[0] for word, ids in zip(letters, encoded, strict=True) if len(ids) == 1}


def _pieces(items: list[Any]) -> Iterable[list[Any]]:
    return (items[start : start + _PIECE] for start in range(0, len(items), _PIECE))
