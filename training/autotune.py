"""`--autotune_minutes`: trainings with other settings within a budget of time, the best of them kept."""

import copy
import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import TPESampler
from optuna.trial import Trial
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from model.checkpoint import CONFIG
from model.errors import InputError
from training.card import model_card
from training.config import DataArguments, ModelArguments
from training.config_training import LEARNING_RATE, TextCnnTrainingArguments
from training.data import TextData
from training.metrics import best_metric
from training.output import CARD, SUMMARY, OutputFolder
from training.report.page import write_report
from training.run import train

logger = logging.getLogger(__name__)

Settings = dict[str, Any]

_KERNEL_SIZES = ("1 2", "1 2 3", "1 2 3 4", "2 3 4", "3 4 5", "1 2 3 4 5 6")
_SPACE: dict[str, Callable[[Trial], Any]] = {
    "learning_rate": lambda trial: trial.suggest_float("learning_rate", 2e-4, 2e-2, log=True),
    "num_train_epochs": lambda trial: trial.suggest_int("num_train_epochs", 2, 16),
    "num_filters": lambda trial: trial.suggest_categorical("num_filters", [64, 128, 256, 512]),
    "kernel_sizes": lambda trial: trial.suggest_categorical("kernel_sizes", _KERNEL_SIZES),
    "dropout": lambda trial: trial.suggest_float("dropout", 0.1, 0.7, step=0.1),
    "tokenizer": lambda trial: trial.suggest_categorical("tokenizer", ["wordpiece", "word", "bpe", "char"]),
}


class _Deadline(TrainerCallback):
    """Ends a training after the first evaluation past the deadline."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        control.should_training_stop = control.should_training_stop or time.monotonic() > self._deadline


class Autotune:
    """Trials in hidden folders inside the output folder; only the best one so far stays on the disk."""

    def __init__(
        self,
        data: TextData,
        folder: OutputFolder,
        data_arguments: DataArguments,
        model_arguments: ModelArguments,
        arguments: TextCnnTrainingArguments,
    ) -> None:
        if arguments.world_size > 1 or folder.resume_from is not None:
            raise InputError(
                "autotune_minutes is for one process and starts anew: no torchrun, no resume_from_checkpoint"
            )
        self._data, self._folder = data, folder
        self._data_arguments, self._model_arguments, self._arguments = data_arguments, model_arguments, arguments
        self._metric, self._higher = best_metric(arguments.metric_for_best_model, data.problem_type, data.train.targets)
        self._deadline = time.monotonic() + 60 * (arguments.autotune_minutes or 0)
        self._best: tuple[float, Path, dict[str, Any]] | None = None
        self._trials: list[dict[str, Any]] = []

    def run(self) -> dict[str, Any]:
        """Search until the time is up, from the settings as given on; the summary of the best trial."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            direction="maximize" if self._higher else "minimize", sampler=TPESampler(seed=self._arguments.seed)
        )
        given = {name: _given(name, self._model_arguments, self._arguments) for name in self._searched()}
        study.enqueue_trial({name: value for name, value in given.items() if value is not None})
        self._folder.begin()
        seconds = max(self._deadline - time.monotonic(), 0.001)
        study.optimize(self._try, timeout=seconds)
        assert self._best is not None  # noqa: S101  (the first trial has run, or raised)
        return self._keep(*self._best[1:])

    def _searched(self) -> list[str]:
        """Settings that are at their default: what was given stays."""
        fresh_model, fresh_training = ModelArguments(), TextCnnTrainingArguments.__dataclass_fields__
        default = {name: getattr(fresh_model, name) for name in ("num_filters", "kernel_sizes", "dropout", "tokenizer")}
        given = {name: getattr(self._model_arguments, name) for name in default}
        default |= {"num_train_epochs": fresh_training["num_train_epochs"].default, "learning_rate": LEARNING_RATE}
        given |= {name: getattr(self._arguments, name) for name in ("num_train_epochs", "learning_rate")}
        return [name for name in _SPACE if given[name] == default[name]]

    def _try(self, trial: Trial) -> float:
        settings = {name: _SPACE[name](trial) for name in self._searched()}
        model, arguments = _with(settings, self._model_arguments, self._arguments)
        path = self._folder.path / f".writing-trial-{trial.number}"
        arguments.output_dir, arguments.report_to, arguments.keep_checkpoints = str(path), [], False
        start = time.monotonic()
        deadline = [_Deadline(self._deadline)]
        try:
            summary = train(self._data, OutputFolder(path), self._data_arguments, model, arguments, deadline)
        except InputError as mistake:
            if self._best is None:  # the settings as given
                raise
            raise optuna.TrialPruned from mistake
        value = float(summary["validation"][self._metric])
        seconds = round(time.monotonic() - start, 1)
        self._trials.append({"trial": trial.number, **settings, self._metric: value, "seconds": seconds})
        described = ", ".join(f"{name} {setting}" for name, setting in settings.items())
        logger.info("trial %d: %s %.4f (%s)", trial.number, self._metric, value, described)
        if self._best is None or (value > self._best[0] if self._higher else value < self._best[0]):
            if self._best is not None:
                shutil.rmtree(self._best[1])
            self._best = value, path, summary
        else:
            shutil.rmtree(path)
        return value

    def _keep(self, path: Path, summary: dict[str, Any]) -> dict[str, Any]:
        """Give the best trial the names of the output folder, with the table of all."""
        summary["arguments"]["training"] |= {"output_dir": str(self._folder.path)}
        summary["autotune"] = self._trials
        (path / CARD).write_text(model_card(self._folder.path, summary), encoding="utf-8")
        (path / SUMMARY).write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        for entry in sorted(path.iterdir(), key=lambda entry: entry.name == CONFIG):
            entry.rename(self._folder.path / entry.name)
        self._folder.finish(keep_checkpoints=False)
        write_report(self._folder.path)
        return summary


def _given(name: str, model: ModelArguments, arguments: TextCnnTrainingArguments) -> Any:
    """A setting as the search writes it; None where it is not in its space."""
    value = getattr(model if hasattr(model, name) else arguments, name)
    if name == "kernel_sizes":
        value = " ".join(map(str, value))
        return value if value in _KERNEL_SIZES else None
    return int(value) if name == "num_train_epochs" else value


def _with(
    settings: Settings, model: ModelArguments, arguments: TextCnnTrainingArguments
) -> tuple[ModelArguments, TextCnnTrainingArguments]:
    """Both kinds of arguments with these settings; those given stay as they are."""
    changed = {name: value for name, value in settings.items() if hasattr(model, name)}
    if "kernel_sizes" in changed:
        changed["kernel_sizes"] = [int(size) for size in changed["kernel_sizes"].split()]
    arguments = copy.copy(arguments)
    for name in settings.keys() - changed.keys():
        setattr(arguments, name, settings[name])
    return replace(model, **changed), arguments
