"""A whole training: the texts prepared, the best epoch kept and measured, the checkpoint written."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback, TrainerState, set_seed
from transformers.trainer_utils import PredictionOutput
from transformers.utils import logging

from model.errors import InputError
from model.saving import save_checkpoint
from training.assessment import Assessment, assess
from training.bigrams import add_bigrams
from training.card import model_card
from training.config import DataArguments, ModelArguments
from training.config_training import TextCnnTrainingArguments
from training.continuation import require_best, require_same_network, require_whole
from training.data import TextData
from training.distillation import DistillationObjective, Lesson, learn_from_teacher
from training.distillation_report import distillation_report
from training.metrics import best_metric
from training.objective import Objective, class_weights
from training.output import CARD, STATE, SUMMARY, OutputFolder
from training.preparation import Prepared, prepare
from training.report.page import write_report
from training.report.record import record_files
from training.subwords import fold_subwords, share_subwords
from training.summary import summarize, to_json
from training.targets import REGRESSION, SINGLE
from training.tokens import TokenCache
from training.trainer import TextCnnTrainer

LABEL_SMOOTHING = 0.05  # Szegedy et al. 2016, arXiv:1512.00567; its effect here: benchmarks/README.md


def train(
    data: TextData,
    folder: OutputFolder,
    data_arguments: DataArguments,
    model_arguments: ModelArguments,
    arguments: TextCnnTrainingArguments,
    callbacks: Sequence[TrainerCallback] = (),
) -> dict[str, Any]:
    """Train on `data`, keep the best epoch, measure it and write the checkpoint folder; the summary is metrics.json.

    On CPUs of one kind the same data, arguments and seed give the same weights to the bit. Raises `InputError` for
    arguments that make no network or no training.
    """
    logging.disable_progress_bar()  # of writing files
    _settle(arguments, data)
    prepared, lesson = _prepare(data, data_arguments, model_arguments, arguments)
    objective = _objective(data, prepared, arguments, distilled=lesson is not None)
    material = prepared if lesson is None else replace(prepared, train=lesson.train)
    trainer = _trainer(folder, material, arguments, data.problem_type, objective)
    speed = _learn(trainer, folder, prepared, callbacks)
    answers = _answers(trainer, prepared)
    if model_arguments.max_bigrams and data.problem_type == SINGLE:
        with _counted_in(speed):
            most, seed = model_arguments.max_bigrams, arguments.seed
            answers, speed["linear_part_weight"] = add_bigrams(prepared, answers, objective, most, seed)
    assessment = _assess(data, prepared, lesson, answers, folder, arguments)
    summary = summarize(data, prepared, assessment, trainer.state, speed, (data_arguments, model_arguments, arguments))
    if arguments.should_save:
        record = record_files(data, prepared, answers, trainer.state.log_history)
        _finish(folder, prepared, summary, record, arguments.keep_checkpoints)
    return summary


def _prepare(
    data: TextData,
    data_arguments: DataArguments,
    model_arguments: ModelArguments,
    arguments: TextCnnTrainingArguments,
) -> tuple[Prepared, Lesson | None]:
    """Tensors and network, and what a teacher has to say where there is one."""
    set_seed(arguments.seed)
    lesson = None
    with arguments.main_process_first(desc="tokenize"):  # the others find its work in the cache
        cache = _cache(data_arguments, arguments)
        prepared = prepare(data, model_arguments, cache)
        if data_arguments.teacher is not None:
            lesson = learn_from_teacher(data, prepared.train, prepared.tokenizer, cache, data_arguments, arguments)
    # Other embeddings know their words already; a compiler cannot trace a number of n-grams that only the batch tells.
    buckets = 0 if prepared.vectors or arguments.torch_compile else model_arguments.ngram_buckets
    if buckets:
        share_subwords(prepared.network.network, prepared.tokenizer, buckets)
    return prepared, lesson


def _learn(
    trainer: TextCnnTrainer, folder: OutputFolder, prepared: Prepared, callbacks: Sequence[TrainerCallback]
) -> dict[str, float]:
    """Learn the filters; how long it took, and how fast the steps were."""
    for callback in callbacks:
        trainer.add_callback(callback)
    resumed: dict[str, float] = {}
    if folder.resume_from is not None:
        require_whole(folder.resume_from)
        resumed["resumed_at_step"] = TrainerState.load_from_json(str(folder.resume_from / STATE)).global_step
        require_same_network(folder.resume_from, prepared)
        if trainer.args.load_best_model_at_end:
            require_best(folder.resume_from)
    trainer.accelerator.wait_for_everyone()  # until all have looked at the folder
    if trainer.args.should_save:
        folder.begin()
    torch.manual_seed(trainer.args.seed + trainer.args.process_index)  # every process drops other features
    with folder.writing("the logs"):  # all else says itself what it is
        outcome = trainer.train(resume_from_checkpoint=None if folder.resume_from is None else str(folder.resume_from))
    fold_subwords(prepared.network.network)
    trainer.clock.report()  # of the steps after the last log
    return {**resumed, **outcome.metrics, **trainer.clock.total()}


@contextmanager
def _counted_in(speed: dict[str, float]) -> Iterator[None]:
    """Count what is learnt meanwhile as part of the training."""
    begin = time.perf_counter()
    yield
    speed["train_runtime"] += time.perf_counter() - begin


def _assess(
    data: TextData,
    prepared: Prepared,
    lesson: Lesson | None,
    answers: Mapping[str, PredictionOutput],
    folder: OutputFolder,
    arguments: TextCnnTrainingArguments,
) -> Assessment:
    """What the finished network is worth, beside its teacher where there is one."""
    assessment = assess(prepared, answers, data.problem_type, arguments)
    if data.problem_type == REGRESSION:
        prepared.scale.fold_into(prepared.network.network.classifier)
    if lesson is None or not arguments.should_save:  # the student is timed in a file that one process alone writes
        return assessment
    report = distillation_report(lesson, prepared, answers, data.validation.texts, folder.path)
    return replace(assessment, distillation=report)


def _finish(
    folder: OutputFolder,
    prepared: Prepared,
    summary: dict[str, Any],
    record: Mapping[str, str | bytes],
    keep_checkpoints: bool,
) -> None:
    """Write the checkpoint, then its report."""
    extra_files = {
        CARD: model_card(folder.path, summary),
        SUMMARY: to_json(summary),
        **record,
    }
    with folder.writing("the checkpoint"):
        save_checkpoint(prepared.network, prepared.tokenizer, folder.path, extra_files)
    folder.finish(keep_checkpoints)
    with folder.writing("the report"):  # of the finished checkpoint, which nothing can harm any more
        write_report(folder.path)


def _settle(arguments: TextCnnTrainingArguments, data: TextData) -> None:
    """Give the arguments the values that only the data could tell."""
    problem_type = data.problem_type
    metric, direction = best_metric(arguments.metric_for_best_model, problem_type, data.train.targets)
    arguments.metric_for_best_model = metric
    arguments.greater_is_better = direction if arguments.greater_is_better is None else arguments.greater_is_better
    if arguments.label_smoothing_factor is None:
        arguments.label_smoothing_factor = LABEL_SMOOTHING if problem_type == SINGLE else 0.0
    if arguments.label_smoothing_factor and problem_type != SINGLE:
        raise InputError(f"label_smoothing_factor is for one class a text, the problem is {problem_type}")
    if arguments.sampler == "weighted" and problem_type == REGRESSION:
        raise InputError("sampler: weighted is for classes, the problem is regression")


def _objective(data: TextData, prepared: Prepared, arguments: TextCnnTrainingArguments, distilled: bool) -> Objective:
    weights = class_weights(arguments.class_weights, data.labels, prepared.train.labels.numpy(), data.problem_type)
    kind = DistillationObjective if distilled else Objective
    return kind(data.problem_type, arguments.label_smoothing_factor or 0.0, weights)


def _trainer(
    folder: OutputFolder,
    material: Prepared,
    arguments: TextCnnTrainingArguments,
    problem_type: str,
    objective: Objective,
) -> TextCnnTrainer:
    """A trainer that can begin; raises `InputError` for what transformers or torch say of the flags."""
    try:
        with folder.writing("anything"):  # it creates the folder
            trainer = TextCnnTrainer(material, arguments, problem_type, objective)
        trainer.require_tools()
    except InputError:
        raise
    except (ImportError, ValueError) as error:
        raise InputError(" ".join(str(error).split())) from error
    return trainer


def _answers(trainer: TextCnnTrainer, prepared: Prepared) -> dict[str, PredictionOutput]:
    """The logits of every split; raises `InputError` where the training has led to none."""
    answers = {name: trainer.predict(split) for name, split in prepared.splits().items()}
    if not all(np.isfinite(np.asarray(answer.predictions)).all() for answer in answers.values()):
        rate = trainer.args.learning_rate
        raise InputError(f"learning_rate: the training diverged, the network's answers are no numbers, got {rate}")
    return answers


def _cache(arguments: DataArguments, training_arguments: TextCnnTrainingArguments) -> TokenCache:
    overwrite = arguments.overwrite_cache and training_arguments.local_process_index == 0
    return TokenCache(arguments.cache_folder, overwrite, arguments.num_proc)
