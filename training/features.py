"""Texts to tensors: tokenised once, all at one length, so that a batch is an index-select."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from model.padding import pad_sequences
from model.tokenizer import encode_batch

# N texts, B texts of a batch, T tokens.

COVERED_SHARE = 0.99  # of the training texts that the picked length holds uncut
LONGEST_PICKED = 512  # tokens; more only when told, since every text is padded to it
_MULTIPLE = 8  # tokens that the picked length is rounded up to


class TokenTensors(Dataset[dict[str, Tensor]]):
    """Token ids (N, T) with targets; `__getitems__` gives a whole batch without a Python loop over its texts.

    With `trim`, a batch leaves out the columns that are padding in all its rows: less work, the same logits.
    """

    def __init__(
        self, input_ids: Tensor, lengths: Tensor, labels: Tensor, padding_side: str, trim: bool = False
    ) -> None:
        self.input_ids = input_ids  # (N, T) int32
        self.lengths = lengths  # (N,)
        self.labels = labels  # (N, ...)
        position = torch.arange(input_ids.shape[1])  # (T,)
        self._left = padding_side == "left"
        self._position = position.flip(0) if self._left else position
        self._trim = trim

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: tensor[0] for name, tensor in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """The rows at `indices`: `input_ids` and `attention_mask` (B, T), `labels` (B, ...)."""
        chosen = torch.as_tensor(indices)
        lengths = self.lengths[chosen]  # (B,)
        width = int(lengths.max()) if self._trim else len(self._position)
        columns = slice(len(self._position) - width, None) if self._left else slice(width)
        return {
            "input_ids": self.input_ids[:, columns][chosen],
            "attention_mask": self._position[columns] < lengths[:, None],
            "labels": self.labels[chosen],
        }


@dataclass(frozen=True)
class Cut:
    """How token ids are cut to `max_length`: special tokens at the surviving end stay."""

    max_length: int
    truncation_side: str = "right"
    special_tokens_before: int = 0
    special_tokens_after: int = 0

    def __call__(self, token_ids: list[int]) -> list[int]:
        """The ids themselves when they fit, else `max_length` of them."""
        excess = len(token_ids) - self.max_length
        if excess <= 0:
            return token_ids
        if self.truncation_side == "left":
            return token_ids[: self.special_tokens_before] + token_ids[self.special_tokens_before + excess :]
        kept = self.max_length - self.special_tokens_after
        return token_ids[:kept] + token_ids[kept + excess :]


def tokenize(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, uncut."""
    return encode_batch(tokenizer, texts, None)


def pick_max_length(token_ids: Sequence[Sequence[int]]) -> int:
    """Tokens that hold all but the longest hundredth of the texts, rounded up to a multiple of 8, at most 512."""
    lengths = sorted(map(len, token_ids))
    covering = lengths[math.ceil(COVERED_SHARE * len(lengths)) - 1]
    return min(max(1, math.ceil(covering / _MULTIPLE)) * _MULTIPLE, LONGEST_PICKED)


def pack(
    token_ids: Sequence[list[int]],
    targets: np.ndarray,
    cut: Cut,
    pad_token_id: int,
    padding_side: str,
    trim: bool = False,
) -> TokenTensors:
    """Tensors of the cut and padded ids with their targets."""
    kept = [cut(ids) for ids in token_ids]
    side = "pre" if padding_side == "left" else "post"
    padded = pad_sequences(kept, cut.max_length, dtype="int32", padding=side, value=pad_token_id)
    lengths = torch.tensor([len(ids) for ids in kept])
    return TokenTensors(torch.from_numpy(padded), lengths, torch.from_numpy(targets), padding_side, trim)
