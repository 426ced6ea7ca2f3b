"""Evidence as shades of a text: pieces that overlap become stretches, each with one shade."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from .evidence import Evidence


def shades(text: str, evidence: Sequence[Evidence]) -> list[tuple[str, float]]:
    """The text in stretches with their shades: -1 to 1, the strongest of either sign at 1 or -1.

    The contribution of a piece is spread evenly over its characters, and where pieces overlap they add up.

    >>> shades("not good", [{"start": 4, "end": 8, "text": "good", "contribution": 2.5}])
    [('not ', 0.0), ('good', 1.0)]
    """
    weights = np.zeros(len(text))
    for piece in evidence:
        length = max(piece["end"] - piece["start"], 1)
        weights[piece["start"] : piece["end"]] += piece["contribution"] / length
    weights /= np.abs(weights).max(initial=0.0) or 1.0
    rounded = np.round(weights, 2).tolist()
    return [
        ("".join(text[index] for index in stretch), shade)
        for shade, stretch in groupby(range(len(text)), key=rounded.__getitem__)
    ]
