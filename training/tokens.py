"""Texts to token ids: tokenized once by `datasets.map`, found again by fingerprint, never held as Python lists."""

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import tokenizers
from numpy.typing import NDArray
from pyarrow import compute
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Normalizer
from transformers import PreTrainedTokenizerFast

from model.tokenizer import encode_batch, train_tokenizer
from training.stored import StoredColumn, writing

# N texts, M tokens of all texts together.

_BATCH = 1000  # texts that are tokenized and written at a time


@dataclass(frozen=True)
class Tokens:
    """Token ids of texts, uncut, one text after the other."""

    token_ids: NDArray[np.int32]  # (M,)
    lengths: NDArray[np.int64]  # (N,)

    def share_of(self, token_id: int | None) -> float:
        """How much of all tokens is this one."""
        if token_id is None or not len(self.token_ids):
            return 0.0
        return np.count_nonzero(self.token_ids == token_id) / len(self.token_ids)


@dataclass(frozen=True)
class TokenCache:
    """Where token ids are kept from one training to the next, and how new ones are made."""

    folder: Path
    overwrite: bool = False
    processes: int | None = None

    def learn(
        self,
        texts: Sequence[str],
        kind: str,
        vocab_size: int,
        min_frequency: int,
        normalizer: Normalizer,
        add_special_tokens: bool,
    ) -> PreTrainedTokenizerFast:
        """The tokenizer that `train_tokenizer` learns, from the cache if it was learnt from the same texts before."""
        empty = Tokenizer(WordLevel())
        empty.normalizer = normalizer
        asked = f"{kind} {vocab_size} {min_frequency} {add_special_tokens} {tokenizers.__version__} {empty.to_str()}"
        arrays = texts.chunks if isinstance(texts, StoredColumn) else [pyarrow.array(texts, pyarrow.large_string())]
        folder = self.folder / f"tokenizer-{_digest(asked, *arrays)}"
        if self.overwrite or not folder.is_dir():
            tokenizer = train_tokenizer(texts, kind, vocab_size, min_frequency, normalizer, add_special_tokens)
            with writing(self.folder), tempfile.TemporaryDirectory(dir=self.folder) as beside:
                tokenizer.save_pretrained(whole := Path(beside) / folder.name)
                shutil.rmtree(folder, ignore_errors=True)
                try:
                    whole.rename(folder)
                except OSError:
                    if not folder.is_dir():  # else another training was first, with the same
                        raise
        loaded: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
        return loaded

    def tokenize(self, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> Tokens:
        """Token ids of the texts, from the cache if the same texts met the same tokenizer before.

        Raises `InputError` when the folder cannot be written.
        """
        import datasets  # two seconds of imports that no mistake in the data should wait for

        (datasets.enable_progress_bars if sys.stderr.isatty() else datasets.disable_progress_bars)()
        stored = texts if isinstance(texts, StoredColumn) else None
        split = datasets.Dataset.from_dict({"text": texts}) if stored is None else stored.dataset()
        fingerprint = _digest(tokenizer.backend_tokenizer.to_str(), *split.data.table["text"].chunks)
        with writing(self.folder):
            tokenized = split.map(
                _Tokenize(tokenizer),
                batched=True,
                batch_size=_BATCH,
                num_proc=self.processes,
                remove_columns="text",
                cache_file_name=str(self.folder / f"tokens-{fingerprint}.arrow"),
                load_from_cache_file=not self.overwrite,
                new_fingerprint=fingerprint,
                desc="tokenize",
            )
            column = tokenized.data.table["token_ids"]
            if stored is not None:
                return self._mapped(column, self.folder / f"tokens-{fingerprint}.ids")
        column = column.combine_chunks()
        return Tokens(column.flatten().to_numpy(), column.value_lengths().to_numpy().astype(np.int64))

    def _mapped(self, column: Any, path: Path) -> Tokens:
        """The column as one array that stays on the disk, whatever its size."""
        if self.overwrite or not path.is_file():
            with tempfile.TemporaryDirectory(dir=self.folder) as beside:
                whole = Path(beside) / path.name
                with whole.open("wb") as file:
                    for chunk in column.chunks:
                        chunk.flatten().to_numpy().tofile(file)
                whole.rename(path)
        lengths = compute.list_value_length(column).to_numpy().astype(np.int64)
        return Tokens(np.memmap(path, np.int32, "c"), lengths)


class _Tokenize:
    """The function that `map` calls, in this process or in others."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer

    def __call__(self, batch: dict[str, list[str]]) -> Any:
        """A table of token ids: Arrow's arrays are made without a Python object for each list."""
        rows = encode_batch(self._tokenizer, batch["text"])
        offsets = np.cumsum([0, *map(len, rows)], dtype=np.int32)
        token_ids = np.fromiter(chain.from_iterable(rows), dtype=np.int32, count=offsets[-1])
        lists = pyarrow.ListArray.from_arrays(pyarrow.array(offsets), pyarrow.array(token_ids))
        return pyarrow.table({"token_ids": lists})


def _digest(head: str, *columns: Any) -> str:
    """A name for the head and all bytes of the arrays."""
    digest = hashlib.sha256(head.encode())
    for column in columns:
        for buffer in column.buffers():
            digest.update(b"" if buffer is None else buffer)
    return digest.hexdigest()[:32]
