"""In-process classification of texts with a checkpoint."""

from collections.abc import Callable, Sequence
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
from .encoding import encode_batch, right_padded
from .errors import InputError
from .folding import FoldedTextCnn, folded_bytes
from .network_textcnn import TextCnn
from .prediction import Prediction, predictions

MAX_PASS_TEXTS = 256  # of one forward pass; more texts take several passes
FOLDING = ("auto", "on", "off")
FOLDING_BUDGET_MB = 512.0  # the largest table of a `FoldedTextCnn` that "auto" builds, in 10^6 bytes

# B texts, L tokens, C classes.

Forward = Callable[[Tensor, Tensor], Tensor]  # ids (B, L) padded on the right and lengths (B,) -> logits (B, C)


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

    `folded_bytes` is the memory of the folded network's table, 0 where the dense network runs.

    >>> classifier = TextClassifier.from_pretrained("runs/quickstart")  # doctest: +SKIP
    >>> classifier(["where is my parcel?"])[0].label  # doctest: +SKIP
    'track_order'
    """

    def __init__(
        self,
        network: TextCnn | FoldedTextCnn,
        tokenizer: Tokenizer,
        config: CheckpointConfig,
        device: torch.device,
        name: str,
        revision: str,
    ) -> None:
        self.labels = config.labels
        self.problem_type = config.problem_type
        self.thresholds = config.thresholds  # (C,) probabilities, of several labels
        self.max_length = config.max_length  # tokens
        self.name = name
        self.revision = revision
        self.device = str(device)
        self.folded_bytes = network.table_bytes if isinstance(network, FoldedTextCnn) else 0
        self._logits: Forward = network if isinstance(network, FoldedTextCnn) else _dense(network, device)
        self._tokenizer = tokenizer
        self._truncation_side = config.truncation_side
        self._torch_device = device

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        device: str = "auto",
        *,
        folding: str = "auto",
        folding_budget_mb: float = FOLDING_BUDGET_MB,
    ) -> "TextClassifier":
        """Load a checkpoint folder; raises `InputError` for a defect of the folder or a device that does not exist.

        `folding` replaces the network by its `FoldedTextCnn`: same answers, many times faster on a CPU, for more
        memory. "auto" does so on the CPU if the table takes at most `folding_budget_mb` (10^6 bytes).
        """
        if folding not in FOLDING:
            raise InputError(f"folding must be one of {', '.join(FOLDING)}, got {folding!r}")
        path = Path(folder)
        config = read_config(path)
        network, tokenizer = read_network(path, config), read_tokenizer(path)
        torch_device = resolve_device(device)
        network.to(torch_device)
        fits = torch_device.type == "cpu" and folded_bytes(config) <= folding_budget_mb * 1e6
        folded = FoldedTextCnn(network) if folding == "on" or (folding == "auto" and fits) else None
        return cls(folded or network, tokenizer, config, torch_device, path.resolve().name, read_revision(path))

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
        return predictions(outputs, self.labels, self.problem_type, top_k, self.thresholds)

    def score(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], Timing]:
        """Probabilities (B, C) of the texts, or values (B, 1) for regression, and what they cost."""
        tokenize = DeviceTimer(torch.device("cpu"))
        with tokenize.measure():
            encodings = encode_batch(self._tokenizer, texts, self.max_length, self._truncation_side)
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
        input_ids, lengths = map(torch.from_numpy, right_padded(token_ids))  # (B, L), (B,)
        with timer.measure():
            outputs = self._activation(self._logits(input_ids, lengths)).cpu()
        return outputs.numpy()

    def _activation(self, logits: Tensor) -> Tensor:
        match self.problem_type:
            case "single_label_classification":
                return logits.softmax(dim=1)
            case "multi_label_classification":
                return logits.sigmoid()
        return logits


def _dense(network: TextCnn, device: torch.device) -> Forward:
    """The network with all its convolutions, as it was trained."""

    def logits(input_ids: Tensor, lengths: Tensor) -> Tensor:
        input_ids, lengths = input_ids.to(device), lengths.to(device)
        attention_mask = torch.arange(input_ids.shape[1], device=device) < lengths[:, None]  # (B, L)
        output: Tensor = network(input_ids, attention_mask)
        return output

    return logits
