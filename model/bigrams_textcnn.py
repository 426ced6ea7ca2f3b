"""The linear part of a text CNN: what each token, and each pair of neighbours, says for the classes by itself.

Filters and their maxima see that something occurs, this part how much of everything does: a bag of words and bigrams,
as in Wang & Manning 2012 (ACL P12-2018) and Joulin et al. 2017 (arXiv:1607.01759). Pairs share rows by a hash.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

MULTIPLIER = 1_000_003  # of the first token of a pair, in its hash
SHORT = 64  # tokens of a text that is looked up without arrays

# B texts, L tokens, P = L + 1 pairs of a text, V vocabulary, C classes.

Ids = TypeVar("Ids", Tensor, NDArray[np.int64])


class Bigrams(nn.Module):
    """Logits of the rows of a text's tokens and pairs: their sum / sqrt(their number).

    A boundary stands before the first token and after the last one, so a text of L tokens has P = L + 1 pairs, and the
    second of each pair is a token or the boundary at the end: two rows for each pair.

    >>> Bigrams(vocab_size=9, buckets=20, boundary=0, num_labels=3).on_host()([[5, 6, 7], []]).shape
    (2, 3)
    """

    def __init__(self, vocab_size: int, buckets: int, boundary: int, num_labels: int) -> None:
        super().__init__()
        self.buckets = buckets
        self._vocab_size, self._boundary = vocab_size, boundary
        self.weight = nn.Parameter(torch.zeros(vocab_size + buckets, num_labels))

    def forward(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """Logits (B, C) of the first `lengths` (B,) ids of each row of `input_ids` (B, L)."""
        rows, is_pair = self.rows(input_ids, lengths)
        given = functional.embedding(rows, self.weight).sum(dim=2) * is_pair[..., None]  # (B, P, C)
        return given.sum(dim=1) / (2 * (lengths[:, None] + 1)).sqrt()

    def rows(self, input_ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of each pair (B, P, 2), and which pairs are of the text (B, P)."""
        position = torch.arange(input_ids.shape[1] + 1, device=lengths.device)  # (P,)
        is_token = position[:-1] < lengths[:, None]  # (B, L)
        tokens = input_ids.long().masked_fill(~is_token, self._boundary)
        tokens = functional.pad(tokens, (1, 1), value=self._boundary)  # (B, L + 2)
        rows = torch.stack([tokens[:, 1:], self._bucket(tokens[:, :-1], tokens[:, 1:])], dim=2)
        return rows, position <= lengths[:, None]

    def on_host(self, scale: float = 1.0) -> Callable[[Sequence[Sequence[int]]], NDArray[np.float32]]:
        """A function of the token ids of B texts that gives `scale` times their logits (B, C), on the CPU.

        It reads the present weights. One short text stays out of torch, whose calls would take most of the time.
        """
        weight = self.weight.detach()
        table: NDArray[np.float32] = weight.numpy()  # (V + buckets, C)

        def logits(token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
            sums: NDArray[np.float32]
            if len(token_ids) == 1 and len(token_ids[0]) <= SHORT:
                rows = self._text_rows(token_ids[0])
                sums = np.add.reduce(table.take(rows, axis=0))
                return sums[None] * (scale / math.sqrt(len(rows)))
            stream = [self._boundary]
            for ids in token_ids:
                stream += ids
                stream.append(self._boundary)
            tokens = np.array(stream, dtype=np.int64)
            pairs = self._bucket(tokens[:-1], tokens[1:])  # (P of all texts,)
            counts = np.array([2 * len(ids) + 2 for ids in token_ids])  # (B,), rows
            indices = torch.from_numpy(np.stack([tokens[1:], pairs], axis=1).ravel())
            sums = torch.embedding_bag(weight, indices, torch.from_numpy(counts.cumsum() - counts))[0].numpy()
            sums *= (scale / np.sqrt(counts, dtype=np.float32))[:, None]
            return sums

        return logits

    def _text_rows(self, token_ids: Sequence[int]) -> list[int]:
        """`rows` of one text (P * 2), number by number: calls on arrays cost more than so few numbers."""
        first, buckets, vocab_size = self._boundary, self.buckets, self._vocab_size
        rows: list[int] = []
        for second in [*token_ids, self._boundary]:
            rows.append(second)
            rows.append((first * MULTIPLIER + second) % buckets + vocab_size)
            first = second
        return rows

    def terms(self, token_ids: Sequence[int], label: int) -> Tensor:
        """What each pair of one text adds to the logit of a label (P, 2): its second token, and the pair itself."""
        device = self.weight.device
        ids, lengths = torch.tensor([token_ids], dtype=torch.long, device=device), torch.tensor([len(token_ids)])
        rows = self.rows(ids, lengths.to(device))[0][0]  # (P, 2)
        added: Tensor = self.weight[rows, label].float() / rows.numel() ** 0.5
        return added

    def _bucket(self, first: Ids, second: Ids) -> Ids:
        """The rows that pairs of tokens share."""
        return (first * MULTIPLIER + second) % self.buckets + self._vocab_size
