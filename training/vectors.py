"""Vectors of others: files of word2vec (text, binary), GloVe and fastText (`.vec`), or a transformer's input table."""

import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.errors import InputError, named
from model.files import ending, is_gzip
from model.tokenizer import PAD_TOKEN, UNKNOWN_TOKEN
from training.tokens import Tokens

# V tokens of the vocabulary, D channels.

DEVIATION = 0.3  # of embeddings that start from vectors: a step of Adam moves small numbers too far
_LONGEST_WORD = 10_000  # bytes; what has no space for so long is no binary file of word2vec
_PIECE = 1 << 20  # tokens that are looked up at a time
_Entry = tuple[str, NDArray[np.float32]]  # a word and its vector


@dataclass(frozen=True)
class Vectors:
    """Vectors (V, D) of the tokens of a vocabulary, and which of them were found."""

    source: str
    table: Tensor  # (V, D), zeros where none was found
    found: Tensor  # (V,)

    @torch.no_grad()
    def fill(self, embedding: Tensor) -> None:
        """Put the vectors into `embedding` (V, D), scaled to `DEVIATION`; tokens without one get noise (Kim 2014).

        Raises `InputError` where all of their numbers are the same, which no scale makes different.
        """
        embedding.normal_(std=DEVIATION)
        found = self.table[self.found]
        if found.min() == found.max():
            raise InputError(f"vectors: the numbers of {self.source!r} must differ, got {found.max():g} for each")
        embedding[self.found] = found * (DEVIATION / found.std(correction=0))

    def coverage(self, tokens: Tokens) -> dict[str, float | str]:
        """Shares of the vocabulary and of the running tokens that have a vector."""
        found, token_ids = self.found.numpy(), tokens.token_ids
        pieces = (token_ids[start : start + _PIECE] for start in range(0, len(token_ids), _PIECE))
        covered = sum(int(np.count_nonzero(found[piece])) for piece in pieces)
        return {
            "source": self.source,
            "vocabulary_covered": float(self.found.float().mean()),
            "tokens_covered": covered / max(1, len(token_ids)),
        }


def read_vectors(path: Path, vocabulary: Sequence[str]) -> Vectors:
    """The vectors of a file for the tokens of a vocabulary; all others are skipped as they are read.

    A token that the file has in another case only (its words are cased, the tokenizer is not) gets the vector of the
    first such word, which is the most frequent one. Raises `InputError` for a file that is no such file, or that
    knows none of the tokens.
    """
    tokens = {token: row for row, token in enumerate(vocabulary) if token not in (PAD_TOKEN, UNKNOWN_TOKEN)}
    by_lower: dict[str, list[int]] = {}
    for token, row in tokens.items():
        by_lower.setdefault(token.lower(), []).append(row)
    exact: dict[int, NDArray[np.float32]] = {}
    other_case: dict[int, NDArray[np.float32]] = {}
    for word, vector in _entries(path, by_lower):
        if word in tokens:
            exact.setdefault(tokens[word], vector)
        for row in by_lower[word.lower()]:
            other_case.setdefault(row, vector)
    rows = other_case | exact
    if not rows:
        raise InputError(f"vectors: {str(path)!r} has a vector for none of the {len(tokens)} tokens of the vocabulary")
    dimension = len(next(iter(rows.values())))
    table = torch.zeros(len(vocabulary), dimension)
    found = torch.tensor(sorted(rows))
    table[found] = torch.from_numpy(np.stack([rows[int(row)] for row in found]))
    is_found = torch.zeros(len(vocabulary), dtype=torch.bool)
    is_found[found] = True
    return Vectors(str(path), table, is_found)


def read_transformer(name_or_folder: str, vocabulary_size: int) -> Vectors:
    """The input embeddings of a transformer; raises `InputError` when there is none of that name."""
    from transformers import AutoModel

    kinds = "a file of word vectors, or a folder or hub name of a transformer"
    with named(f"vectors must be {kinds}, got {name_or_folder!r}"):
        network = AutoModel.from_pretrained(name_or_folder, trust_remote_code=False)
    weight = network.get_input_embeddings().weight.detach().float()[:vocabulary_size]
    table = torch.zeros(vocabulary_size, weight.shape[1])
    table[: len(weight)] = weight
    return Vectors(name_or_folder, table, torch.arange(vocabulary_size) < len(weight))


def _entries(path: Path, wanted: dict[str, list[int]]) -> Iterator[_Entry]:
    """The words of the file that are `wanted` in lower case, with their vectors; nothing else is kept or parsed."""
    parse = _binary if ending(path) == ".bin" else _text
    try:
        with io.BufferedReader(gzip.open(path)) if is_gzip(path) else path.open("rb") as file:
            yield from parse(str(path), file, wanted)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"vectors: {str(path)!r} cannot be read: {error}") from error


def _text(source: str, file: BinaryIO, wanted: dict[str, list[int]]) -> Iterator[_Entry]:
    """Lines of a word and its numbers, with or without a first line of rows and dimension."""
    first = file.readline()
    fields = first.split()
    has_header = len(fields) == 2 and all(field.isdigit() for field in fields)
    dimension = int(fields[1]) if has_header else len(fields) - 1
    if dimension < 1:
        raise InputError(f"vectors: {source!r} must begin with a word and its numbers, got {first[:40]!r}")
    for number, line in enumerate(file if has_header else _with(first, file), 2 if has_header else 1):
        word_bytes, _, rest = line.partition(b" ")
        word = word_bytes.decode("utf-8", errors="replace")
        numbers = rest.split() if word.lower() in wanted else []
        if not numbers or len(numbers) > dimension:  # GloVe has words with spaces, as no token is
            continue
        try:
            vector = np.array(numbers, dtype=np.float32)
        except ValueError:
            vector = np.empty(0, dtype=np.float32)
        yield word, _checked(vector, dimension, f"{source}, line {number}")


def _binary(source: str, file: BinaryIO, wanted: dict[str, list[int]]) -> Iterator[_Entry]:
    """word2vec's binary form: a line of rows and dimension, then for each word itself, a space and its floats."""
    fields = file.readline(_LONGEST_WORD).split()
    if len(fields) != 2 or not all(field.isdigit() for field in fields):
        raise InputError(
            f"vectors: {source!r} must begin with the numbers of rows and dimensions; a model of fastText "
            "is no such file, its .vec file is"
        )
    rows, dimension = map(int, fields)
    for number in range(1, rows + 1):
        word = _until_space(file).lstrip(b"\n").decode("utf-8", errors="replace")
        content = file.read(4 * dimension)
        if len(content) < 4 * dimension:
            raise InputError(f"vectors: {source!r} ends within row {number} of {rows}")
        if word.lower() in wanted:
            yield word, _checked(np.frombuffer(content, dtype="<f4"), dimension, f"{source}, row {number}")


def _until_space(file: BinaryIO) -> bytes:
    word = bytearray()
    while (byte := file.read(1)) not in (b" ", b"") and len(word) < _LONGEST_WORD:
        word += byte
    return bytes(word)


def _checked(vector: NDArray[np.float32], dimension: int, place: str) -> NDArray[np.float32]:
    if len(vector) != dimension or not np.isfinite(vector).all():
        raise InputError(f"vectors: {place}: must be a word and {dimension} finite numbers")
    return vector


def _with(first: bytes, rest: BinaryIO) -> Iterator[bytes]:
    yield first
    yield from rest
