"""`--autotune_minutes`: trainings with other settings within a budget of time, the best of them kept."""

import copy
import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from model.errors import InputError, UnwritableError
from model.files import CONFIG
from training.card import model_card
from training.config import DataArguments, ModelArguments, distils
from training.config_training import TextCnnTrainingArguments, default_learning_rate
from training.data import TextData
from training.metrics import best_metric
from training.output import CARD, SEARCH, SUMMARY, TRIALS, OutputFolder
from training.report.page import write_report
from training.run import train
from training.search import SPACE, Search, Settings
from training.summary import to_json

logger = logging.getLogger(__name__)


class _Budget(TrainerCallback):
    """Ends a training after the first evaluation past the budget."""

    def __init__(self, search: Search) -> None:
        self._search = search

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        control.should_training_stop = self._search.spend() or control.should_training_stop


class Autotune:
    """Trials in a hidden folder inside the output folder; only the best one so far stays on the disk."""

    def __init__(
        self,
        data: TextData,
        folder: OutputFolder,
        data_arguments: DataArguments,
        model_arguments: ModelArguments,
        arguments: TextCnnTrainingArguments,
    ) -> None:
        if arguments.world_size > 1:
            raise InputError("autotune_minutes is for one process: no torchrun")
        self._data, self._folder = data, folder
        self._data_arguments, self._model_arguments, self._arguments = data_arguments, model_arguments, arguments
        self._given = _searched(data_arguments, model_arguments, arguments)
        metric, higher = best_metric(arguments.metric_for_best_model, data.problem_type, data.train.targets)
        self._search = Search(
            path=folder.path / SEARCH / TRIALS,
            question={"settings": self._given, "metric": metric, "labels": data.labels, "texts": len(data.train)},
            budget=60 * (arguments.autotune_minutes or 0),
            metric=metric,
            higher_is_better=higher,
            seed=arguments.seed,
        )

    def run(self) -> dict[str, Any]:
        """Search until the time is up, from the settings as given on; the summary of the best trial."""
        if self._folder.resume_from is not None:
            self._search.resume()
            logger.info("the search goes on after %d trials", len(self._search.trials))
        self._folder.begin()
        is_over = self._search.spend()
        while not (is_over and self._search.trials):
            is_over = self._try()
        return self._keep()

    def _path(self, name: str) -> Path:
        return self._folder.path / SEARCH / name

    def _try(self) -> bool:
        """A trial; whether the time is up."""
        number, settings = len(self._search.trials), self._search.propose(self._given)
        model, arguments = _with(settings, self._model_arguments, self._arguments)
        path = self._path(f"trial-{number}")
        arguments.output_dir, arguments.report_to, arguments.keep_checkpoints = str(path), [], False
        arguments.resume_from_checkpoint = None
        value = None
        try:
            folder = OutputFolder.of_trial(path)
            summary = train(self._data, folder, self._data_arguments, model, arguments, [_Budget(self._search)])
            value = float(summary["validation"][self._search.metric])
        except UnwritableError:
            raise
        except InputError as mistake:
            if number == 0:  # the settings as given
                raise
            logger.info("trial %d: %s", number, mistake)
        is_over = self._search.add(settings, value)
        described = ", ".join(f"{name} {setting}" for name, setting in settings.items())
        logger.info("trial %d: %s %s (%s)", number, self._search.metric, value, described)
        for other in self._path("").glob("trial-*"):
            if other != self._path(f"trial-{self._search.best}"):
                shutil.rmtree(other)
        return is_over

    def _keep(self) -> dict[str, Any]:
        """Copy the best trial to the output folder, with the table of all; the trials go last, so that none is lost."""
        beside = self._folder.path / ".writing-best"
        with self._folder.writing("the checkpoint"):
            shutil.copytree(self._path(f"trial-{self._search.best}"), beside)
            summary: dict[str, Any] = json.loads((beside / SUMMARY).read_text(encoding="utf-8"))
            summary["arguments"]["training"] |= {"output_dir": str(self._folder.path)}
            summary["autotune"] = self._search.trials
            (beside / CARD).write_text(model_card(self._folder.path, summary), encoding="utf-8")
            (beside / SUMMARY).write_text(to_json(summary), encoding="utf-8")
            for entry in sorted(beside.iterdir(), key=lambda entry: entry.name == CONFIG):
                entry.rename(self._folder.path / entry.name)
        self._folder.finish(keep_checkpoints=False)
        write_report(self._folder.path)
        return summary


def _searched(data: DataArguments, model: ModelArguments, arguments: TextCnnTrainingArguments) -> Settings:
    """The settings to search, those that are at their default, as they are now; what was given stays."""
    fresh, fields = ModelArguments(), TextCnnTrainingArguments.__dataclass_fields__
    default = {name: getattr(fresh, name) for name in SPACE if hasattr(fresh, name)}
    rate = default_learning_rate(arguments.optim, distils(data, model))
    default |= {"num_train_epochs": fields["num_train_epochs"].default, "learning_rate": rate}
    now = {name: getattr(model if hasattr(model, name) else arguments, name) for name in SPACE}
    searched: Settings = {name: now[name] for name in SPACE if now[name] == default[name]}
    if not searched:
        raise InputError(f"autotune_minutes: nothing is left to search, since all of {', '.join(SPACE)} are given")
    if "kernel_sizes" in searched:
        searched["kernel_sizes"] = " ".join(map(str, searched["kernel_sizes"]))
    if "num_train_epochs" in searched:
        searched["num_train_epochs"] = int(searched["num_train_epochs"])
    return searched


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
