"""Texts to token ids with `tokenizers` alone, for the service as well, which never imports transformers."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from .errors import InputError

# B texts, L tokens of the longest.


def encode_batch(
    tokenizer: Tokenizer, texts: Sequence[str], max_length: int | None, truncation_side: str, *, offsets: bool = False
) -> list[Encoding]:
    """Encodings of the texts, each cut to `max_length` tokens, the tokenizer's own special tokens included.

    Raises `InputError` naming the first text that is no valid Unicode (a lone surrogate).
    """
    present = tokenizer.truncation
    if max_length is None:
        tokenizer.no_truncation()
    elif present is None or (present["max_length"], present["direction"]) != (max_length, truncation_side):
        tokenizer.enable_truncation(max_length, direction=truncation_side)
    encode = tokenizer.encode_batch if offsets else tokenizer.encode_batch_fast
    try:
        return encode(texts)
    except (UnicodeEncodeError, TypeError) as error:
        raise InputError(_first_invalid(texts)) from error


def right_padded(token_ids: Sequence[Sequence[int]]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Ids (B, L) with zeros after each text, and lengths (B,); no Python runs per token.

    >>> right_padded([[7, 8], [9]])[0].tolist()
    [[7, 8], [9, 0]]
    """
    lengths = np.fromiter(map(len, token_ids), dtype=np.int32, count=len(token_ids))  # (B,)
    padded = np.zeros((len(token_ids), lengths.max()), dtype=np.int32)  # (B, L)
    is_token = np.arange(padded.shape[1]) < lengths[:, None]  # (B, L)
    padded[is_token] = np.fromiter(chain.from_iterable(token_ids), dtype=np.int32, count=lengths.sum())
    return padded, lengths


def _first_invalid(texts: Sequence[object]) -> str:
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            return f"texts[{index}] must be a string, got {type(text).__name__}"
        try:
            text.encode()
        except UnicodeEncodeError as error:
            found = f"the lone surrogate {text[error.start]!r} at character {error.start}"
            return f"texts[{index}] must be valid Unicode, got {found}"
    return f"texts must be a list of strings, got {type(texts).__name__}"
