"""Training itself: transformers' `Trainer` on ready-made tensors, and the finished checkpoint."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn
from transformers import EarlyStoppingCallback, PrinterCallback, ProgressCallback, Trainer, set_seed
from transformers.trainer_utils import IntervalStrategy, PredictionOutput, rotate_checkpoints
from transformers.utils import logging

from model.checkpoint import CONFIG
from model.errors import InputError
from model.saving import save_checkpoint
from training.calibration import calibrate
from training.card import model_card
from training.config import DataArguments, ModelArguments, TextCnnTrainingArguments
from training.data import TextData
from training.metrics import METRICS, best_metric, metrics_for
from training.output import CARD, REPORT, STAGING, STATE, OutputFolder
from training.preparation import Prepared, prepare
from training.progress import ProgressLines
from training.summary import summarize
from training.targets import REGRESSION, SINGLE

LABEL_SMOOTHING = 0.05  # Szegedy et al. 2016, arXiv:1512.00567; its effect here: benchmarks/README.md


class TextCnnTrainer(Trainer):
    """`Trainer` whose checkpoint-N folders appear whole, whose batches are index-selects and who keeps stdout clean."""

    def __init__(self, prepared: Prepared, args: TextCnnTrainingArguments, problem_type: str) -> None:
        super().__init__(
            model=prepared.network,
            args=args,
            data_collator=_as_it_is,
            train_dataset=prepared.train,
            eval_dataset=prepared.validation,
            processing_class=prepared.tokenizer,
            compute_metrics=metrics_for(problem_type, prepared.scale),
        )
        # `forward` takes any keyword but ignores num_items_in_batch: accumulated losses are to be averaged here.
        self.model_accepts_loss_kwargs = False
        self.remove_callback(ProgressCallback)  # both write every log to stdout
        self.remove_callback(PrinterCallback)
        if not args.disable_tqdm:
            self.add_callback(ProgressLines())
        if args.early_stopping_patience > 0 and args.eval_strategy != IntervalStrategy.NO:
            self.add_callback(EarlyStoppingCallback(args.early_stopping_patience, args.early_stopping_threshold))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write checkpoint-N beside its name, then rename it: a killed run leaves no half-written one."""
        with self._staged():
            super()._save_checkpoint(model, trial)
        folder = Path(self._get_output_dir(trial))
        name = f"checkpoint-{self.state.global_step}"
        staged = folder / STAGING / name
        if self.state.best_global_step == self.state.global_step:
            self.state.best_model_checkpoint = str(folder / name)
        if self.args.should_save:
            self.state.save_to_json(str(staged / STATE))
            staged.rename(folder / name)
            rotate_checkpoints(str(folder), self.args.save_total_limit, self.state.best_model_checkpoint)

    @contextmanager
    def _staged(self) -> Iterator[None]:
        """Let `Trainer` believe that its output folder is a hidden one inside."""
        folder = self.args.output_dir
        self.args.output_dir = str(Path(folder or "") / STAGING)
        try:
            yield
        finally:
            self.args.output_dir = folder


def train(
    data: TextData,
    folder: OutputFolder,
    data_arguments: DataArguments,
    model_arguments: ModelArguments,
    arguments: TextCnnTrainingArguments,
) -> dict[str, Any]:
    """Train on `data`, keep the best epoch, measure it and write the checkpoint folder; the summary is metrics.json.

    On a CPU the same data, arguments and seed give the same weights to the bit. Raises `InputError` for arguments that
    make no network or no training.
    """
    logging.disable_progress_bar()  # of writing files
    metric = best_metric(arguments.metric_for_best_model, data.problem_type)
    arguments.metric_for_best_model, direction = metric
    arguments.greater_is_better = direction if arguments.greater_is_better is None else arguments.greater_is_better
    if arguments.label_smoothing_factor is None:
        arguments.label_smoothing_factor = LABEL_SMOOTHING if data.problem_type == SINGLE else 0.0
    if arguments.label_smoothing_factor and data.problem_type != SINGLE:
        raise InputError(f"label_smoothing_factor is for one class a text, the problem is {data.problem_type}")
    set_seed(arguments.seed)
    prepared = prepare(data, model_arguments)
    trainer = TextCnnTrainer(prepared, arguments, data.problem_type)
    if folder.resume_from is not None:
        _require_same_network(folder.resume_from, prepared)
    folder.begin()
    outcome = trainer.train(resume_from_checkpoint=None if folder.resume_from is None else str(folder.resume_from))
    splits = {"validation": prepared.validation, "test": prepared.test}
    answers = {name: trainer.predict(split) for name, split in splits.items() if split is not None}
    measured = {name: _measured(answer, data.problem_type) for name, answer in answers.items()}
    calibration = None
    if data.problem_type == REGRESSION:
        prepared.scale.fold_into(prepared.network.network.classifier)
    else:
        calibration = calibrate(prepared.network.network.config, answers, data.problem_type)
    summary = summarize(
        data,
        prepared,
        measured,
        calibration,
        trainer.state,
        outcome.metrics,
        (data_arguments, model_arguments, arguments),
    )
    report = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
    extra_files = {CARD: model_card(folder.path, summary), REPORT: report}
    save_checkpoint(prepared.network, prepared.tokenizer, folder.path, extra_files)
    folder.finish(arguments.keep_checkpoints)
    return summary


def _measured(answer: PredictionOutput, problem_type: str) -> dict[str, float]:
    """The metrics of a split, its loss last."""
    return {name: (answer.metrics or {})[f"test_{name}"] for name in (*METRICS[problem_type], "loss")}


def _require_same_network(checkpoint: Path, prepared: Prepared) -> None:
    """Weights and steps of one training make no sense in another."""
    then = json.loads((checkpoint / CONFIG).read_text(encoding="utf-8"))
    now = json.loads(prepared.network.config.to_json_string())
    for name in (
        "problem_type",
        "id2label",
        "vocab_size",
        "max_length",
        "embedding_dim",
        "kernel_sizes",
        "num_filters",
    ):
        if then.get(name) != now.get(name):
            raise InputError(
                f"resume_from_checkpoint: {str(checkpoint)!r} was trained from other data or settings: "
                f"{name} was {then.get(name)!r}, is {now.get(name)!r}"
            )


def _as_it_is(batch: Any) -> Any:
    """The collator: `TokenTensors` gives whole batches."""
    return batch
