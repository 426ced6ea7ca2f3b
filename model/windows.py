"""Long texts read window by window instead of being cut."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .checkpoint import CheckpointConfig
from .errors import InputError
from .options import InferenceOptions

# N windows, B texts, C classes.

Item = TypeVar("Item")


@dataclass(frozen=True)
class Windows:
    """Where the windows of a text lie, and how their outputs become the text's.

    Each window is framed by the text's own special tokens. A text that fits one window is read as it is; of a longer
    one every window is full: the last one ends with the text, the others start `stride` tokens apart.
    """

    window: int  # tokens, special ones included
    stride: int  # tokens from the start of a window to the start of the next
    pooling: str  # "mean" or "max"
    is_distribution: bool = True  # whether the outputs of a window add up to 1
    before: int = 0  # special tokens in front of a text
    after: int = 0  # special tokens behind it

    @classmethod
    def of(cls, options: InferenceOptions, config: CheckpointConfig) -> "Windows | None":
        """Those that `options` ask for, if any; raises `InputError` for what the checkpoint cannot have."""
        if options.window is None:
            return None
        before, after = config.special_tokens_before, config.special_tokens_after
        room = options.window - before - after
        if room < 1 or options.window > config.max_length:
            lowest = before + after + 1
            raise InputError(f"window must be from {lowest} to {config.max_length} tokens, got {options.window}")
        stride = (room + 1) // 2 if options.stride is None else options.stride
        if not 1 <= stride <= room:
            raise InputError(f"stride must be from 1 to the {room} tokens of a text in a window, got {stride}")
        is_distribution = config.problem_type == "single_label_classification"
        return cls(options.window, stride, options.window_pooling, is_distribution, before, after)

    def split(self, items: list[Item]) -> list[list[Item]]:
        """The token ids of each window of a text, or whatever else it has for each of its tokens.

        >>> Windows(window=4, stride=3, pooling="mean").split([1, 2, 3, 4, 5, 6, 7, 8, 9])
        [[1, 2, 3, 4], [4, 5, 6, 7], [6, 7, 8, 9]]
        """
        if len(items) <= self.window:
            return [items]
        end = len(items) - self.after
        last = end - (self.window - self.before - self.after)  # where the last window starts
        head, tail = items[: self.before], items[end:]
        return [
            head + items[start : start + end - last] + tail for start in [*range(self.before, last, self.stride), last]
        ]

    def pool(self, outputs: NDArray[np.float32], counts: Sequence[int]) -> NDArray[np.float32]:
        """Outputs (B, C) of texts with so many windows each, from those of all the windows (N, C).

        The maxima of a distribution over classes are scaled to add up to 1, as its means do by themselves.
        """
        starts = np.cumsum([0, *counts])[:-1]  # (B,)
        pooled: NDArray[np.float32]  # (B, C)
        if self.pooling == "mean":
            pooled = (np.add.reduceat(outputs, starts) / np.array(counts)[:, None]).astype(np.float32)
        else:
            pooled = np.maximum.reduceat(outputs, starts)
            if self.is_distribution:
                pooled /= pooled.sum(axis=1, keepdims=True)
        return pooled
