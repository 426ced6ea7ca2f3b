"""Texts to token ids with `tokenizers` alone, for the service as well, which never imports transformers."""

from collections.abc import Sequence

from tokenizers import Encoding, Tokenizer

from .errors import InputError


def encode_batch(
    tokenizer: Tokenizer, texts: Sequence[str], max_length: int | None, truncation_side: str, *, offsets: bool = False
) -> list[Encoding]:
    """Encodings of the texts, each cut to `max_length` tokens, the tokenizer's own special tokens included.

    Raises `InputError` naming the first text that is no valid Unicode (a lone surrogate).
    """
    present = tokenizer.truncation and (tokenizer.truncation["max_length"], tokenizer.truncation["direction"])
    if max_length is None:
        tokenizer.no_truncation()
    elif present != (max_length, truncation_side):
        tokenizer.enable_truncation(max_length, direction=truncation_side)
    encode = tokenizer.encode_batch if offsets else tokenizer.encode_batch_fast
    try:
        return encode(texts)
    except (UnicodeEncodeError, TypeError) as error:
        raise InputError(_first_invalid(texts)) from error


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
