"""Every flag of `textcnn-train` that is ours, and our defaults for those of transformers' `TrainingArguments`."""

# ruff: noqa: RUF009  (`flag` makes a dataclass field, no shared default)

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from transformers.trainer_utils import IntervalStrategy, SaveStrategy
from transformers.training_args import ParallelMode, TrainingArguments

from model.cli import ArgumentParser
from model.device import resolve_device
from model.errors import InputError
from training.config_file import read_config_file
from training.targets import ProblemType

Side = Literal["right", "left"]


def flag(help: str, default: Any = None, **metadata: Any) -> Any:
    """A field of a dataclass that is a flag, with one sentence of help that names the unit."""
    metadata["help"] = help
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class DataArguments:
    """What to learn from."""

    _argument_group_name: ClassVar[str] = "data"

    train_file: str | None = flag("File of training texts: .csv, .tsv, .jsonl, .parquet or fastText's, plain or .gz.")
    validation_file: str | None = flag(
        "File that decides which epoch is best; without it a share of the training file."
    )
    test_file: str | None = flag("File that the finished checkpoint is measured on; never learnt from.")
    dataset: str | None = flag("Name or folder of a dataset for the `datasets` library, in place of files.")
    dataset_config: str | None = flag("Configuration of `--dataset`, if it has several.")
    text_column: str = flag("Column of the texts.", "text")
    label_column: str = flag(
        "Column of the labels; a column of lists means several labels a text (`labels` is found by itself).", "label"
    )
    problem_type: ProblemType | None = flag("What the labels are; told from them when absent.")
    validation_share: float = flag(
        "Share of the training rows held out, between 0 and 1, if there are no validation rows.", 0.1
    )

    def __post_init__(self) -> None:
        if (self.train_file is None) == (self.dataset is None):
            raise InputError("train_file: give either --train_file FILE or --dataset NAME")
        if self.dataset is not None and (self.validation_file or self.test_file):
            raise InputError(
                "dataset: it brings its own splits; --validation_file and --test_file go with --train_file"
            )
        if not 0 < self.validation_share < 1:
            raise InputError(f"validation_share must be between 0 and 1, got {self.validation_share}")


