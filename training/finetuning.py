"""A plain encoder becomes a teacher: fine-tuned on the training texts, kept for the next training."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState
from transformers import DataCollatorWithPadding, PrinterCallback, ProgressCallback, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from model.files import CONFIG
from training.config_training import use_only
from training.data import Split, TextData
from training.metrics import best_metric, metrics_for
from training.precision import half_precision
from training.progress import ProgressLines
from training.scaling import Scale
from training.targets import MULTI, encode_targets
from training.teacher import encode, load_transformer

BATCH, LEARNING_RATE = 32, 5e-5  # Devlin et al. 2019, arXiv:1810.04805, appendix A.3
_SEED = 0  # of its own: students of several seeds share a teacher


class _HalfPrecisionTrainer(Trainer):
    """`Trainer` in bfloat16 where that is fast; `TrainingArguments.bf16` would switch it on for the student too."""

    def autocast_smart_context_manager(self, cache_enabled: bool | None = True) -> torch.autocast:
        """What forward passes run in."""
        return torch.autocast(self.args.device.type, torch.bfloat16, enabled=half_precision(self.args.device))


def finetune(name: str, data: TextData, epochs: int, folder: Path, device: torch.device) -> Path:
    """The folder of `name` fine-tuned on the training texts, best epoch by validation; found again by fingerprint.

    Raises `InputError` when `name` is no transformer. An interrupted fine-tuning goes on from its last epoch.
    """
    finished = folder / f"teacher-{_fingerprint(name, data, epochs)}"
    if (finished / CONFIG).is_file():
        return finished
    labels = dict(enumerate(data.labels))
    network, tokenizer = load_transformer(
        name,
        problem_type=data.problem_type,
        id2label=labels,
        label2id={label: index for index, label in labels.items()},
        ignore_mismatched_sizes=True,  # the last layer of a classifier with other classes is made anew
        **({"attn_implementation": "eager"} if device.type == "cpu" else {}),  # torch's own is slow backwards there
    )
    unfinished = finished.with_suffix(".training")
    arguments = _arguments(unfinished, data, epochs, device)
    trainer = _HalfPrecisionTrainer(
        model=network,
        args=arguments,
        data_collator=DataCollatorWithPadding(tokenizer),
        train_dataset=_rows(tokenizer, data.train, data),
        eval_dataset=_rows(tokenizer, data.validation, data),
        compute_metrics=metrics_for(data.problem_type, Scale()),
        processing_class=tokenizer,
        callbacks=[ProgressLines()],
    )
    trainer.remove_callback(ProgressCallback)  # both write every log to stdout
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(unfinished)) if unfinished.is_dir() else None)
    AcceleratorState._reset_state()  # as `Trainer` does it: the student's may want another precision
    staged = unfinished / "finished"
    trainer.save_model(str(staged))
    staged.rename(finished)
    shutil.rmtree(unfinished)
    return finished


def _arguments(folder: Path, data: TextData, epochs: int, device: torch.device) -> TrainingArguments:
    metric, greater = best_metric(None, data.problem_type, data.train.targets)
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=epochs,
        per_device_train_batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        warmup_steps=0.1,
        train_sampling_strategy="group_by_length",
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model=metric,
        greater_is_better=greater,
        seed=_SEED,
        use_cpu=device.type == "cpu",
        log_level="error",
    )
    if device.type == "cuda":
        use_only(arguments, device)
    return arguments


def _rows(tokenizer: Any, split: Split, data: TextData) -> Sequence[dict[str, Any]]:
    encoded = encode(tokenizer, split.texts)
    targets = encode_targets(split.targets, data.labels, data.problem_type)
    values = targets if data.problem_type == MULTI else targets.tolist()
    names = list(encoded.keys())
    return [
        {**dict(zip(names, row, strict=True)), "labels": label}
        for *row, label in zip(*(encoded[name] for name in names), values, strict=True)
    ]


def _fingerprint(name: str, data: TextData, epochs: int) -> str:
    """Of all that decides what the teacher learns."""
    folder = Path(name)
    config = (folder / CONFIG).read_text(encoding="utf-8") if (folder / CONFIG).is_file() else name
    splits = [(split.texts, split.targets) for split in (data.train, data.validation)]
    content = json.dumps([config, name, data.labels, splits, epochs, BATCH, LEARNING_RATE], ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()[:32]
