"""`pad_sequences` against Keras itself."""

import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.padding import pad_sequences

os.environ.setdefault("KERAS_BACKEND", "torch")  # the one at hand; pad_sequences is NumPy in all of them
keras_utils = pytest.importorskip("keras.utils")

SIDES = st.sampled_from(["pre", "post"])


@given(
    st.lists(st.lists(st.integers(-100, 100), max_size=8), min_size=1, max_size=6),
    st.one_of(st.none(), st.integers(1, 10)),
    SIDES,
    SIDES,
    st.sampled_from(["int32", "int64", "float32"]),
    st.integers(-3, 3),
)
@settings(max_examples=200, deadline=None)
def test_equals_keras(
    sequences: list[list[int]], maxlen: int | None, padding: str, truncating: str, dtype: str, value: int
) -> None:
    options: dict[str, Any] = {"dtype": dtype, "padding": padding, "truncating": truncating, "value": value}
    found, expected = (
        pad_sequences(sequences, maxlen, **options),
        keras_utils.pad_sequences(sequences, maxlen, **options),
    )
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5).filter(any), st.integers(1, 6), SIDES, SIDES)
@settings(max_examples=50, deadline=None)
def test_steps_of_vectors_equal_keras(lengths: list[int], maxlen: int, padding: str, truncating: str) -> None:
    sequences = [np.arange(length * 3, dtype="float32").reshape(length, 3) for length in lengths]
    options: dict[str, Any] = {"maxlen": maxlen, "dtype": "float32", "padding": padding, "truncating": truncating}
    np.testing.assert_array_equal(pad_sequences(sequences, **options), keras_utils.pad_sequences(sequences, **options))


def test_strings_with_dtype_object_equal_keras() -> None:
    words = [["a", "bcd"], ["efghi"]]
    options: dict[str, Any] = {"dtype": object, "value": "<pad>", "padding": "post"}
    np.testing.assert_array_equal(pad_sequences(words, **options), keras_utils.pad_sequences(words, **options))


@pytest.mark.parametrize(
    "arguments",
    [
        {"sequences": 5},
        {"sequences": [[1], 2]},
        {"sequences": []},
        {"sequences": [[1]], "padding": "left"},
        {"sequences": [[1, 2]], "maxlen": 1, "truncating": "right"},
        {"sequences": [[1]], "value": "x"},
        {"sequences": [[[1, 2]], [[1, 2, 3]]]},
    ],
)
def test_refuses_what_keras_refuses(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".") as ours:
        pad_sequences(**arguments)
    with pytest.raises(ValueError, match=r"."):
        keras_utils.pad_sequences(**arguments)
    assert len(str(ours.value)) < 200


def test_a_side_is_checked_even_when_nothing_is_padded() -> None:
    with pytest.raises(ValueError, match="padding must be pre or post, got 'right'"):
        pad_sequences([], maxlen=3, padding="right")