@dataclass
class ModelArguments:
    """What to train: tokenizer and network."""

    _argument_group_name: ClassVar[str] = "model"

    tokenizer: str = flag(
        "Kind to learn from the training texts (wordpiece, bpe, unigram, word, char), "
        "or folder or hub name of a pretrained fast tokenizer.",
        "wordpiece",
    )
    vocab_size: int = flag("Most tokens that a learnt tokenizer may have.", 16_000)
    min_frequency: int = flag("Occurrences that a token needs to enter the vocabulary.", 1)
    lowercase: bool = flag("Whether a learnt tokenizer ignores case.", True)
    add_special_tokens: bool = flag("Whether a pretrained tokenizer frames each text, as in [CLS] ... [SEP].", False)
    max_length: int | None = flag("Tokens a text is padded or cut to; taken from the training texts when absent.")
    padding: Literal["longest", "max_length"] = flag(
        "Width of a training batch: its longest text, or max_length always; the network learns the same.", "longest"
    )
    padding_side: Side = flag("Side of a text that padding is added to.", "right")
    truncation_side: Side = flag("Side of a too long text that is cut off.", "right")
    embedding_dim: int = flag("Channels of the embedding of a token.", 300)
    kernel_sizes: list[int] = flag("Tokens that each convolution looks at; one convolution each.", [1, 2, 3, 4])
    num_filters: int = flag("Filters of each convolution.", 256)
    stride: int = flag("Tokens from one window of a convolution to the next.", 1)
    conv_padding: str = flag("Zeros that a convolution adds on each side in tokens, or same, or valid.", "0")
    dilation: int = flag("Tokens between the taps of a window.", 1)
    groups: int = flag("Blocks of channels that are convolved apart.", 1)
    bias: bool = flag("Whether the convolutions have a bias.", True)
    dropout: float = flag("Probability that a pooled feature is dropped in training.", 0.5)
    embedding_dropout: float = flag("Probability that an embedded channel is dropped in training.", 0.0)
    initial_embedding_std: float = flag("Standard deviation of the random embeddings that training starts from.", 0.1)

    def __post_init__(self) -> None:
        for name in ("vocab_size", "min_frequency"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass
class TextCnnTrainingArguments(TrainingArguments):
    """How to train: `TrainingArguments` with defaults for a small network trained from scratch."""

    _argument_group_name: ClassVar[str] = "training"

    config: str | None = flag("YAML file of flags, without their dashes; the command line wins over it.")
    device_name: str = flag("Where to train: auto, cpu, cuda or cuda:N.", "auto", aliases=["--device"])
    overwrite_output_dir: bool = flag(
        "Whether an earlier training's files in the output folder may be replaced.", False
    )
    keep_checkpoints: bool = flag("Whether the checkpoint-N folders stay when training has succeeded.", False)
    early_stopping_patience: int = flag(
        "Evaluations without a better metric after which training stops; 0 never stops.", 3
    )
    early_stopping_threshold: float = flag("Least gain of the metric, in its own unit, that counts as better.", 0.0)
    # From here on: transformers' own fields with other defaults.
    num_train_epochs: float = flag("Passes over the training texts, at most.", 6.0)
    per_device_train_batch_size: int = flag("Texts in a training step, per device.", 64)
    per_device_eval_batch_size: int = flag("Texts in an evaluation step, per device.", 256)
    label_smoothing_factor: float | None = flag(  # type: ignore[assignment]  # None until the data are read
        "Share of a target's probability given to the other classes; 0.05 for one class a text, else 0."
    )
    learning_rate: float = flag("Step size of the optimizer at the start.", 2e-3)
    eval_strategy: IntervalStrategy | str = flag("When to evaluate: no, steps or epoch.", "epoch")
    save_strategy: SaveStrategy | str = flag("When to write checkpoint-N: no, steps, epoch or best.", "epoch")
    logging_strategy: IntervalStrategy | str = flag("When to log the loss: no, steps or epoch.", "epoch")
    save_total_limit: int | None = flag("Folders checkpoint-N that are kept while training, besides the best one.", 1)
    load_best_model_at_end: bool = flag("Whether the best epoch is kept, not the last.", True)
    metric_for_best_model: str | None = flag(
        "Metric that tells the best epoch: accuracy, f1_micro or mse, by problem type."
    )
    log_level: str = flag("Least severe message of transformers that is shown.", "error")
    disable_tqdm: bool | None = flag("Whether the progress is hidden.", False)
    remove_unused_columns: bool = flag("Without effect: texts are tensors already.", False)
    restore_callback_states_from_checkpoint: bool = flag(
        "Whether early stopping goes on counting where the checkpoint stood.", True
    )

    def __post_init__(self) -> None:
        if not self.output_dir:
            raise InputError("output_dir: give --output_dir FOLDER, where the checkpoint is to be written")
        self.remove_unused_columns = False  # a batch is a dict of tensors by the time a collator could look at columns
        metric, direction = self.metric_for_best_model, self.greater_is_better
        device = resolve_device(self.device_name)
        self.use_cpu = self.use_cpu or device.type == "cpu"
        super().__post_init__()  # type: ignore[no-untyped-call]
        if device.type == "cuda" and not self.use_cpu and self.parallel_mode != ParallelMode.DISTRIBUTED:
            self._use_only(device)
        # What is best depends on the problem type, which the data tell: see `training.trainer`.
        self.metric_for_best_model, self.greater_is_better = metric, direction

    def _use_only(self, device: torch.device) -> None:
        """Train on one GPU: transformers would take the first, and split each batch over all (slower)."""
        torch.cuda.set_device(device)
        self.__dict__["_setup_devices"] = device
        self._n_gpu = 1


def parse(argv: Sequence[str] | None) -> tuple[DataArguments, ModelArguments, TextCnnTrainingArguments]:
    """The arguments on the command line over those of `--config`; raises `InputError` for any that does not fit."""
    parser = ArgumentParser([DataArguments, ModelArguments, TextCnnTrainingArguments], prog="textcnn-train")
    arguments = list(sys.argv[1:] if argv is None else argv)
    config = parser.parse_known_args(arguments)[0].config
    if config is not None:
        arguments = read_config_file(Path(config), parser) + arguments
    try:
        data, model, training = parser.parse(arguments)
    except InputError:
        raise
    except ValueError as error:  # what TrainingArguments says of values that don't go together
        raise InputError(" ".join(str(error).split())) from error
    return data, model, training
