"""`pad_sequences` with the signature and the semantics of Keras, in vectorised NumPy."""

from collections.abc import Sequence, Sized
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def pad_sequences(
    sequences: Sequence[Any],
    maxlen: int | None = None,
    dtype: DTypeLike = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: float | str = 0.0,
) -> NDArray[Any]:
    """Array (N, maxlen, ...) of N sequences, each cut or filled up with `value` at its start ("pre") or end ("post").

    `maxlen` defaults to the longest sequence. Raises `ValueError` where Keras does: no sequences at all, an
    unknown side, items without a length, steps of different shapes, a string value for a numeric dtype. (Semantics:
    https://keras.io/api/data_loading/timeseries/, `keras.utils.pad_sequences`.)

    >>> pad_sequences([[1, 2, 3], [4]], maxlen=2).tolist()
    [[2, 3], [0, 4]]
    """
    for name, side in (("padding", padding), ("truncating", truncating)):
        if side not in ("pre", "post"):
            raise ValueError(f"{name} must be pre or post, got {side!r}")
    lengths = _lengths(sequences)  # (N,)
    width = int(lengths.max()) if maxlen is None else maxlen
    step_shape = _step_shape(sequences)
    padded = np.full((len(lengths), width, *step_shape), value, dtype=_checked_dtype(dtype, value))
    lengths = np.minimum(lengths, width)
    column = np.arange(width)  # (maxlen,)
    from_end = width - lengths[:, None]  # (N, 1)
    is_step = column < lengths[:, None] if padding == "post" else column >= from_end  # (N, maxlen)
    if is_step.any():
        padded[is_step] = _steps(sequences, width, truncating, step_shape, dtype)
    return padded


def _lengths(sequences: Sequence[Any]) -> NDArray[np.int64]:
    if not isinstance(sequences, Sized):
        raise ValueError(f"sequences must have a length, got {type(sequences).__name__}")
    for sequence in sequences:
        if not isinstance(sequence, Sized):
            raise ValueError(f"sequences must be a list of sequences, found {sequence!r}")
    return np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))


def _cut(sequence: Any, width: int, truncating: str) -> Any:
    if len(sequence) <= width:
        return sequence
    return sequence[len(sequence) - width :] if truncating == "pre" else sequence[:width]


def _step_shape(sequences: Sequence[Any]) -> tuple[int, ...]:
    """Shape of one step, from the first sequence that has any."""
    first = next((sequence for sequence in sequences if len(sequence)), ())
    return np.asarray(first).shape[1:]


def _steps(
    sequences: Sequence[Any], width: int, truncating: str, step_shape: tuple[int, ...], dtype: DTypeLike
) -> NDArray[Any]:
    """Every step that is kept, one after the other (total, ...)."""
    kept = (_cut(sequence, width, truncating) for sequence in sequences)
    steps = np.array(list(chain.from_iterable(kept)), dtype=dtype)
    if steps.shape[1:] != step_shape:
        raise ValueError(f"every step must have the shape {step_shape} of the first, found {steps.shape[1:]}")
    return steps


def _checked_dtype(dtype: DTypeLike, value: float | str) -> np.dtype[Any]:
    checked = np.dtype(dtype)
    if isinstance(value, str) and checked.kind not in "OUS":
        raise ValueError(f"value must be a number for dtype {checked}, got {value!r}")
    return checked
