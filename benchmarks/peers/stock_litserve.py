"""Stock LitServe with default settings; tokenizer and dense network in `predict`: python -m … CHECKPOINT PORT."""

import sys
from typing import Any

import litserve
import torch

from model.classifier import TextClassifier


class StockAPI(litserve.LitAPI):  # type: ignore[misc]  # LitServe ships no types
    """What LitServe's documentation shows, with this checkpoint."""

    def setup(self, device: str) -> None:
        """Load the network as it was trained."""
        torch.set_num_threads(1)
        self.classifier = TextClassifier.from_pretrained(sys.argv[1], "cpu", folding="off")

    def decode_request(self, request: dict[str, Any]) -> str:
        """The text."""
        text: str = request["inputs"]
        return text

    def predict(self, text: str) -> dict[str, Any]:
        """Its prediction."""
        return self.classifier([text])[0].to_dict()

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """The reply."""
        return {"predictions": [output]}


if __name__ == "__main__":
    litserve.LitServer(StockAPI(), accelerator="cpu").run(port=int(sys.argv[2]), generate_client_file=False)
