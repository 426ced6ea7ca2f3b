"""BentoML with adaptive batching: CHECKPOINT=folder bentoml serve benchmarks.peers.bentoml_service:Classifier."""

import os
from typing import Any

import bentoml
import torch

from model.classifier import TextClassifier


@bentoml.service(workers=1, traffic={"timeout": 60, "max_concurrency": 512}, metrics={"enabled": False})
class Classifier:
    """The same classifier; BentoML gathers requests into passes."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self.classifier = TextClassifier.from_pretrained(os.environ["CHECKPOINT"], "cpu")
        self.classifier(["warm up"])

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)  # type: ignore[untyped-decorator]
    def predict(self, inputs: list[str]) -> list[dict[str, Any]]:
        """One prediction a text."""
        return [prediction.to_dict() for prediction in self.classifier(inputs)]
