"""Copies of texts that only a teacher can label (Tang et al. 2019, arXiv:1903.12136; Jiao et al. 2020)."""

import random
import re
from collections.abc import Callable, Mapping, Sequence

MASKED_SHARE = 0.1  # of the words of a masked copy
REPLACED_SHARE = 0.2  # of the words of a copy with other words
_LONGEST_NGRAM = 5  # words of a sampled n-gram
_PIECE = re.compile(
    r"\s*(?:[\u3400-\u9fff\uf900-\ufaff]|[^\s\u3400-\u9fff\uf900-\ufaff]+)"
)  # a word or a Chinese character
_WORD = re.compile(r"[^\W\d_]+")


def augment(
    texts: Sequence[str], copies: int, alike: Mapping[str, Sequence[str]] | None = None, seed: int = 0
) -> list[str]:
    """So many new texts of each: words left out, an n-gram alone, its start before another's end, words like its own.

    `alike` holds the words that may stand for a word. The same texts and seed give the same copies; those that are
    empty, or among `texts` already, are left out.
    """
    draw = random.Random(seed)  # noqa: S311  (no secret)
    words = [_PIECE.findall(text) for text in texts]
    kinds: list[Callable[[list[str]], list[str]]] = [
        lambda own: [word for word in own if draw.random() >= MASKED_SHARE],
        lambda own: _ngram(own, draw),
        lambda own: _splice(own, words[draw.randrange(len(words))], draw),
        *([lambda own: _replace(own, alike, draw)] * 2 if alike else []),  # the only ones with words beyond the texts
    ]
    made = (draw.choice(kinds)(own) for _ in range(copies) for own in words if own)
    known = set(texts)
    return [text for text in dict.fromkeys("".join(words).strip() for words in made) if text and text not in known]


def words_of(texts: Sequence[str]) -> set[str]:
    """The words of letters that may be replaced."""
    return {word for text in texts for word in _WORD.findall(text)}


def _ngram(words: list[str], draw: random.Random) -> list[str]:
    size = draw.randint(1, min(_LONGEST_NGRAM, len(words)))
    start = draw.randint(0, len(words) - size)
    return words[start : start + size]


def _splice(own: list[str], other: list[str], draw: random.Random) -> list[str]:
    return (
        own[: draw.randint(1, len(own))] + other[draw.randint(1, max(1, len(other))) :]
    )  # the first has no space before it


def _replace(words: list[str], alike: Mapping[str, Sequence[str]], draw: random.Random) -> list[str]:
    def other(word: re.Match[str]) -> str:
        choices = alike.get(word[0])
        return draw.choice(choices) if choices and draw.random() < REPLACED_SHARE else word[0]

    return [_WORD.sub(other, word) for word in words]
