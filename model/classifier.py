"""In-process classification of texts with a checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from .checkpoint import CheckpointConfig, read_config, read_network, read_tokenizer
from .checkpoint import revision as read_revision
from .device import DeviceTimer, resolve_device
from .encoding import encode_batch
from .network_textcnn import TextCnn
from .padding import pad_sequences
from .prediction import Prediction, predictions

MAX_PASS_TEXTS = 256  # of one forward pass; more texts take several passes

# B texts, T tokens, C classes.


@dataclass(frozen=True, slots=True)
class Timing:
    """What classifying a list of texts cost."""

    device: str
    clock: str  # "cuda_events" or "perf_counter"
    tokenize_ms: float
    inference_ms: float  # host-to-device copy, network and softmax, summed over the passes
    batch_size: int  # texts
    passes: int


class TextClassifier:
    """A checkpoint's network and tokenizer on a device; texts in, predictions out.

    >>> classifier = TextClassifier.from_pretrained("runs/quickstart")  # doctest: +SKIP
    >>> classifier(["where is my parcel?"])[0].label  # doctest: +SKIP
    'track_order'
    """

    def __init__(
        self,
        network: TextCnn,
        tokenizer: Tokenizer,
        config: CheckpointConfig,
        device: torch.device,
        name: str,
        revision: str,
    ) -> None:
        self.labels = config.labels
        self.problem_type = config.problem_type
        self.max_length = config.max_length  # tokens
        self.name = name
        self.revision = revision
        self.device = str(device)
        self._network = network.to(device)
        self._tokenizer = tokenizer
        self._config = config
        self._torch_device = device

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str = "auto") -> "TextClassifier":
        """Load a checkpoint folder; raises `InputError` for a defect of the folder or a device that does not exist."""
        path = Path(folder)
        config = read_config(path)
        network, tokenizer = read_network(path, config), read_tokenizer(path)
        return cls(network, tokenizer, config, resolve_device(device), path.resolve().name, read_revision(path))

    def __call__(self, texts: Sequence[str], top_k: int | None = None) -> list[Prediction]:
        """One prediction for each text, in order; raises `InputError` for an item that is no valid string."""
        outputs, _ = self.score(texts)
        return self.predictions(outputs, top_k)

    def classify(self, texts: Sequence[str], top_k: int | None = None) -> tuple[list[Prediction], Timing]:
        """The predictions and what they cost."""
        outputs, timing = self.score(texts)
        return self.predictions(outputs, top_k), timing

    def predictions(self, outputs: NDArray[np.float32], top_k: int | None = None) -> list[Prediction]:
        """Predictions for rows of `score`'s outputs (B, C)."""
        return predictions(outputs, self.labels, self.problem_type, top_k)

    def score(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], Timing]:
        """Probabilities (B, C) of the texts, or values (B, 1) for regression, and what they cost."""
        tokenize = DeviceTimer(torch.device("cpu"))
        with tokenize.measure():
            encodings = encode_batch(self._tokenizer, texts, self.max_length, self._config.truncation_side)
            token_ids = [encoding.ids for encoding in encodings]
        inference = DeviceTimer(self._torch_device)
        outputs = np.empty((len(token_ids), len(self.labels)), dtype=np.float32)
        by_length = sorted(range(len(token_ids)), key=lambda index: len(token_ids[index]))  # little padding in a pass
        passes = [by_length[start : start + MAX_PASS_TEXTS] for start in range(0, len(by_length), MAX_PASS_TEXTS)]
        for chosen in passes:
            outputs[chosen] = self._forward([token_ids[index] for index in chosen], inference)
        timing = Timing(
            self.device, inference.clock, tokenize.elapsed_ms, inference.elapsed_ms, len(token_ids), len(passes)
        )
        return outputs, timing

    @torch.inference_mode()
    def _forward(self, token_ids: list[list[int]], timer: DeviceTimer) -> NDArray[np.float32]:
        """One pass: probabilities (B, C) of the token ids of B texts."""
        padded = torch.from_numpy(
            pad_sequences(token_ids, dtype="int64", padding="post", value=self._config.pad_token_id)
        )
        lengths = torch.tensor([len(ids) for ids in token_ids])  # (B,)
        with timer.measure():
            input_ids, lengths = padded.to(self._torch_device), lengths.to(self._torch_device)
            attention_mask = torch.arange(input_ids.shape[1], device=self._torch_device) < lengths[:, None]  # (B, T)
            outputs = self._activation(self._network(input_ids, attention_mask)).cpu()
        return outputs.numpy()

    def _activation(self, logits: Tensor) -> Tensor:
        match self.problem_type:
            case "single_label_classification":
                return logits.softmax(dim=1)
            case "multi_label_classification":
                return logits.sigmoid()
        return logits
