"""The service with a network that takes 20 ms a pass, so that a load above its capacity is within reach here."""

import sys
import time
from collections.abc import Sequence
from typing import Any, cast

from model.options import InferenceOptions
from service.__main__ import main
from service.passes import Classifier
from service.worker import load_classifier

PASS_SECONDS = 0.02


class Slowed:
    """A classifier whose passes take their time."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    def __getattr__(self, name: str) -> Any:
        return getattr(self._classifier, name)

    def classify(self, texts: Sequence[str], top_k: int | None = None, explained: Any = None) -> Any:
        """The real predictions, later."""
        end = time.monotonic() + PASS_SECONDS
        found = self._classifier.classify(texts, top_k, explained)
        time.sleep(max(0.0, end - time.monotonic()))
        return found


def load(checkpoint: str, device: str, threads: int, options: InferenceOptions) -> Classifier:
    """The checkpoint's classifier, slowed."""
    return cast(Classifier, Slowed(load_classifier(checkpoint, device, threads, options)))


if __name__ == "__main__":
    sys.exit(main(load=load))
