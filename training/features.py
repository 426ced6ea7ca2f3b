"""Token ids to batches: an index-select and a mask, no Python loop over texts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from training.tokens import Tokens

# N texts, M tokens of all texts, B texts of a batch, T tokens of a row, V vocabulary.

COVERED_SHARE = 0.99  # of the training texts that the picked length holds uncut
LONGEST_PICKED = 512  # tokens; more only when told, since the longest text of a batch sets its width
_MOVED = ("token_ids", "starts", "excess", "labels")  # tensors that batches are made of
_CHUNK = 4096  # texts that are counted at a time
_MULTIPLE = 8  # tokens that the picked length is rounded up to


@dataclass(frozen=True)
class Layout:
    """How the token ids of a text become a row: the side of padding, and the cut to `max_length`.

    A cut keeps the special tokens at the end that survives, as the tokenizer's own truncation does.
    """

    max_length: int
    pad_token_id: int = 0
    padding_side: str = "right"
    truncation_side: str = "right"
    special_tokens_before: int = 0
    special_tokens_after: int = 0
    trim: bool = False  # whether a batch leaves out the columns that are padding in all its rows

    @property
    def head(self) -> int:
        """Tokens before the gap of a cut text."""
        if self.truncation_side == "left":
            return self.special_tokens_before
        return self.max_length - self.special_tokens_after


class TokenTensors(Dataset[dict[str, Tensor]]):
    """Texts as one tensor of token ids, with targets; `__getitems__` gives a whole batch at once.

    The tensors may be views of files. `to` puts them on the device that trains, where batches are then made.
    """

    def __init__(self, tokens: Tokens, labels: NDArray[np.generic], layout: Layout) -> None:
        lengths = torch.from_numpy(tokens.lengths)  # (N,)
        self.lengths = lengths.clamp(max=layout.max_length)  # (N,), on the CPU: they decide a batch's width
        self.token_ids = _tensor(tokens.token_ids) if len(tokens.token_ids) else torch.zeros(1, dtype=torch.int32)
        self.starts = lengths.cumsum(0) - lengths  # (N,)
        self.excess = lengths - self.lengths  # (N,), tokens that the cut takes
        self.labels = torch.from_numpy(labels)  # (N, ...)
        self.layout = layout
        self._cuts = bool(self.excess.any())

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: tensor[0] for name, tensor in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int] | Tensor) -> dict[str, Tensor]:
        """The rows at `indices`: `input_ids` and `attention_mask` (B, T), `labels` (B, ...)."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        lengths = self.lengths[chosen]  # (B,)
        width = int(lengths.max()) if self.layout.trim and len(chosen) else self.layout.max_length
        device = self.token_ids.device
        chosen = chosen.to(device, non_blocking=True)
        lengths = lengths.to(device, non_blocking=True)[:, None]  # (B, 1)
        position = torch.arange(width, device=device)  # (T,)
        if self.layout.padding_side == "left":
            position = position - (width - lengths)  # (B, T)
        is_token = (position >= 0) & (position < lengths)  # (B, T)
        source = self.starts[chosen][:, None] + position  # (B, T)
        if self._cuts:
            source = source + self.excess[chosen][:, None] * (position >= self.layout.head)
        input_ids = self.token_ids[source * is_token]  # (B, T)
        return {
            "input_ids": torch.where(is_token, input_ids, self.layout.pad_token_id),
            "attention_mask": is_token,
            "labels": self.labels[chosen],
        }

    def to(self, device: torch.device) -> None:
        """Move all that a batch is made of; the lengths stay on the CPU."""
        for name in _MOVED:
            setattr(self, name, getattr(self, name).to(device))

    def fits(self, device: torch.device) -> bool:
        """Whether it would leave the GPU most of its free memory."""
        size = sum(getattr(self, name).nbytes for name in _MOVED)
        return bool(size < torch.cuda.mem_get_info(device)[0] // 4)


def find_unseen(train: TokenTensors, vocab_size: int) -> NDArray[np.bool_]:
    """Which tokens no training text has (V,)."""
    unseen = np.ones(vocab_size, dtype=bool)
    for token_ids in train.token_ids.split(1 << 20):
        unseen[token_ids.cpu().numpy()] = False
    return unseen


def unseen_shares(texts: TokenTensors, unseen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The share of each text's tokens, cut as the network reads them, that no training text has (N,)."""
    is_unseen, shares = torch.from_numpy(unseen).to(texts.token_ids.device), [np.zeros(0)]
    for start in range(0, len(texts), _CHUNK):
        rows = texts.__getitems__(range(start, min(start + _CHUNK, len(texts))))
        is_token = rows["attention_mask"]  # (n, T)
        counts = (is_unseen[rows["input_ids"]] & is_token).sum(dim=1)
        shares.append((counts / is_token.sum(dim=1).clamp(min=1)).cpu().numpy())
    return np.concatenate(shares)


def _tensor(token_ids: NDArray[np.int32]) -> Tensor:
    """A copy in memory, but for what was mapped since it may not fit there."""
    return torch.from_numpy(token_ids) if isinstance(token_ids, np.memmap) else torch.tensor(token_ids)


def pick_max_length(lengths: NDArray[np.integer]) -> int:
    """Tokens that hold all but the longest hundredth of the texts, rounded up to a multiple of 8, at most 512."""
    covering = int(np.sort(lengths)[math.ceil(COVERED_SHARE * len(lengths)) - 1])
    return min(max(1, math.ceil(covering / _MULTIPLE)) * _MULTIPLE, LONGEST_PICKED)
