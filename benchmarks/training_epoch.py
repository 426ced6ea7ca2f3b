"""Time of a training epoch on sequences that lie on the device, and what the device does meanwhile.

python -m benchmarks.training_epoch [--device cuda] [--sequences 120000] [--batch_size 1024] [FLAGS OF textcnn-train]

Synthetic ids: 64 of 30,000 tokens a sequence, embeddings of 300 channels, 3 x 100 filters of 3, 4 and 5 tokens, timed
from the first batch to the last update. The bar is 1.0 s for 120,000 sequences on a GPU of the class of an H100.
Writes benchmarks/results/training_epoch.json (`--output`) and prints it.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from benchmarks.environment import describe
from model.configuration_textcnn import TextCnnConfig
from model.modeling_textcnn import TextCnnForSequenceClassification
from model.tokenizer import train_tokenizer
from training.config import parse
from training.config_training import TextCnnTrainingArguments
from training.features import Layout, TokenTensors
from training.objective import Objective
from training.preparation import Prepared
from training.scaling import Scale
from training.targets import SINGLE
from training.tokens import Tokens
from training.trainer import TextCnnTrainer

RESULTS = Path(__file__).parent / "results" / "training_epoch.json"
TOKENS, VOCABULARY, CLASSES = 64, 30_000, 10
LABELS = {number: str(number) for number in range(CLASSES)}
LONGEST_OPERATIONS = 8  # that are listed


class _Epochs(TrainerCallback):
    """Seconds of each epoch, the device's work included."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: list[float] = []
        self._device, self._start = device, 0.0

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._start = self._now()

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.seconds.append(self._now() - self._start)


def prepare_sequences(count: int) -> Prepared:
    """`count` sequences of random ids and classes, and the network for them."""
    draw = np.random.default_rng(0)
    ids = draw.integers(1, VOCABULARY, count * TOKENS, dtype=np.int32)
    tokens = Tokens(ids, np.full(count, TOKENS, dtype=np.int64))
    rows = TokenTensors(tokens, draw.integers(0, CLASSES, count), Layout(TOKENS, trim=True))
    config = TextCnnConfig(
        vocab_size=VOCABULARY, embedding_dim=300, kernel_sizes=[3, 4, 5], num_filters=100, id2label=LABELS
    )
    network = TextCnnForSequenceClassification(config)
    tokenizer = train_tokenizer(["unused"], "word", 10)
    return Prepared(tokenizer, network, Scale(), rows, rows, None, {}, 0.0, 0.0, None)


def epochs_of(prepared: Prepared, arguments: TextCnnTrainingArguments, epochs: int) -> list[float]:
    """Seconds of each epoch of a training."""
    arguments.num_train_epochs = epochs
    trainer = TextCnnTrainer(prepared, arguments, SINGLE, Objective(SINGLE))
    clock = _Epochs(arguments.device)
    trainer.add_callback(clock)
    trainer.train()
    return clock.seconds


def profiled(prepared: Prepared, arguments: TextCnnTrainingArguments) -> dict[str, Any]:
    """What takes the device's time in an epoch, and how much of the epoch it works at all."""
    on_gpu = arguments.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as recorded:
        (seconds,) = epochs_of(prepared, arguments, 1)
    name = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    times = {event.key: getattr(event, name) / 1e6 for event in recorded.key_averages()}
    longest = sorted(times, key=lambda key: -times[key])[:LONGEST_OPERATIONS]
    return {
        "epoch_s": round(seconds, 4),  # longer than unobserved
        "busy_s": round(sum(times.values()), 4),
        "longest_s": {key: round(times[key], 4) for key in longest},
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, write the result, print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="Where to train.")
    parser.add_argument("--sequences", type=int, default=120_000, help="Of an epoch.")
    parser.add_argument("--batch_size", type=int, default=1024, help="Sequences in a step.")
    parser.add_argument("--epochs", type=int, default=5, help="That count, after one that does not.")
    parser.add_argument("--output", type=Path, default=RESULTS, help="File of the result.")
    own, flags = parser.parse_known_args(argv)
    given = f"--sequences {own.sequences} --batch_size {own.batch_size} --epochs {own.epochs}"
    command = " ".join([f"python -m benchmarks.training_epoch --device {own.device} {given}", *flags])
    prepared = prepare_sequences(own.sequences)
    with tempfile.TemporaryDirectory() as scratch:
        quiet = ["--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "false"]
        quiet += ["--report_to", "none", "--disable_tqdm", "true", "--output_dir", scratch, "--train_file", "none.csv"]
        size = ["--per_device_train_batch_size", str(own.batch_size), "--label_smoothing_factor", "0"]
        _, _, arguments = parse(["--device", own.device, *quiet, *size, *flags])
        _, *seconds = epochs_of(prepared, arguments, own.epochs + 1)
        found = {
            "epoch_s": round(statistics.median(seconds), 4),
            "slowest_epoch_s": round(max(seconds), 4),
            "samples_per_second": round(own.sequences / statistics.median(seconds)),
            "profile": profiled(prepared, arguments),
        }
    text = json.dumps({"environment": describe(command), **found}, indent=1)
    own.output.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
