"""metrics.json: what was learnt from what, how well, how fast, with which settings and versions."""

import json
import math
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from transformers import TrainerState

from training.assessment import Assessment
from training.config import DataArguments, ModelArguments
from training.config_training import TextCnnTrainingArguments
from training.data import TextData
from training.precision import products_in
from training.preparation import Prepared
from training.targets import REGRESSION, names_of

_EXAMPLES = 6  # texts to try
_EXAMPLE_CHARACTERS = 80  # of the longest of them
_PACKAGES = ("textcnn-service", "torch", "transformers", "tokenizers")


def summarize(
    data: TextData,
    prepared: Prepared,
    assessment: Assessment,
    state: TrainerState,
    outcome: Mapping[str, float],
    arguments: tuple[DataArguments, ModelArguments, TextCnnTrainingArguments],
) -> dict[str, Any]:
    """The content of metrics.json, ready for `to_json`."""
    data_arguments, model_arguments, training_arguments = arguments
    return {
        **assessment.measured,
        **{name: part for name, part in vars(assessment).items() if name != "measured" and part is not None},
        "train": {
            **_speed(state, outcome, training_arguments),
            "precision": products_in(training_arguments, prepared.network.config),
        },
        "data": _data(data, prepared),
        "arguments": {
            "data": asdict(data_arguments),
            "model": asdict(model_arguments),
            "training": training_arguments.to_dict(),  # type: ignore[no-untyped-call]  # secrets masked
        },
        "versions": _versions(),
    }


def to_json(summary: Mapping[str, Any]) -> str:
    """The text of metrics.json, where a figure that is no number, such as a loss past all bounds, is null."""
    return json.dumps(_finite(summary), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _speed(
    state: TrainerState, outcome: Mapping[str, float], arguments: TextCnnTrainingArguments
) -> dict[str, float | str | None]:
    is_best_kept, step = arguments.load_best_model_at_end, state.best_global_step
    best = [log["epoch"] for log in state.log_history if is_best_kept and log.get("step") == step and "epoch" in log]
    return {
        "seconds": outcome["train_runtime"],  # evaluations included
        "samples_per_second": outcome.get("samples", 0.0) / outcome["train_runtime"],
        **{name: value for name, value in outcome.items() if name.startswith("step_")},  # on the device
        "processes": arguments.world_size,
        "device": str(arguments.device),
        "epochs": state.epoch,
        "best_epoch": best[0] if best else None,
        "steps": state.global_step,
        "resumed_at_step": outcome.get("resumed_at_step"),  # seconds, speeds and loss are of what came after
        "loss": outcome["train_loss"],
        "linear_part_weight": outcome.get("linear_part_weight", 0.0),  # that of the filters is the rest
    }


def _data(data: TextData, prepared: Prepared) -> dict[str, Any]:
    splits = {"train": data.train, **data.measured(), **data.out_of_scope}
    config = prepared.network.config
    return {
        "problem_type": data.problem_type,
        "splits": {name: {"source": split.source, "texts": len(split)} for name, split in splits.items()},
        "labels": {data.labels[0]: len(data.train)} if data.problem_type == REGRESSION else _counts(data),
        "max_length": config.max_length,
        "examples": _examples(data.validation.texts),
        "truncated_share": prepared.truncated_share,
        "unknown_token_share": prepared.unknown_share,
        "vocabulary": config.vocab_size,
        "vectors": prepared.vectors,
        "parameters": sum(parameter.numel() for parameter in prepared.network.parameters()),
    }


def _examples(texts: Sequence[str]) -> list[str]:
    """A few short texts from all over the split, for the model card and whoever tries the checkpoint."""
    short = [text for text in texts if 0 < len(text) <= _EXAMPLE_CHARACTERS]
    return list(dict.fromkeys(short[:: max(1, len(short) // _EXAMPLES)]))[:_EXAMPLES]


def _counts(data: TextData) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for target in data.train.targets:
        counts.update(names_of(target))
    return {label: counts[label] for label in data.labels}


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # run from a source tree
            continue
    return versions
