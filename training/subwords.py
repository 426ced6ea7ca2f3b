"""Embeddings that share their spelling while they are learnt: a token's own row plus those of its character n-grams.

A small data set shows most tokens only once or twice, and some never (pieces of words that are tokens themselves); what
it teaches about `plays` then also moves `playing`. The idea is fastText's (Bojanowski et al. 2017, arXiv:1607.04606);
the sum is folded into a plain table when training ends, so that the network that answers knows nothing of it.
"""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from model.network_textcnn import TextCnn
from training.row_sums import sums_of_rows

SIZES = (3, 4, 5)  # characters of an n-gram, the marks of a token's two ends included
_START, _END, _CONTINUING, _WORD_START = "<", ">", "##", "\u2581"

# V tokens of the vocabulary, D channels, G rows that n-grams share, M n-grams of all tokens, U tokens asked for.


class SubwordEmbedding(nn.Embedding):
    """An embedding whose rows in training are own row + sum of the rows of the token's n-grams / sqrt(their number).

    >>> SubwordEmbedding(nn.Embedding(2, 3), [[], [4, 0]], buckets=5, std=0.1)(torch.tensor([1, 0])).shape
    torch.Size([2, 3])
    """

    def __init__(self, own: nn.Embedding, grams: Sequence[Sequence[int]], buckets: int, std: float) -> None:
        super().__init__(own.num_embeddings, own.embedding_dim, _weight=own.weight.detach())
        self.grams = nn.Embedding(buckets, self.embedding_dim, _weight=torch.randn(buckets, self.embedding_dim) * std)
        counts = torch.tensor([len(each) for each in grams], device=own.weight.device)  # (V,)
        flat = torch.tensor([row for each in grams for row in each], dtype=torch.long, device=own.weight.device)  # (M,)
        self._starts: Tensor
        self._counts: Tensor
        self._rows: Tensor
        for name, buffer in (("_starts", counts.cumsum(0) - counts), ("_counts", counts), ("_rows", flat)):
            self.register_buffer(name, buffer, persistent=False)
        self._table: Tensor | None = None  # (V, D), of an evaluation

    def train(self, mode: bool = True) -> Self:
        """Another phase: the sums are to be worked out anew."""
        self._table = None
        return super().train(mode)

    def forward(self, input: Tensor) -> Tensor:
        """Embeddings (..., D) of token ids (...)."""
        if self.training:
            tokens = input.flatten()  # (U,)
            own = sums_of_rows(self, tokens, torch.arange(len(tokens), device=tokens.device))
            return (own + self._shared(tokens)).view(*input.shape, self.embedding_dim)
        if self._table is None:
            self._table = self.table()
        return functional.embedding(input, self._table)

    @torch.no_grad()
    def table(self) -> Tensor:
        """All sums (V, D)."""
        tokens = torch.arange(self.num_embeddings, device=self.weight.device)
        return self.weight + self._shared(tokens)

    def _shared(self, tokens: Tensor) -> Tensor:
        """What n-grams give to tokens (U,): (U, D), zeros for those without any."""
        counts = self._counts[tokens]  # (U,)
        begins = counts.cumsum(0) - counts  # (U,), of each token among the n-grams of all
        place = torch.arange(int(counts.sum()), device=tokens.device)
        rows = self._rows[place + (self._starts[tokens] - begins).repeat_interleave(counts)]
        return sums_of_rows(self.grams, rows, begins) / counts.clamp(min=1).sqrt()[:, None]


def share_subwords(network: TextCnn, tokenizer: PreTrainedTokenizerFast, buckets: int) -> None:
    """Let the embedding of `network` be learnt so, with rows that are drawn as its own were."""
    tokens = tokenizer.convert_ids_to_tokens(list(range(network.config.vocab_size)))
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}  # named or not
    grams = [[] if token in special else [_bucket(gram, buckets) for gram in ngrams(token)] for token in tokens]
    own = network.embedding
    network.embedding = SubwordEmbedding(own, grams, buckets, float(own.weight.detach().std()))


def fold_subwords(network: TextCnn) -> None:
    """Give `network` the plain embedding that answers as the learnt one does."""
    if isinstance(network.embedding, SubwordEmbedding):
        network.embedding = nn.Embedding.from_pretrained(network.embedding.table(), freeze=False)


def learnt_ngram_rows(weights: Path) -> int:
    """Rows that n-grams share in a file of weights from the midst of a training; 0 where they share none."""
    with safe_open(weights, framework="pt") as file:
        names = [name for name in file.keys() if name.endswith(".embedding.grams.weight")]  # noqa: SIM118
        return int(file.get_slice(names[0]).get_shape()[0]) if names else 0


def ngrams(token: str) -> list[str]:
    """The n-grams of a token, its ends marked, but for itself as a whole.

    >>> ngrams("cat"), ngrams("##s"), ngrams("the")[:2]
    (['<ca', 'cat', 'at>', '<cat', 'cat>'], [], ['<th', 'the'])
    """
    inside = token.startswith(_CONTINUING) and token != _CONTINUING
    spelling = token.removeprefix(_CONTINUING) if inside else _START + token.removeprefix(_WORD_START)
    spelling += _END
    starts = [(start, size) for size in SIZES for start in range(len(spelling) - size + 1)]
    return [spelling[start : start + size] for start, size in starts if size < len(spelling)]


def _bucket(gram: str, buckets: int) -> int:
    return zlib.crc32(gram.encode()) % buckets
