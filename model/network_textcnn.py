"""The network itself, in torch alone: `TextCnnShape` and `TextCnn`, which is blind to padding."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .bigrams_textcnn import Bigrams

EMBEDDING_MODES = ("random", "static", "non_static", "multichannel")

# B texts, T tokens, L tokens after the cut, V vocabulary, D channels, F filters, W windows, K kernel sizes, C classes.


@dataclass(kw_only=True)
class TextCnnShape:
    """Shape of the network of Kim 2014 (arXiv:1408.5882), and how texts are cut to fit it."""

    vocab_size: int = 30_000  # V, rows of the embedding table
    embedding_dim: int = 300  # D, channels of an embedding
    # Kim 2014: embeddings learnt from nothing, given and kept, given and learnt on, or a pair of the last two
    embedding_mode: str = "random"
    kernel_sizes: list[int] | tuple[int, ...] = (1, 2, 3, 4)  # tokens; one Conv1d each
    num_filters: int = 128  # F, of each Conv1d
    stride: int = 1  # tokens between windows
    padding: int | str = 0  # zeros on each side of the text in tokens, or "same" / "valid"
    dilation: int = 1  # tokens between the taps of a window
    groups: int = 1  # blocks of channels that are convolved apart
    bias: bool = True  # of each Conv1d
    dropout: float = 0.5  # probability, on the pooled features
    embedding_dropout: float = 0.0  # probability, on the embedded tokens
    num_bigrams: int = 0  # pairs of neighbouring tokens that the linear part knows; without it 0
    max_length: int = 128  # tokens, special ones included; longer texts are cut
    padding_side: str = "right"
    truncation_side: str = "right"  # the side that is cut off
    pad_token_id: int = 0
    special_tokens_before: int = 0  # that the tokenizer puts before each text, kept by a cut from the left
    special_tokens_after: int = 0  # that the tokenizer puts after each text, kept by a cut from the right
    calibration_temperature: float = 1.0  # divides the logits in evaluation mode (Guo et al. 2017, arXiv:1706.04599)

    @property
    def channels(self) -> int:
        """D of the signal: a pair of embeddings has twice as many."""
        return self.embedding_dim * (2 if self.embedding_mode == "multichannel" else 1)

    def window(self, kernel_size: int) -> int:
        """Tokens that a window spans from its first tap to its last."""
        return self.dilation * (kernel_size - 1) + 1

    def total_padding(self, kernel_size: int) -> int:
        """Zeros that the convolution adds to a text, both sides together, in tokens."""
        if isinstance(self.padding, int):
            return 2 * self.padding
        return self.window(kernel_size) - 1 if self.padding == "same" else 0

    def check(self) -> None:
        """Raise `ValueError` naming the field, the rule and the value when the values make no network."""
        for name in ("vocab_size", "embedding_dim", "num_filters", "stride", "dilation", "groups", "max_length"):
            self._require(_is_count(getattr(self, name)), name, "must be a whole number of at least 1")
        sizes = self.kernel_sizes
        all_counts = isinstance(sizes, list | tuple) and len(sizes) > 0 and all(map(_is_count, sizes))
        self._require(all_counts, "kernel_sizes", "must be whole numbers of at least 1")
        self._require(_is_count(self.num_bigrams + 1), "num_bigrams", "must be a whole number of at least 0")
        for name in ("dropout", "embedding_dropout"):
            value = getattr(self, name)
            self._require(isinstance(value, int | float) and 0 <= value < 1, name, "must be at least 0 and below 1")
        for name in ("embedding_dim", "num_filters"):
            self._require(getattr(self, name) % self.groups == 0, name, f"must be divisible by groups = {self.groups}")
        self._require(self.embedding_mode in EMBEDDING_MODES, "embedding_mode", f"must be one of {EMBEDDING_MODES}")
        for name in ("padding_side", "truncation_side"):
            self._require(getattr(self, name) in ("left", "right"), name, "must be left or right")
        temperature = self.calibration_temperature
        is_temperature = isinstance(temperature, int | float) and 0 < temperature < math.inf
        self._require(is_temperature, "calibration_temperature", "must be a finite number above 0")
        self._check_padding()
        specials = self.special_tokens_before + self.special_tokens_after
        has_room = self.max_length > specials
        self._require(has_room, "max_length", f"must leave room for a text beside the {specials} special tokens")
        in_vocabulary = 0 <= self.pad_token_id < self.vocab_size
        self._require(in_vocabulary, "pad_token_id", f"must be at least 0 and below vocab_size = {self.vocab_size}")

    def _check_padding(self) -> None:
        if isinstance(self.padding, str):
            self._require(self.padding in ("same", "valid"), "padding", "must be a number, same or valid")
            self._require(self.padding == "valid" or self.stride == 1, "stride", "must be 1 with padding = same")
        else:
            self._require(_is_count(self.padding + 1), "padding", "must be a whole number of at least 0")

    def _require(self, holds: bool, field: str, rule: str) -> None:
        if not holds:
            raise ValueError(f"{field} {rule}, got {getattr(self, field)!r}")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


class TextCnn(nn.Module):
    """Embedding, `nn.Conv1d` per kernel size, ReLU, maximum over time, dropout, linear (Kim 2014, arXiv:1408.5882).

    With `num_bigrams` the logits of `Bigrams` are added, the only part that sees how often something occurs.

    The logits of a text depend on its tokens alone: neither the amount nor the side of the padding, nor its neighbours
    in the batch, change them. A text shorter than a window is filled up with zeros to one window.
    """

    def __init__(self, config: TextCnnShape, num_labels: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_dim)
        self.embedding.requires_grad_(config.embedding_mode != "static")
        if config.embedding_mode == "multichannel":
            self.static_embedding = nn.Embedding(config.vocab_size, config.embedding_dim).requires_grad_(False)
        self.convs = nn.ModuleList(
            nn.Conv1d(
                config.channels,
                config.num_filters,
                kernel_size,
                stride=config.stride,
                dilation=config.dilation,
                groups=config.groups,
                bias=config.bias,
            )
            for kernel_size in config.kernel_sizes
        )
        self.embedding_dropout = nn.Dropout(config.embedding_dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(len(config.kernel_sizes) * config.num_filters, num_labels)
        self.bigrams: Bigrams | None = None
        if config.num_bigrams:
            self.bigrams = Bigrams(config.vocab_size, config.num_bigrams, config.pad_token_id, num_labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits (B, C) of token ids (B, T), where `attention_mask` (B, T) is 1 for tokens and 0 for padding."""
        return self.logits(*self.compact(input_ids, attention_mask))

    def logits(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """Logits (B, C) of the first `lengths` (B,) ids of each row of `input_ids` (B, L), calibrated in evaluation."""
        logits: Tensor = self.classifier(self.dropout(self.pool(input_ids, lengths)))  # (B, K*F) -> (B, C)
        if self.bigrams is not None:
            logits = logits + self.bigrams(input_ids, lengths)
        return logits if self.training else logits / self.config.calibration_temperature

    def pool(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """What each filter finds at most in each text (B, K*F), of the first `lengths` (B,) ids of each row."""
        is_token = torch.arange(input_ids.shape[1], device=lengths.device) < lengths[:, None]  # (B, L)
        embedded = self.embedding_dropout(self.embed(input_ids))  # (B, L, D)
        signal = (embedded * is_token[..., None]).transpose(1, 2)  # (B, D, L), padding is exactly 0
        return torch.cat([self._max_over_time(conv, signal, lengths) for conv in self.convs], dim=1)

    @property
    def embedding_table(self) -> Tensor:
        """What a token contributes to the signal (V, D), both embeddings of a pair side by side."""
        if self.config.embedding_mode == "multichannel":
            return torch.cat([self.embedding.weight, self.static_embedding.weight], dim=1)
        return self.embedding.weight

    def embed(self, input_ids: Tensor) -> Tensor:
        """Embeddings (B, L, D) of ids (B, L)."""
        embedded: Tensor = self.embedding(input_ids)  # (B, L, D)
        if self.config.embedding_mode == "multichannel":
            embedded = torch.cat([embedded, self.static_embedding(input_ids)], dim=2)
        return embedded

    def compact(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Move the tokens of each text to its front and cut them to `max_length`: ids (B, L), lengths (B,).

        A cut from the right keeps the special tokens at the end, one from the left those at the start, as the
        tokenizer's own truncation does.
        """
        is_token = attention_mask.bool()  # (B, T)
        lengths = is_token.sum(dim=1)  # (B,)
        order = (~is_token).to(torch.uint8).argsort(dim=1, stable=True)  # (B, T), tokens first
        limit = self.config.max_length
        if input_ids.shape[1] > limit:
            cut_right = self.config.truncation_side == "right"
            head = limit - self.config.special_tokens_after if cut_right else self.config.special_tokens_before
            position = torch.arange(limit, device=input_ids.device)  # (L,)
            skipped = (lengths - limit).clamp(min=0)[:, None] * (position >= head)  # (B, L), tokens cut out before
            order = order.gather(1, position + skipped)  # (B, L)
            lengths = lengths.clamp(max=limit)
        return input_ids.gather(1, order), lengths

    def windows(self, token_ids: Sequence[int]) -> Tensor:
        """The rectified answer of each filter to each window of one text (W, K, F), 0 where there is no window."""
        device = self.classifier.weight.device
        input_ids = torch.tensor([token_ids], dtype=torch.long, device=device)  # (1, L)
        lengths = torch.tensor([len(token_ids)], device=device)  # (1,)
        signal = self.embed(input_ids).transpose(1, 2)  # (1, D, L)
        answers = [self._activations(conv, signal, lengths)[0].float().relu().T for conv in self.convs]  # K x (W, F)
        return nn.utils.rnn.pad_sequence(answers).contiguous()  # (W, K, F)

    @property
    def output_layer(self) -> tuple[Tensor, Tensor]:
        """Weight (C, K*F) and bias (C,) of the calibrated logits."""
        temperature = self.config.calibration_temperature
        return self.classifier.weight.detach() / temperature, self.classifier.bias.detach() / temperature

    def _max_over_time(self, conv: nn.Module, signal: Tensor, lengths: Tensor) -> Tensor:
        """Rectified maximum (B, F) over the windows that each text would have if it stood alone."""
        return self._activations(conv, signal, lengths).amax(dim=2).relu()  # ReLU and maximum commute

    def _activations(self, conv: nn.Module, signal: Tensor, lengths: Tensor) -> Tensor:
        """The convolution (B, F, W), minus infinity beyond the windows that each text would have if it stood alone."""
        assert isinstance(conv, nn.Conv1d)  # noqa: S101  (narrows the type that ModuleList forgets)
        kernel_size = conv.kernel_size[0]
        padding = self.config.total_padding(kernel_size)
        room = self.config.window(kernel_size) - padding  # tokens that one window needs
        missing = max(0, room - signal.shape[2])
        around = (padding // 2, padding - padding // 2 + missing)  # as Conv1d does, but for the empty text too
        activation: Tensor = conv(functional.pad(signal, around) if any(around) else signal)  # (B, F, W)
        last = (lengths - room).clamp(min=0) // self.config.stride  # (B,), index of each text's last window
        window = torch.arange(activation.shape[2], device=lengths.device)  # (W,)
        beyond = (window > last[:, None])[:, None, :]  # (B, 1, W)
        return activation.masked_fill(beyond, -torch.inf)
