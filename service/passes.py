"""What a worker does with one pass: classify all its texts at once, and cut the result into what each request gets."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol, cast

from pydantic_core import to_json

from .wire import Answer, Task

_logger = logging.getLogger(__name__)


class Prediction(Protocol):
    """What the worker needs of `model.classifier.Prediction`."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON-ready form."""


class Timing(Protocol):
    """What the worker needs of `model.classifier.Timing`."""

    device: str
    clock: str
    tokenize_ms: float
    inference_ms: float
    batch_size: int
    passes: int
    token_counts: list[int]


class Classifier(Protocol):
    """What the worker needs of `model.classifier.TextClassifier`."""

    name: str
    revision: str
    labels: list[str]
    problem_type: str
    max_length: int
    device: str
    folded_bytes: int
    examples: list[str]
    precision: str
    windows: Any  # a `model.windows.Windows`, or None

    def classify(
        self, texts: Sequence[str], top_k: int | None = None, explained: Mapping[int, str | None] | None = None
    ) -> tuple[Sequence[Prediction], Timing]:
        """Predictions in the texts' order with their `top_k` highest scores, and what they cost.

        Those of the texts whose index is in `explained` have their evidence for the label there, or for the best one.
        """


def perform(classifier: Classifier, task: Task) -> Answer:
    """The answer to `task`; a text that the classifier fails on fails its own share alone."""
    started = time.monotonic()
    depths = [options.top_k for options in task.options]
    top_k = None if None in depths else max(cast(list[int], depths))  # what the most demanding share wants
    spans = [slice(end - count, end) for count, end in zip(task.counts, accumulate(task.counts), strict=True)]
    explained = {
        index: options.explain_label
        for span, options in zip(spans, task.options, strict=True)
        if options.explain
        for index in range(span.start, span.stop)
    }
    found = _classify(classifier, task.texts, top_k, explained)
    shares = [found.predictions[span] for span in spans]
    failed = {share: failure for share, mine in enumerate(shares) if (failure := _failure(mine))}
    fragments = [
        b"" if share in failed else _fragment(cast(list[Prediction], mine), options.top_k)
        for share, (mine, options) in enumerate(zip(shares, task.options, strict=True))
    ]
    lengths = [found.token_counts[span] for span in spans]
    costs = found.clock, found.tokenize_ms, found.inference_ms, len(task.texts), found.passes
    return Answer(
        started, classifier.device, *costs, list(map(sum, lengths)), list(map(max, lengths)), fragments, failed
    )


def _failure(predictions: Sequence[Prediction | str]) -> tuple[int, str] | None:
    """Place and reason of the first text without a prediction."""
    return next(((place, found) for place, found in enumerate(predictions) if isinstance(found, str)), None)


@dataclass
class _Found:
    """A prediction for each text, or why there is none, and what they cost."""

    predictions: list[Prediction | str]
    clock: str
    tokenize_ms: float
    inference_ms: float
    passes: int
    token_counts: list[int]


def _classify(
    classifier: Classifier, texts: Sequence[str], top_k: int | None, explained: Mapping[int, str | None]
) -> _Found:
    """Halve the pass while it fails, until the text on which the classifier fails stands alone.

    Raises what the classifier raises once its GPU is lost: another worker must take over.
    """
    try:
        predictions, timing = classifier.classify(texts, top_k, explained)
    except Exception as error:
        from model.device import is_lost  # here: the API process imports this module too, and needs no torch

        if is_lost(error):
            _logger.error("the GPU is lost, this worker ends: %s", error)
            raise
        if len(texts) == 1:
            _logger.error("the classifier failed on a text of %d characters: %s", len(texts[0]), type(error).__name__)
            return _Found([f"the classifier failed on it ({type(error).__name__})"], "", 0.0, 0.0, 1, [0])
    else:
        costs = timing.tokenize_ms, timing.inference_ms, timing.passes, timing.token_counts
        return _Found(list(predictions), timing.clock, *costs)
    middle = len(texts) // 2
    later = {index - middle: label for index, label in explained.items() if index >= middle}
    earlier = {index: label for index, label in explained.items() if index < middle}
    first = _classify(classifier, texts[:middle], top_k, earlier)
    second = _classify(classifier, texts[middle:], top_k, later)
    return _Found(
        first.predictions + second.predictions,
        first.clock or second.clock,
        first.tokenize_ms + second.tokenize_ms,
        first.inference_ms + second.inference_ms,
        first.passes + second.passes,
        first.token_counts + second.token_counts,
    )


def _fragment(predictions: Sequence[Prediction], top_k: int | None) -> bytes:
    """The predictions of one share as the inside of a JSON array."""
    documents = [prediction.to_dict() for prediction in predictions]
    if top_k is not None:
        for document in documents:
            if "scores" in document:
                document["scores"] = dict(list(document["scores"].items())[:top_k])
    return to_json(documents)[1:-1]
