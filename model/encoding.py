"""Texts to token ids with `tokenizers` alone, for the service as well, which never imports transformers."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from .errors import InputError

Result = TypeVar("Result")
_local = threading.local()

# B texts, L tokens of the longest.


def encode_batch(
    tokenizer: Tokenizer, texts: Sequence[str], max_length: int | None, truncation_side: str, *, offsets: bool = False
) -> list[Encoding]:
    """Encodings of the texts, each cut to `max_length` tokens, the tokenizer's own special tokens included.

    Raises `InputError` naming the first text that is no valid Unicode (a lone surrogate).
    """
    truncate(tokenizer, max_length, truncation_side)
    return encode(tokenizer, texts, offsets=offsets)


def truncate(tokenizer: Tokenizer, max_length: int | None, side: str) -> None:
    """Have the tokenizer cut what it encodes from now on."""
    present = tokenizer.truncation
    if max_length is None:
        tokenizer.no_truncation()
    elif present is None or (present["max_length"], present["direction"]) != (max_length, side):
        tokenizer.enable_truncation(max_length, direction=side)


def encode(tokenizer: Tokenizer, texts: Sequence[str], *, offsets: bool = False, first: int = 0) -> list[Encoding]:
    """Encodings of the texts, cut as the tokenizer was told to.

    Raises `InputError` for a text that is none, counted from `first`.
    """
    run = tokenizer.encode_batch if offsets else tokenizer.encode_batch_fast
    if not all(isinstance(text, str) for text in texts):  # `tokenizers` would take two strings for a pair of texts
        raise InputError(_first_invalid(texts, first))
    try:
        return run(texts)
    except (UnicodeEncodeError, TypeError) as error:
        raise InputError(_first_invalid(texts, first)) from error


def right_padded(token_ids: Sequence[Sequence[int]]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Ids (B, L) with zeros after each text, and lengths (B,).

    >>> right_padded([[7, 8], [9]])[0].tolist()
    [[7, 8], [9, 0]]
    """
    padded = np.zeros((len(token_ids), 1 + max(map(len, token_ids))), dtype=np.int32)  # (B, 1 + L)
    fill(padded, token_ids)
    return padded[:, 1:], padded[:, 0]


def fill(buffer: NDArray[np.int32], token_ids: Sequence[Sequence[int]]) -> None:
    """Write length and ids of each text to a row of `buffer` (B, 1 + L); further rows become empty texts.

    What stood behind a text stays there. No Python runs per token.

    >>> buffer = np.zeros((3, 4), dtype=np.int32)
    >>> fill(buffer, [[7, 8], [9]])
    >>> buffer.tolist()
    [[2, 7, 8, 0], [1, 9, 0, 0], [0, 0, 0, 0]]
    """
    lengths = np.fromiter(map(len, token_ids), dtype=np.int32, count=len(token_ids))  # (B,)
    texts = len(token_ids)
    buffer[:texts, 0], buffer[texts:, 0] = lengths, 0
    is_token = np.arange(buffer.shape[1] - 1) < lengths[:, None]  # (B, L)
    buffer[:texts, 1:][is_token] = np.fromiter(chain.from_iterable(token_ids), dtype=np.int32, count=lengths.sum())


def shared(function: Callable[[int], Result], items: range) -> Iterator[Result]:
    """The results of `function` for the items in order, those of every second item made by the companion.

    >>> list(shared(abs, range(-3, 2)))
    [3, 2, 1, 0, 1]
    """
    others = companion().map(function, items[1::2])
    for item in items[::2]:
        yield function(item)
        yield from islice(others, 1)


def companion() -> ThreadPoolExecutor:
    """The one thread that works beside the present one, kept from call to call: it starts in 0.2 ms."""
    if getattr(_local, "process", None) != os.getpid():  # no thread survives a fork
        _local.process, _local.executor = os.getpid(), ThreadPoolExecutor(1, "companion")
    executor: ThreadPoolExecutor = _local.executor
    return executor


def use_threads(count: int) -> None:
    """Have `tokenizers` encode on so many threads; to be called before it has encoded a first batch."""
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if count > 1 else "false"
    os.environ["RAYON_NUM_THREADS"] = str(count)


def _first_invalid(texts: Sequence[object], first: int) -> str:
    for index, text in enumerate(texts, first):
        if not isinstance(text, str):
            return f"texts[{index}] must be a string, got {type(text).__name__}"
        try:
            text.encode()
        except UnicodeEncodeError as error:
            found = f"the lone surrogate {text[error.start]!r} at character {error.start}"
            return f"texts[{index}] must be valid Unicode, got {found}"
    return f"texts must be a list of strings, got {type(texts).__name__}"
