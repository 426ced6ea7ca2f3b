"""Speed of training on one CPU: ours, transformers' Trainer used plainly, a popular repository's loop, and the floor.

python -m benchmarks.training --data FOLDER [--seconds 4] [--rounds 5] [--threads 1 2]

`--data` holds one folder a data set with train.jsonl. Every candidate lives in a process of its own and trains for some
seconds when it is its turn, first with each number of threads; the best one is kept for the rounds that count.
Writes benchmarks/results/training.json and prints a table.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from benchmarks.environment import describe
from model.configuration_textcnn import TextCnnConfig
from model.modeling_textcnn import TextCnnForSequenceClassification
from model.tokenizer import encode_batch
from training.config import parse
from training.data import load_data
from training.objective import Objective
from training.optimizers import choose_row_sparse, clip_row_sparse, row_sparse
from training.preparation import Prepared, prepare
from training.sampling import EpochBatches, random_order
from training.targets import SINGLE
from training.tokens import TokenCache
from training.trainer import TextCnnTrainer

RESULTS = Path(__file__).parent / "results" / "training.json"
WARM = 3  # steps of a training that go unmeasured
Turn = Callable[[int], float]  # trains for so many steps; seconds that they took


@dataclass(frozen=True)
class Case:
    """A data set with the flags of its training."""

    name: str
    data_set: str
    flags: tuple[str, ...]
    candidates: tuple[str, ...]
    bars: dict[str, float]  # how many times faster than a peer, or which share of the floor, we want to be
    rows: int | None = None  # of the embedding, where it is larger than the vocabulary learnt from the data


SMALL = ("--kernel_sizes", "2", "3", "4", "--num_filters", "100", "--per_device_train_batch_size", "64")
CASES = (
    Case(
        "3 x 256 filters, batch 128 x 32",
        "thucnews_title",
        (
            *("--kernel_sizes", "2", "3", "4", "--num_filters", "256", "--per_device_train_batch_size", "128"),
            *("--tokenizer", "char", "--max_length", "32", "--padding", "max_length", "--optim", "adam"),
            *("--learning_rate", "0.001", "--embedding_dim", "300"),
        ),
        ("ours", "conv2d_loop", "floor"),
        {"conv2d_loop": 1.7, "floor": 0.85},
    ),
    *(
        Case(
            f"30,522 rows x 384, {texts} texts",
            data_set,
            (*SMALL, "--embedding_dim", "384"),
            ("ours", "plain_trainer", "floor"),
            {"plain_trainer": 2.0, "floor": 0.85},
            rows=30_522,  # a BERT's vocabulary, whatever part of it the texts use
        )
        for texts, data_set in (("short", "clinc150"), ("long", "mr"))
    ),
    Case(
        "4k characters x 300",
        "thucnews_title",
        (*SMALL, "--tokenizer", "char", "--vocab_size", "4000", "--embedding_dim", "300"),
        ("ours", "plain_trainer", "floor"),
        {"plain_trainer": 1.3, "floor": 0.85},
    ),
)


class _Stopwatch(TrainerCallback):
    """The moment at which each step was done."""

    def __init__(self) -> None:
        self.moments: list[float] = []

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.moments.append(time.perf_counter())


def _timed(trainer: Trainer, steps: int) -> float:
    """Seconds of the last `steps` of a training, loading of their batches included, its preparation not."""
    stopwatch = _Stopwatch()
    trainer.add_callback(stopwatch)
    trainer.train()
    return stopwatch.moments[-1] - stopwatch.moments[-1 - steps]


class Setting:
    """What all candidates of a case share: prepared data and arguments."""

    def __init__(self, case: Case, data: Path, scratch: Path) -> None:
        files = ["--train_file", str(data / case.data_set / "train.jsonl"), "--output_dir", str(scratch / "out")]
        quiet = ["--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "false"]
        quiet += ["--logging_strategy", "no", "--report_to", "none", "--disable_tqdm", "true", "--device", "cpu"]
        data_arguments, self.model_arguments, self.arguments = parse([*files, *quiet, *case.flags])
        self.texts = load_data(data_arguments, 0)
        self.prepared: Prepared = prepare(self.texts, self.model_arguments, TokenCache(scratch / "cache"))
        if case.rows is not None:
            config = self.prepared.network.config
            config.vocab_size = case.rows
            self.prepared = replace(self.prepared, network=TextCnnForSequenceClassification(config))
        self.arguments.label_smoothing_factor = 0.0
        self.batch_size = self.arguments.per_device_train_batch_size


def ours(setting: Setting) -> Turn:
    """`textcnn-train`'s trainer."""

    def turn(steps: int) -> float:
        setting.arguments.max_steps = WARM + steps
        return _timed(TextCnnTrainer(setting.prepared, setting.arguments, SINGLE, Objective(SINGLE)), steps)

    return turn


