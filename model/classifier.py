"""In-process classification of texts with a checkpoint."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from . import evidence
from .checkpoint import CheckpointConfig, read_config, read_examples, read_network, read_tokenizer
from .device import resolve_device
from .encoding import companion, encode, shared, truncate
from .errors import InputError
from .files import revision as read_revision
from .folding import FoldedTextCnn
from .graphs import tensor_float
from .network_textcnn import TextCnn
from .options import InferenceOptions
from .prediction import Prediction, predictions
from .runner import build_runner, choose_network
from .windows import Windows

SHARED_PASS_TEXTS = 128  # of two threads' passes: the fewer they are, the less often one waits for the interpreter

# B texts, C classes.


@dataclass(slots=True)
class Timing:
    """What classifying a list of texts cost."""

    device: str
    clock: str  # "cuda_events" or "perf_counter"
    batch_size: int  # texts
    tokenize_ms: float = 0.0  # that the network had to wait for token ids
    inference_ms: float = 0.0  # host-to-device copy, network and softmax, summed over the passes
    passes: int = 0
    token_counts: list[int] = field(default_factory=list)  # of each text, what was read of it


class _Encoded(NamedTuple):
    """What a pass reads, b texts in its own order."""

    indices: list[int]  # of the texts in the list that was given
    encodings: list[Encoding]
    token_ids: list[list[int]]
    lengths: list[int]  # tokens, in the order of the list


_EncodePass = Callable[[int], _Encoded]
_Pass = tuple[_Encoded, NDArray[np.float32]]  # what was read, and its outputs (b, C)


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
        options: InferenceOptions,
        name: str,
        revision: str,
        examples: Sequence[str] = (),
    ) -> None:
        self.labels = config.labels
        self.problem_type = config.problem_type
        self.thresholds = config.thresholds  # (C,) probabilities, of several labels
        self.abstention = config.abstention
        self.max_length = config.max_length  # tokens
        self.name = name
        self.revision = revision
        self.examples = list(examples)  # texts to try
        self.device = str(device)
        self.precision = options.precision
        self.folded_bytes = network.table_bytes if isinstance(network, FoldedTextCnn) else 0
        self._network, self._shape, self._tokenizer = network, config, tokenizer
        self.windows = Windows.of(options, config)  # by which longer texts are read, if they are not cut
        truncate(tokenizer, None if self.windows else config.max_length, config.truncation_side)
        self._run = build_runner(network, config, device, options)
        self.pass_texts = self._run.pass_texts  # the most that one pass takes

    @property
    def is_parallel(self) -> bool:
        """Whether two threads that classify are faster than one."""
        return self._run.is_parallel

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str = "auto", **options: Any) -> "TextClassifier":
        """Load a checkpoint folder; `options` are those of `InferenceOptions`.

        Raises `InputError` for a defect of the folder, a device that does not exist or an option that there is not.
        """
        path = Path(folder)
        config = read_config(path)
        place, chosen = resolve_device(device), InferenceOptions(**options)
        network = choose_network(read_network(path, config), config, place, chosen)
        tokenizer = read_tokenizer(path, config)
        name, revision = path.resolve().name, read_revision(path)
        return cls(network, tokenizer, config, place, chosen, name, revision, read_examples(path))

    def __call__(
        self,
        texts: Sequence[str],
        top_k: int | None = None,
        *,
        explain: bool = False,
        explain_label: str | None = None,
    ) -> list[Prediction]:
        """One prediction for each text, in order, with its evidence if wanted: see `explain`.

        Raises `InputError` for the same as `classify`, and for an `explain_label` without `explain`.
        """
        if explain_label is not None and not explain:
            raise InputError(f"explain_label goes with explain = True, got {explain_label!r} without")
        explained = dict.fromkeys(range(len(texts)), explain_label) if explain else None
        return self.classify(texts, top_k, explained)[0]

    def classify(
        self, texts: Sequence[str], top_k: int | None = None, explained: Mapping[int, str | None] | None = None
    ) -> tuple[list[Prediction], Timing]:
        """The predictions and what they cost; `explained` is of the texts to explain: by index the label, or None.

        Raises `InputError` for a `top_k` below 1, an item that is no valid string and a label that there is not.
        """
        if top_k is not None and top_k < 1:
            raise InputError(f"top_k must be at least 1, got {top_k}")
        found: list[Any] = [None] * len(texts)
        timing = Timing(self.device, self._run.clock, len(texts))
        for encoded, outputs in self._passes(texts, timing, offsets=bool(explained)):
            predicted = self._predictions(encoded, outputs, top_k)
            for index, encoding, prediction in zip(encoded.indices, encoded.encodings, predicted, strict=True):
                if explained and index in explained:
                    self._explain(texts[index], encoding, prediction, explained[index])
                found[index] = prediction
        return found, timing

    def explain(self, texts: Sequence[str], found: Sequence[Prediction], label: str | None = None) -> None:
        """Give each of the predictions `found` for `texts` the bias and the evidence of its best label, or of `label`.

        Bias and contributions add up to the label's calibrated logit, or to the value of a regression. Of a text that
        is read in windows it is the evidence in the window with the highest score of the label. Raises `InputError`
        for a label that the checkpoint does not have.
        """
        for text, encoding, prediction in zip(texts, encode(self._tokenizer, texts, offsets=True), found, strict=True):
            self._explain(text, encoding, prediction, label)

    def _explain(self, text: str, encoding: Encoding, prediction: Prediction, label: str | None) -> None:
        if label is not None and (self.problem_type == "regression" or label not in self.labels):
            raise InputError(f"explain_label must be a label of the checkpoint, got {label!r}")
        wanted = label or prediction.label
        index = 0 if wanted is None else self.labels.index(wanted)
        token_ids, offsets = self._strongest_window(encoding, index)
        exact = nullcontext() if self.device == "cpu" else tensor_float(self.precision == "tf32")  # as in the passes
        with exact:
            prediction.bias, prediction.evidence = evidence.explain(
                self._network, self._shape, token_ids, offsets, text, index
            )

    def _predictions(self, encoded: _Encoded, outputs: NDArray[np.float32], top_k: int | None) -> list[Prediction]:
        rule = self.abstention
        abstained = None if rule is None else rule(outputs, encoded.token_ids)  # (b,)
        return predictions(outputs, self.labels, self.problem_type, top_k, self.thresholds, abstained)

    def score(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], Timing]:
        """Probabilities (B, C) of the texts, or values (B, 1) for regression, and what they cost."""
        outputs = np.empty((len(texts), len(self.labels)), dtype=np.float32)
        timing = Timing(self.device, self._run.clock, len(texts))
        for encoded, of_pass in self._passes(texts, timing):
            outputs[encoded.indices] = of_pass
        return outputs, timing

    def _passes(self, texts: Sequence[str], timing: Timing, *, offsets: bool = False) -> Iterable[_Pass]:
        """Every pass over the texts; what they cost is added to `timing`."""
        if isinstance(texts, str):
            raise InputError("texts must be a list of strings, got str")
        count, size = len(texts), self._run.pass_texts
        share = count > size and self._run.is_parallel
        if share:
            size = min(max(size, (count + 1) // 2), SHARED_PASS_TEXTS)
        encode_pass, starts = partial(self._encode_pass, texts, size, offsets=offsets), range(0, count, size)
        if len(starts) < 2:
            return [self._make_pass(encode_pass, start, timing) for start in starts]
        return (self._shared_passes if share else self._piped_passes)(encode_pass, starts, timing)

    def _make_pass(self, encode_pass: _EncodePass, start: int, cost: Timing) -> _Pass:
        """One pass with nothing beside it; what it costs is added to `cost`."""
        begin = time.perf_counter()
        encoded = encode_pass(start)
        cost.tokenize_ms += (time.perf_counter() - begin) * 1e3
        return self._run_pass(encoded, cost)

    def _piped_passes(self, encode_pass: _EncodePass, starts: range, timing: Timing) -> Iterator[_Pass]:
        """One pass after the other, the texts of the next one being tokenized by another thread meanwhile."""
        begin = time.perf_counter()
        for encoded in companion().map(encode_pass, starts):
            timing.tokenize_ms += (time.perf_counter() - begin) * 1e3
            yield self._run_pass(encoded, timing)
            begin = time.perf_counter()

    def _shared_passes(self, encode_pass: _EncodePass, starts: range, timing: Timing) -> Iterator[_Pass]:
        """Every second pass is made by another thread; `timing` gets the mean of the two, which ran side by side."""

        def make(start: int) -> tuple[_Pass, Timing]:
            cost = Timing(timing.device, timing.clock, 0)
            return self._make_pass(encode_pass, start, cost), cost

        for made, cost in shared(make, starts):
            timing.tokenize_ms += cost.tokenize_ms / 2
            timing.inference_ms += cost.inference_ms / 2
            timing.passes += cost.passes
            timing.token_counts += cost.token_counts
            yield made

    def _encode_pass(self, texts: Sequence[str], size: int, start: int, *, offsets: bool) -> _Encoded:
        """At most `size` texts from index `start` on, the longest first: neighbours need little padding."""
        encodings = encode(self._tokenizer, texts[start : start + size], offsets=offsets, first=start)
        token_ids = [encoding.ids for encoding in encodings]
        lengths = list(map(len, token_ids))
        if len(encodings) == 1:
            return _Encoded([start], encodings, token_ids, lengths)
        order = sorted(range(len(encodings)), key=lengths.__getitem__, reverse=True)
        encodings, token_ids = [encodings[index] for index in order], [token_ids[index] for index in order]
        return _Encoded([start + index for index in order], encodings, token_ids, lengths)

    def _run_pass(self, encoded: _Encoded, cost: Timing) -> _Pass:
        outputs, elapsed_ms, passes = self._read(encoded.token_ids)
        cost.inference_ms += elapsed_ms
        cost.passes += passes
        cost.token_counts += encoded.lengths
        return encoded, outputs

    def _read(self, token_ids: list[list[int]]) -> tuple[NDArray[np.float32], float, int]:
        """Outputs (B, C) of the token ids of B texts, the milliseconds and the passes that they took."""
        if self.windows is None:
            return *self._run(token_ids), 1
        split = [self.windows.split(ids) for ids in token_ids]
        windows = [window for text in split for window in text]
        outputs, elapsed_ms, passes = self._read_windows(windows)
        return self.windows.pool(outputs, list(map(len, split))), elapsed_ms, passes

    def _read_windows(self, windows: list[list[int]]) -> tuple[NDArray[np.float32], float, int]:
        """Outputs (N, C) of the token ids of N windows, the milliseconds and the passes that they took."""
        size = self._run.pass_texts
        passes = [self._run(windows[start : start + size]) for start in range(0, len(windows), size)]
        return np.concatenate([outputs for outputs, _ in passes]), sum(spent for _, spent in passes), len(passes)

    def _strongest_window(self, encoding: Encoding, label: int) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids and offsets of what was read of a text, or of the window with the highest score of the label."""
        if self.windows is None:
            return encoding.ids, encoding.offsets
        windows = self.windows.split(encoding.ids)
        best = int(self._read_windows(windows)[0][:, label].argmax()) if len(windows) > 1 else 0
        return windows[best], self.windows.split(encoding.offsets)[best]
