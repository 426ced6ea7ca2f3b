"""Texts with typing mistakes, the same ones for the same seed."""

import random
import re
import string

_WORD = re.compile(r"[A-Za-z]{2,}")


def with_typos(text: str, share: float, draw: random.Random) -> tuple[str, int, int]:
    """The text with one mistake in about `share` of its words; how many words that changed, and how many there are.

    A word is two or more Latin letters on end. A mistake swaps two neighbouring letters, leaves a letter out, doubles
    one or takes another one for it, each as often.

    >>> with_typos("where is my parcel", 1.0, random.Random(1))
    ('wwhere us ym partel', 4, 4)
    """
    words = changed = 0

    def maybe_mistyped(match: re.Match[str]) -> str:
        nonlocal words, changed
        word = match[0]
        words += 1
        if draw.random() >= share:
            return word
        wrong = _mistyped(word, draw)
        changed += wrong != word
        return wrong

    return _WORD.sub(maybe_mistyped, text), changed, words


def _mistyped(word: str, draw: random.Random) -> str:
    place = draw.randrange(len(word) - 1)
    before, letter, following, after = word[:place], word[place], word[place + 1], word[place + 2 :]
    match draw.randrange(4):
        case 0:
            return before + following + letter + after
        case 1:
            return before + following + after
        case 2:
            return before + letter + letter + following + after
    return before + draw.choice(string.ascii_lowercase) + following + after