def plain_trainer(setting: Setting) -> Turn:
    """`Trainer` of transformers as its documentation uses it: a list of samples, padded by its collator."""
    tokenizer, config = setting.prepared.tokenizer, setting.prepared.network.config
    rows = encode_batch(tokenizer, setting.texts.train.texts, config.max_length)
    labels = setting.prepared.train.labels.tolist()
    samples = [{"input_ids": ids, "labels": label} for ids, label in zip(rows, labels, strict=True)]
    network = TextCnnForSequenceClassification(config)

    def turn(steps: int) -> float:
        arguments = TrainingArguments(
            setting.arguments.output_dir,
            max_steps=WARM + steps,
            per_device_train_batch_size=setting.batch_size,
            learning_rate=setting.arguments.learning_rate or 0.0,
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            report_to="none",
            log_level="error",
            use_cpu=True,
        )
        return _timed(Trainer(network, arguments, DataCollatorWithPadding(tokenizer), samples), steps)

    return turn


def floor(setting: Setting) -> Turn:
    """The same arithmetic on batches that are ready, without anything around it."""
    arguments, network = setting.arguments, TextCnnForSequenceClassification(setting.prepared.network.config)
    embedding, parameters = network.network.embedding, list(network.parameters())
    embedding.sparse = choose_row_sparse(embedding, arguments)
    kind, options = TextCnnTrainer.get_optimizer_cls_and_kwargs(arguments)
    dense = kind(parameters[1:] if embedding.sparse else parameters, **options, weight_decay=0.0)
    optimizer = row_sparse(dense, embedding, arguments) if embedding.sparse else dense
    order = random_order(len(setting.prepared.train), len(setting.prepared.train), False)
    rows = EpochBatches(order, len(setting.prepared.train), setting.batch_size, 0, drop_last=True)
    batches = cycle([setting.prepared.train.__getitems__(chosen) for chosen in rows])

    def turn(steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            batch = next(batches)
            logits = network.network(batch["input_ids"], batch["attention_mask"])
            functional.cross_entropy(logits, batch["labels"]).backward()
            if embedding.sparse:
                clip_row_sparse(network, embedding, arguments.max_grad_norm)
            else:
                nn.utils.clip_grad_norm_(parameters, arguments.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
        return time.perf_counter() - start

    return turn


class Conv2dTextCnn(nn.Module):
    """The text CNN as most repositories have it: a picture of one channel under Conv2d, padding included."""

    def __init__(self, config: TextCnnConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_dim, padding_idx=config.pad_token_id)
        self.convs = nn.ModuleList(
            nn.Conv2d(1, config.num_filters, (size, config.embedding_dim)) for size in config.kernel_sizes
        )
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.num_filters * len(config.kernel_sizes), config.num_labels or 0)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Logits (B, C) of ids (B, T)."""
        picture = self.embedding(input_ids).unsqueeze(1)  # (B, 1, T, D)
        maps = [functional.relu(conv(picture)).squeeze(3) for conv in self.convs]  # K x (B, F, W)
        pooled = [functional.max_pool1d(each, each.size(2)).squeeze(2) for each in maps]  # K x (B, F)
        logits: Tensor = self.classifier(self.dropout(torch.cat(pooled, 1)))
        return logits


def conv2d_loop(setting: Setting) -> Turn:
    """The loop of 649453932/Chinese-Text-Classification-Pytorch: tensors made of lists batch by batch, dense Adam."""
    config = setting.prepared.network.config
    rows = encode_batch(setting.prepared.tokenizer, setting.texts.train.texts, config.max_length)
    padded = [ids + [config.pad_token_id] * (config.max_length - len(ids)) for ids in rows]
    samples = list(zip(padded, setting.prepared.train.labels.tolist(), strict=True))
    network = Conv2dTextCnn(config)
    optimizer = torch.optim.Adam(network.parameters(), lr=setting.arguments.learning_rate or 0.0)
    size = setting.batch_size
    batches = cycle([samples[start : start + size] for start in range(0, len(samples) - size, size)])

    def turn(steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            batch = next(batches)
            input_ids, labels = (torch.LongTensor([row[part] for row in batch]) for part in (0, 1))
            outputs = network(input_ids)
            network.zero_grad()
            functional.cross_entropy(outputs, labels).backward()
            optimizer.step()
        return time.perf_counter() - start

    return turn


CANDIDATES = {kind.__name__: kind for kind in (ours, plain_trainer, floor, conv2d_loop)}


def serve(name: str, threads: int, case: Case, data: Path, scratch: Path, connection: Connection) -> None:
    """The life of a candidate: for each number of steps received, samples per second and its peak memory."""
    torch.set_num_threads(threads)
    setting = Setting(case, data, scratch)
    turn = CANDIDATES[name](setting)
    while (seconds := connection.recv()) > 0:
        warm = turn(5) / 5
        steps = max(10, round(seconds / warm))
        speed = steps * setting.batch_size / turn(steps)
        connection.send((speed, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def measure(
    case: Case, data: Path, seconds: float, rounds: int, thread_counts: list[int], scratch: Path
) -> dict[str, Any]:
    """Medians of the candidates of a case, each with its better number of threads."""
    context = multiprocessing.get_context("spawn")
    ends: dict[tuple[str, int], Connection] = {}
    processes = []
    Setting(case, data, scratch)  # tokenizes for all
    for name in case.candidates:
        for threads in thread_counts:
            ends[name, threads], theirs = context.Pipe()
            process = context.Process(target=serve, args=(name, threads, case, data, scratch, theirs), daemon=True)
            process.start()
            processes.append(process)
    ask = partial(_ask, seconds=seconds)
    first = {key: ask(end)[0] for key, end in ends.items()}
    best = {name: max(thread_counts, key=lambda threads, name=name: first[name, threads]) for name in case.candidates}  # type: ignore[misc]
    turns = [{name: ask(ends[name, best[name]]) for name in case.candidates} for _ in range(rounds)]
    for end in ends.values():
        end.send(0)
    for process in processes:
        process.join()
    rows = {
        name: {
            "samples_per_second": round(statistics.median(turn[name][0] for turn in turns), 1),
            "threads": best[name],
            "peak_rss_mib": round(max(turn[name][1] for turn in turns)),
        }
        for name in case.candidates
    }
    ratios = {
        name: round(float(np.median([turn["ours"][0] / turn[name][0] for turn in turns])), 2) for name in case.bars
    }
    return {"case": case.name, "data_set": case.data_set, "candidates": rows, "ours_to": ratios, "bars": case.bars}


def _ask(end: Connection, seconds: float) -> tuple[float, float]:
    end.send(seconds)
    answer: tuple[float, float] = end.recv()
    return answer


def table(results: list[dict[str, Any]]) -> str:
    """One line a candidate."""
    lines = [
        "| case | candidate | threads | samples/s | peak memory MiB | ours to it | bar |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        for name, row in result["candidates"].items():
            ratio, bar = (result[kind].get(name, "") for kind in ("ours_to", "bars"))
            speed = f"{row['samples_per_second']:,.0f}"
            cells = (result["case"], name, row["threads"], speed, row["peak_rss_mib"], ratio, bar)
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, write the results, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Folder of data sets.")
    parser.add_argument("--seconds", type=float, default=4, help="Of each turn.")
    parser.add_argument("--rounds", type=int, default=5, help="Turns that count.")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="Tried; the best of a candidate counts.")
    arguments = parser.parse_args()
    options = (
        f"--seconds {arguments.seconds:g} --rounds {arguments.rounds} --threads {' '.join(map(str, arguments.threads))}"
    )
    command = f"python -m benchmarks.training --data FOLDER {options}"
    results: list[dict[str, Any]] = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as scratch:
            timing = (arguments.seconds, arguments.rounds, arguments.threads)
            results.append(measure(case, arguments.data, *timing, Path(scratch)))
        content = {"environment": describe(command), "results": results}  # a later case may be interrupted
        RESULTS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        print(table(results), flush=True)


if __name__ == "__main__":
    main()
