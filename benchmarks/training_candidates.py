"""Who trains in the benchmark of training: ours, transformers' Trainer used plainly, a popular loop, and bare loops."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any

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

from model.configuration_textcnn import TextCnnConfig
from model.modeling_textcnn import TextCnnForSequenceClassification
from model.tokenizer import encode_batch
from training.config import parse
from training.data import load_data
from training.distinct import pool_by_distinct_tokens
from training.objective import Objective
from training.optimizers import choose_row_sparse, clip_row_sparse, row_sparse
from training.precision import half_precision
from training.preparation import Prepared, prepare
from training.sampling import EpochBatches, random_order
from training.targets import SINGLE
from training.tokens import TokenCache
from training.trainer import TextCnnTrainer

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


def floor(setting: Setting, by_distinct_tokens: bool = True) -> Turn:
    """The same arithmetic on batches that are ready, without anything around it."""
    arguments, network = setting.arguments, TextCnnForSequenceClassification(setting.prepared.network.config)
    if by_distinct_tokens:
        pool_by_distinct_tokens(network.network, half_precision(arguments.device))
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
                clip_row_sparse(network, arguments.max_grad_norm)
            else:
                nn.utils.clip_grad_norm_(parameters, arguments.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
        return time.perf_counter() - start

    return turn


def conv1d_floor(setting: Setting) -> Turn:
    """The same with `nn.Conv1d`: what a loop without anything around it could reach that has the usual arithmetic."""
    return floor(setting, by_distinct_tokens=False)


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


CANDIDATES = {kind.__name__: kind for kind in (ours, plain_trainer, floor, conv1d_floor, conv2d_loop)}
