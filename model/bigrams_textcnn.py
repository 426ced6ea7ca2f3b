"""The linear part of a text CNN: what each token, and each pair of neighbours, says for the classes by itself.

Filters and their maxima see that something occurs, this part how much of everything does: a bag of words and bigrams,
as in Wang & Manning 2012 (ACL P12-2018) and Joulin et al. 2017 (arXiv:1607.01759). It knows the most frequent pairs of
the training texts one by one: a hash would give those that it never met the rows of others.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

SHORT = 64  # tokens of a text that is looked up without arrays
NO_PAIR = torch.iinfo(torch.long).max  # larger than any pair

# B texts, L tokens, P = L + 1 pairs of a text, V vocabulary, N known pairs, C classes.


class Bigrams(nn.Module):
    """Logits of the rows of a text's tokens and pairs: their sum / sqrt(their number).

    A boundary stands before the first token and after the last one, so a text of L tokens has P = L + 1 pairs, and the
    second of each pair is a token or the boundary at the end: two rows for each pair. A pair is the number
    first * V + second; `known` (N + 1) are those with a row of their own in ascending order, then `NO_PAIR`, whose row
    of zeros all others have.

    >>> Bigrams(vocab_size=9, num_bigrams=20, boundary=0, num_labels=3).on_host()([[5, 6, 7], []]).shape
    (2, 3)
    """

    known: Tensor

    def __init__(self, vocab_size: int, num_bigrams: int, boundary: int, num_labels: int) -> None:
        super().__init__()
        self._vocab_size, self._boundary = vocab_size, boundary
        self.register_buffer("known", torch.full((num_bigrams + 1,), NO_PAIR))
        self.weight = nn.Parameter(torch.zeros(vocab_size + num_bigrams + 1, num_labels))
        self._host_rows: Callable[[Sequence[int]], list[int]] | None = None  # of one text (P * 2); from `on_host` on

    @property
    def num_bigrams(self) -> int:
        """N."""
        return len(self.known) - 1

    def check(self) -> None:
        """Raise `ValueError` when `known` is not what the class says, and so cannot be searched."""
        known = self.known
        is_sorted = known.dtype == torch.long and known[0] >= 0 and not known.diff().lt(0).any()
        if not is_sorted or known[-1] != NO_PAIR:
            raise ValueError(f"bigrams.known must be whole numbers in ascending order, {NO_PAIR} at the end")

    def forward(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """Logits (B, C) of the first `lengths` (B,) ids of each row of `input_ids` (B, L)."""
        rows, is_pair = self.rows(input_ids, lengths)
        last = len(self.weight) - 1  # that of unknown pairs, which learns nothing
        given = functional.embedding(rows, self.weight, padding_idx=last).sum(dim=2) * is_pair[..., None]  # (B, P, C)
        return given.sum(dim=1) / (2 * (lengths[:, None] + 1)).sqrt()

    def rows(self, input_ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of each pair (B, P, 2), its second token's and its own, and which pairs are of the text (B, P)."""
        second, pairs, is_pair = neighbours(input_ids, lengths, self._vocab_size, self._boundary)
        place = _search(self.known, pairs)
        own = torch.where(self.known[place] == pairs, place, self.num_bigrams) + self._vocab_size
        return torch.stack([second, own], dim=2), is_pair

    def on_host(self, scale: float = 1.0) -> Callable[[Sequence[Sequence[int]]], NDArray[np.float32]]:
        """A function of the token ids of B texts that gives `scale` times their logits (B, C), on the CPU.

        It reads the present weights. One short text stays out of torch, whose calls would take most of the time.
        """
        weight = self.weight.detach()
        table: NDArray[np.float32] = weight.numpy()  # (V + N + 1, C)
        known: NDArray[np.int64] = self.known.numpy()
        self._host_rows = text_rows = self._text_rows()

        def logits(token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
            sums: NDArray[np.float32]
            if len(token_ids) == 1 and len(token_ids[0]) <= SHORT:
                rows = text_rows(token_ids[0])
                sums = np.add.reduce(table.take(rows, axis=0))
                return sums[None] * (scale / math.sqrt(len(rows)))
            stream = [self._boundary]
            for ids in token_ids:
                stream += ids
                stream.append(self._boundary)
            tokens = np.array(stream, dtype=np.int64)
            pairs = tokens[:-1] * self._vocab_size + tokens[1:]  # (P of all texts,)
            order = pairs.argsort()  # neighbours in `known` are found faster one after the other
            place = np.empty_like(pairs)
            place[order] = known.searchsorted(pairs[order])
            place[known[place] != pairs] = self.num_bigrams
            counts = np.array([2 * len(ids) + 2 for ids in token_ids])  # (B,), rows
            indices = torch.from_numpy(np.stack([tokens[1:], place + self._vocab_size], axis=1).ravel())
            sums = torch.embedding_bag(weight, indices, torch.from_numpy(counts.cumsum() - counts))[0].numpy()
            sums *= (scale / np.sqrt(counts, dtype=np.float32))[:, None]
            return sums

        return logits

    def _text_rows(self) -> Callable[[Sequence[int]], list[int]]:
        """`rows` of one text (P * 2), number by number: calls on arrays cost more than so few numbers."""
        vocab_size, boundary = self._vocab_size, self._boundary
        row_of = {pair: vocab_size + place for place, pair in enumerate(self.known.tolist())}
        unknown = row_of[NO_PAIR]

        def text_rows(token_ids: Sequence[int]) -> list[int]:
            first = boundary
            rows: list[int] = []
            for second in [*token_ids, boundary]:
                rows.append(second)
                rows.append(row_of.get(first * vocab_size + second, unknown))
                first = second
            return rows

        return text_rows

    def terms(self, token_ids: Sequence[int], label: int) -> NDArray[np.float32]:
        """What each pair of one text adds to the logit of a label (P, 2): its second token, and the pair itself."""
        table = self.weight.detach()
        added: NDArray[np.float32]
        if self._host_rows is not None:
            rows = self._host_rows(token_ids)  # (P * 2)
            added = table.numpy().take(rows, axis=0)[:, label].reshape(-1, 2)
        else:
            ids, lengths = torch.tensor([token_ids], dtype=torch.long), torch.tensor([len(token_ids)])
            places = self.rows(ids.to(table.device), lengths.to(table.device))[0][0]  # (P, 2)
            added = table[places, label].float().cpu().numpy()
        added /= math.sqrt(added.size)
        return added


def neighbours(input_ids: Tensor, lengths: Tensor, vocab_size: int, boundary: int) -> tuple[Tensor, Tensor, Tensor]:
    """The second token of each pair, the pair as a number, and which pairs are of the text, all (B, P)."""
    position = torch.arange(input_ids.shape[1] + 1, device=lengths.device)  # (P,)
    is_token = position[:-1] < lengths[:, None]  # (B, L)
    tokens = input_ids.long().masked_fill(~is_token, boundary)
    tokens = functional.pad(tokens, (1, 1), value=boundary)  # (B, L + 2)
    first, second = tokens[:, :-1], tokens[:, 1:]
    return second, first * vocab_size + second, position <= lengths[:, None]


def _search(known: Tensor, pairs: Tensor) -> Tensor:
    """Where each pair stands in `known` (N + 1), which is in ascending order, or would stand."""
    if not torch.compiler.is_exporting():
        return torch.searchsorted(known, pairs)
    place = torch.zeros_like(pairs)  # ONNX has no such search, but can halve what is left step by step
    for step in reversed([1 << bit for bit in range(len(known).bit_length())]):
        further = place + step
        is_behind = known[(further - 1).clamp(max=len(known) - 1)] < pairs
        place = torch.where(is_behind & (further < len(known)), further, place)
    return place
