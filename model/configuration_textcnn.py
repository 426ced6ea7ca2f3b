"""Configuration of a text CNN as transformers knows configurations."""

import difflib
from dataclasses import fields
from typing import Any, ClassVar

from transformers import PreTrainedConfig

from .network_textcnn import TextCnnShape


class TextCnnConfig(TextCnnShape, PreTrainedConfig):
    """Everything besides the weights and the tokenizer that decides an answer.

    Raises `ValueError` naming the field, the rule and the value when a value makes no network.

    >>> TextCnnConfig(kernel_sizes=[2, 3, 4], num_filters=100, num_labels=6).window(3)
    3
    """

    model_type: ClassVar[str] = "textcnn"

    initial_embedding_std: float = 0.1  # of the normal distribution that random embeddings are drawn from
    thresholds: list[float] | None = None  # several labels: the probability from which on each applies, (C,)
    abstention_certainty: str = "lead"  # what is compared with the threshold, see `certainty`
    abstention_threshold: float | None = None  # a text that is less certain gets no answer
    abstention_unseen_tokens: str | None = None  # those that no training text has: base64 of a bit a token
    normalization_version: int | None = None  # of `text_normalizer`, if the tokenizer was learnt with it
    format_version: int = 1  # of the checkpoint folder

    def __post_init__(self, **kwargs: Any) -> None:
        self._reject_misspelt(kwargs)
        self.check()
        self.kernel_sizes = list(self.kernel_sizes)
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]

    def _reject_misspelt(self, unknown: dict[str, Any]) -> None:
        """Near misses of our names are mistakes; other unknown keys come from transformers' own versions."""
        names = [field.name for field in fields(self)]
        for key in unknown:
            close = difflib.get_close_matches(key, names, n=1, cutoff=0.85)
            if close:
                raise ValueError(f"{key}: no such field of TextCnnConfig; did you mean {close[0]}?")
