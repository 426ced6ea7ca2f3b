"""Copies of texts that only a teacher can label (Tang et al. 2019, arXiv:1903.12136)."""

import random
import re
from collections.abc import Callable, Sequence

MASKED_SHARE = 0.1  # of the words of a masked copy
_LONGEST_NGRAM = 5  # words of a sampled n-gram
_PIECE = re.compile(
    r"\s*(?:[\u3400-\u9fff\uf900-\ufaff]|[^\s\u3400-\u9fff\uf900-\ufaff]+)"
)  # a word or a Chinese character


def augment(texts: Sequence[str], copies: int, seed: int = 0) -> list[str]:
    """So many new texts of each text: words left out, an n-gram alone, or its start before another's end.

    The same texts and seed give the same copies; those that are empty, or among `texts` already, are left out.
    """
    draw = random.Random(seed)  # noqa: S311  (no secret)
    words = [_PIECE.findall(text) for text in texts]
    kinds: list[Callable[[list[str]], list[str]]] = [
        lambda own: [word for word in own if draw.random() >= MASKED_SHARE],
        lambda own: _ngram(own, draw),
        lambda own: _splice(own, words[draw.randrange(len(words))], draw),
    ]
    made = (draw.choice(kinds)(own) for _ in range(copies) for own in words if own)
    known = set(texts)
    return [text for text in dict.fromkeys("".join(words).strip() for words in made) if text and text not in known]


def _ngram(words: list[str], draw: random.Random) -> list[str]:
    size = draw.randint(1, min(_LONGEST_NGRAM, len(words)))
    start = draw.randint(0, len(words) - size)
    return words[start : start + size]


def _splice(own: list[str], other: list[str], draw: random.Random) -> list[str]:
    return own[: draw.randint(1, len(own))] + other[draw.randint(0, len(other)) :]
