"""When not to answer: how certain a distribution is, and below which certainty it is no answer."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# B texts, C classes.

CERTAINTIES = ("lead", "probability", "entropy")
_LEAST = np.finfo(np.float32).tiny  # of a probability whose logarithm is taken


@dataclass(frozen=True)
class Abstention:
    """The rule of a checkpoint: a text whose certainty is below the threshold gets no answer."""

    certainty: str
    threshold: float

    @classmethod
    def of(cls, certainty: str, threshold: float | None) -> "Abstention | None":
        """The rule of a configuration's two fields; None where every text gets an answer."""
        return None if threshold is None else cls(certainty, threshold)

    def __call__(self, probabilities: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Which rows of probabilities (B, C) are no answer (B,)."""
        return certainty(probabilities, self.certainty) < self.threshold


def certainty(probabilities: NDArray[np.floating], kind: str) -> NDArray[np.float32]:
    """How certain each row of `probabilities` (B, C) is (B,), by one of `CERTAINTIES`.

    "lead" is the best class's logit minus the mean logit, which texts of unknown kind lower most; "probability" that of
    the best class; "entropy" the negative entropy in nats.

    >>> certainty(np.array([[0.5, 0.5], [0.9, 0.1]], dtype=np.float32), "lead").round(2).tolist()
    [0.0, 1.1]
    """
    if kind == "probability":
        return np.asarray(probabilities.max(axis=1))
    logarithms = np.log(np.maximum(probabilities, _LEAST))  # (B, C)
    if kind == "entropy":
        return np.asarray((probabilities * logarithms).sum(axis=1))
    return np.asarray(logarithms.max(axis=1) - logarithms.sum(axis=1) / logarithms.shape[1])


def check_abstention(kind: object, threshold: object) -> None:
    """Raise `ValueError` unless `kind` is one of `CERTAINTIES` and `threshold` None or a finite number."""
    if kind not in CERTAINTIES:
        raise ValueError(f"abstention_certainty must be one of {', '.join(CERTAINTIES)}, got {kind!r}")
    if threshold is not None and not (isinstance(threshold, int | float) and np.isfinite(threshold)):
        raise ValueError(f"abstention_threshold must be a finite number or null, got {threshold!r}")
