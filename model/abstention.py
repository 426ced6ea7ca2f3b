"""When not to answer: how certain a distribution is, and below which certainty it is no answer."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# B texts, C classes, V vocabulary.

CERTAINTIES = ("familiar_lead", "lead", "probability", "entropy")
UNSEEN_WEIGHT = 8.0  # logits that a text loses if none of its tokens was in a training text
_LEAST = np.finfo(np.float32).tiny  # of a probability whose logarithm is taken


@dataclass(frozen=True)
class Abstention:
    """The rule of a checkpoint: a text whose certainty is below the threshold gets no answer."""

    certainty: str
    threshold: float
    unseen_tokens: frozenset[int] = frozenset()  # that no training text has

    def __call__(self, probabilities: NDArray[np.floating], token_ids: Sequence[Sequence[int]]) -> list[bool]:
        """Which rows of probabilities (B, C) of texts with these token ids are no answer (B,).

        In numbers, not arrays: there is often one text alone.
        """
        if self.certainty != "familiar_lead":
            return [value < self.threshold for value in certainty(probabilities, self.certainty).tolist()]
        lost = [UNSEEN_WEIGHT * self.unseen_share(ids) for ids in token_ids]
        return [lead - less < self.threshold for lead, less in zip(_leads(probabilities), lost, strict=True)]

    def rejects(self, probabilities: NDArray[np.floating], unseen_shares: NDArray[np.floating]) -> NDArray[np.bool_]:
        """The same from the share of each text's tokens that no training text has (B,)."""
        return certainty(probabilities, self.certainty, unseen_shares) < self.threshold

    def unseen_share(self, token_ids: Sequence[int]) -> float:
        """How many of the tokens no training text has, 0 to 1; 0 where there are none."""
        return sum(map(self.unseen_tokens.__contains__, token_ids)) / max(len(token_ids), 1)


def certainty(
    probabilities: NDArray[np.floating], kind: str, unseen_shares: NDArray[np.floating] | float = 0.0
) -> NDArray[np.floating]:
    """How certain each row of `probabilities` (B, C) is (B,), by one of `CERTAINTIES`.

    "lead" is the best class's logit minus the mean logit, which texts of unknown kind lower most; "familiar_lead" takes
    `UNSEEN_WEIGHT` from it for the share of tokens that no training text has; "probability" is that of the best class,
    "entropy" the negative entropy in nats.

    >>> probabilities = np.array([[0.5, 0.5], [0.9, 0.1]], dtype=np.float32)
    >>> certainty(probabilities, "lead").round(2).tolist()
    [0.0, 1.1]
    >>> certainty(probabilities, "familiar_lead", np.array([0.0, 0.25])).round(2).tolist()
    [0.0, -0.9]
    """
    if kind == "probability":
        return np.asarray(probabilities.max(axis=1))
    if kind == "entropy":
        return np.asarray((probabilities * _logarithms(probabilities)).sum(axis=1))
    leads = np.array(_leads(probabilities))
    return leads if kind == "lead" else leads - UNSEEN_WEIGHT * unseen_shares


def _leads(probabilities: NDArray[np.floating]) -> list[float]:
    """The best class's logit minus the mean logit of each row of probabilities (B, C)."""
    logarithms, classes = _logarithms(probabilities), probabilities.shape[1]
    best, total = np.maximum.reduce(logarithms, axis=1).tolist(), np.add.reduce(logarithms, axis=1).tolist()
    return [most - whole / classes for most, whole in zip(best, total, strict=True)]


def _logarithms(probabilities: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.asarray(np.log(np.maximum(probabilities, _LEAST)))  # (B, C)


def pack_tokens(chosen: NDArray[np.bool_]) -> str:
    """Which tokens of a vocabulary are chosen (V,), a bit each, as text for a configuration.

    >>> sorted(unpack_tokens(pack_tokens(np.array([False, True, True, False])), 4))
    [1, 2]
    """
    return base64.b64encode(np.packbits(chosen).tobytes()).decode()


def unpack_tokens(packed: str, vocab_size: int) -> frozenset[int]:
    """The tokens that `pack_tokens` was given; raises `ValueError` if that was another vocabulary."""
    chosen = np.unpackbits(np.frombuffer(base64.b64decode(packed, validate=True), dtype=np.uint8))
    if not vocab_size <= len(chosen) < vocab_size + 8:
        raise ValueError(f"needs a bit for each of {vocab_size} tokens, got {len(chosen)} bits")
    return frozenset(np.flatnonzero(chosen[:vocab_size]).tolist())


def check_abstention(kind: object, threshold: object, unseen_tokens: object, vocab_size: int) -> None:
    """Raise `ValueError` where the fields of a configuration make no rule."""
    if kind not in CERTAINTIES:
        raise ValueError(f"abstention_certainty must be one of {', '.join(CERTAINTIES)}, got {kind!r}")
    if threshold is not None and not (isinstance(threshold, int | float) and np.isfinite(threshold)):
        raise ValueError(f"abstention_threshold must be a finite number or null, got {threshold!r}")
    if unseen_tokens is None and kind == "familiar_lead":
        raise ValueError("abstention_unseen_tokens must be given with abstention_certainty familiar_lead")
    if unseen_tokens is not None:
        try:
            unpack_tokens(unseen_tokens, vocab_size)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise ValueError(f"abstention_unseen_tokens must be base64 of {vocab_size} bits ({error})") from error
