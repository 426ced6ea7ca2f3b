"""The service with a classifier that misbehaves on demand: `python -m tests.faulty`.

The environment variable FAULT makes loading fail; a text that names a fault makes its pass fail. Everything else gets
the label "right" in no time.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from model.files import revision
from model.options import InferenceOptions
from service.__main__ import main
from service.passes import Classifier
from tests.servers import FakeClassifier, FakePrediction, FakeTiming

HANG, DIE, RAISE, UNPICKLABLE, SLOW = "hang", "die", "raise", "unpicklable", "slow"
SLOW_SECONDS = 0.3


class UnpicklableError(Exception):
    """Holds what no other process could ever receive."""

    def __init__(self) -> None:
        super().__init__("a function", lambda: None)


class FaultyClassifier(FakeClassifier):
    """Does what its texts say."""

    def classify(
        self, texts: Sequence[str], top_k: int | None = None, explained: Mapping[int, str | None] | None = None
    ) -> tuple[list[FakePrediction], FakeTiming]:
        if SLOW in texts:
            time.sleep(SLOW_SECONDS)
        if HANG in texts:
            time.sleep(3600)
        if DIE in texts:
            os._exit(3)
        if RAISE in texts:
            raise RuntimeError("a network may fail")
        if UNPICKLABLE in texts:
            raise UnpicklableError
        counts = [len(text) for text in texts]
        return [FakePrediction(text) for text in texts], FakeTiming(batch_size=len(texts), token_counts=counts)


def load(checkpoint: str, device: str, threads: int, options: InferenceOptions) -> Classifier:
    """A classifier, or the fault that FAULT names."""
    match os.environ.get("FAULT"):
        case "load dies":
            os._exit(3)
        case "load raises":
            raise RuntimeError("weights may be missing")
    return FaultyClassifier(revision=revision(Path(checkpoint)))


if __name__ == "__main__":
    sys.exit(main(load=load))
