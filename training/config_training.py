"""How to train: our defaults for the flags of transformers' `TrainingArguments`, and our own flags beside them."""

# ruff: noqa: RUF009  (`flag` makes a dataclass field, no shared default)

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from transformers.integrations.integration_utils import get_available_reporting_integrations
from transformers.trainer_utils import IntervalStrategy, SaveStrategy
from transformers.training_args import OptimizerNames, ParallelMode, TrainingArguments

from model.device import resolve_device
from model.errors import InputError
from training.flags import flag
from training.sampling import SamplerKind

OWN_OPTIMIZERS = ("adam", "adadelta")  # beside those of transformers
LEARNING_RATE = 2e-3
DISTILLATION_LEARNING_RATE = 5e-4  # many copies for a --teacher to label, on --vectors: benchmarks/README.md
LEARNING_RATES = {"adadelta": 1.0}  # its steps have the right size by themselves

_LEAST = {  # values that a number may have
    **dict.fromkeys(("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"), 1),
    **dict.fromkeys(("dataloader_num_workers", "early_stopping_patience", "seed"), 0),
    **dict.fromkeys(("num_train_epochs", "weight_decay", "max_grad_norm"), 0),
}
_ABOVE_ZERO = ("autotune_minutes", "max_norm")  # where they are given
_BELOW = {"seed": 2**32, "data_seed": 2**32, "label_smoothing_factor": 1}

_USELESS = {  # flags of transformers, with the value that goes and what the other one would break
    "eval_do_concat_batches": (True, "the metrics look at all logits together"),
    "prediction_loss_only": (False, "the metrics look at the logits"),
    "batch_eval_metrics": (False, "the metrics look at all logits together"),
    "gradient_checkpointing": (False, "a text CNN has no layers worth computing twice"),
    "activation_checkpointing": (False, "a text CNN has no layers worth computing twice"),
    "use_liger_kernel": (False, "a text CNN has no layer that it replaces"),
    "label_names": (False, "the labels have their name already"),
    **dict.fromkeys(("bf16_full_eval", "fp16_full_eval"), (False, "it would round the weights that are written")),
    "push_to_hub": (False, "it would upload unfinished folders; `hf upload NAME FOLDER` takes the finished one"),
}

_OPTIM_ARGS = {  # what optim_args may set, for optimizers that would not say what they do not know
    **dict.fromkeys(("adam", "adamw_torch", "adamw_torch_fused"), ()),  # adam_beta1, ... are flags
    "adadelta": ("rho", "eps"),
    "sgd": ("momentum", "dampening", "nesterov"),  # the decay of weights is a flag
    "rmsprop": ("momentum", "alpha", "eps", "centered"),
    "adagrad": ("lr_decay", "eps"),
}


def default_learning_rate(optimizer: str, distils: bool) -> float:
    """The step size when none is given; `distils` tells whether a teacher labels texts for pretrained embeddings."""
    return LEARNING_RATES.get(optimizer, DISTILLATION_LEARNING_RATE if distils else LEARNING_RATE)


def optim_settings(optim_args: str | None) -> dict[str, str]:
    """The settings in `--optim_args` by name.

    >>> optim_settings("rho=0.9, eps=1e-6")
    {'rho': '0.9', 'eps': '1e-6'}
    """
    pairs = (optim_args or "").replace(" ", "").split(",")
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs if pair)}


def use_only(arguments: TrainingArguments, device: torch.device) -> None:
    """Train on one GPU: transformers would take the first, and split each batch over all (slower)."""
    torch.cuda.set_device(device)
    arguments.__dict__["_setup_devices"] = device
    arguments._n_gpu = 1


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
    autotune_minutes: float | None = flag(
        "Minutes to search for the best learning rate, epochs, filters, kernel sizes, dropout and tokenizer in, by the "
        "validation metric; what is given another value than its default is kept."
    )
    class_weights: list[str] | None = flag("Weights of the classes in the loss: balanced, or CLASS=WEIGHT for some.")
    tune_thresholds: bool = flag(
        "Whether each of several labels gets the threshold with the best F1 on the validation texts; else 0.5.", True
    )
    in_scope_acceptance: float = flag(
        "Share of the validation texts that the checkpoint shall answer; it abstains on the least certain rest.", 0.95
    )
    sampler: SamplerKind | None = flag(
        "Order of the training texts: sequential, random, weighted (each class as often) or length_grouped (like "
        "lengths in a batch); random when absent."
    )
    sampler_replacement: bool | None = flag(
        "Whether a text may be drawn twice in an epoch; when absent only by the weighted sampler.",
        nargs="?",
        const=True,
    )
    sampler_num_samples: int | None = flag("Texts drawn in an epoch; as many as there are when absent.")
    momentum: float = flag("Momentum of the optimizers sgd and rmsprop.", 0.0)
    nesterov: bool = flag("Whether the momentum of sgd looks ahead.", False)
    max_norm: float | None = flag(
        "Longest weights, L2, that the last layer may have for a class; 3 in Kim 2014, no bound when absent."
    )
    sparse_embedding: Literal["auto", "on", "off"] = flag(
        "Whether a step updates only the rows of the embedding that its texts use; auto where that is faster.", "auto"
    )
    # From here on: transformers' own fields with other defaults.
    optim: str = flag(
        "Optimizer: adam, adadelta, or one of transformers' (sgd, rmsprop, adafactor, ...).", "adamw_torch_fused"
    )
    num_train_epochs: float = flag("Passes over the training texts, at most.", 4.0)
    per_device_train_batch_size: int = flag("Texts in a training step, per device.", 64)
    per_device_eval_batch_size: int = flag("Texts in an evaluation step, per device.", 256)
    label_smoothing_factor: float | None = flag(  # type: ignore[assignment]  # None until the data are read
        "Share of a target's probability given to the other classes; 0.05 for one class a text, else 0."
    )
    learning_rate: float | None = flag(  # type: ignore[assignment]  # None until all flags are known
        "Step size of the optimizer at the start; 1 with adadelta, 0.0005 with --teacher and "
        "--vectors, else 0.002, when absent."
    )
    eval_strategy: IntervalStrategy | str = flag("When to evaluate: no, steps or epoch.", "epoch")
    save_strategy: SaveStrategy | str = flag("When to write checkpoint-N: no, steps, epoch or best.", "epoch")
    logging_strategy: IntervalStrategy | str = flag("When to log the loss: no, steps or epoch.", "epoch")
    save_total_limit: int | None = flag("Folders checkpoint-N that are kept while training, besides the best one.", 1)
    load_best_model_at_end: bool = flag("Whether the best epoch is kept, not the last.", True)
    metric_for_best_model: str | None = flag(
        "Metric that tells the best epoch; when absent accuracy, f1_micro or mse, by problem type, or f1_macro where "
        "the most frequent class has over nine times the rows of the rarest."
    )
    log_level: str = flag("Least severe message of transformers that is shown.", "error")
    report_to: list[str] = flag(
        "Where logs go: tensorboard (beside the output folder), none, all, or another of transformers' integrations.",
        ["tensorboard"],
    )
    logging_nan_inf_filter: bool = flag(
        "Whether the logs leave out a step whose loss is no number; a GPU is waited for at every step then.", False
    )
    ddp_find_unused_parameters: bool | None = flag(
        "Whether several processes look for weights without a gradient.", False
    )
    bf16: bool | None = flag(  # type: ignore[assignment]
        "Whether products are in bfloat16; when absent only those of the filters in the steps of a CPU that has "
        "instructions for them, evaluation and all sums in float32.",
        nargs="?",
        const=True,
    )
    disable_tqdm: bool | None = flag("Whether the progress is hidden.", False)
    remove_unused_columns: bool = flag("Without effect: texts are tensors already.", False)
    restore_callback_states_from_checkpoint: bool = flag(
        "Whether early stopping goes on counting where the checkpoint stood.", True
    )

    def __post_init__(self) -> None:
        if not self.output_dir:
            raise InputError("output_dir: give --output_dir FOLDER, where the checkpoint is to be written")
        self.remove_unused_columns = False  # a batch is a dict of tensors by the time a collator could look at columns
        self._require_ranges()
        self._require_sense()
        self._settle_sampler()
        self._settle_optimizer()
        if not 0 < self.in_scope_acceptance <= 1:
            raise InputError(f"in_scope_acceptance must be above 0 and at most 1, got {self.in_scope_acceptance}")
        metric, direction = self.metric_for_best_model, self.greater_is_better
        device = resolve_device(self.device_name)
        self.use_cpu = self.use_cpu or device.type == "cpu"
        if self.fp16 and self.use_cpu:
            raise InputError("fp16 needs a GPU; on a CPU --bf16 halves the precision")
        optimizer = self.optim
        if optimizer in OWN_OPTIMIZERS:
            self.optim = "adamw_torch_fused"  # transformers knows no other names than its own
        super().__post_init__()  # type: ignore[no-untyped-call]
        self.optim = optimizer
        self._require_reporters()
        if device.type == "cuda" and not self.use_cpu and self.parallel_mode != ParallelMode.DISTRIBUTED:
            use_only(self, device)
        # What is best depends on the problem type, which the data tell: see `training.trainer`.
        self.metric_for_best_model, self.greater_is_better = metric, direction

    def _require_ranges(self) -> None:
        """Raise `InputError` for numbers that only a traceback of transformers or torch would answer."""
        for name, value in vars(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError(f"{name} must be a finite number, got {value}")
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in _ABOVE_ZERO:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} must be above 0, got {value}")
        for name, bound in _BELOW.items():
            value = getattr(self, name)
            if value is not None and not 0 <= value < bound:
                raise InputError(f"{name} must be at least 0 and below {bound}, got {value}")
        if self.max_steps <= 0 and not self.num_train_epochs > 0:
            raise InputError(f"num_train_epochs must be above 0, got {self.num_train_epochs}")

    def _require_sense(self) -> None:
        """Raise `InputError` for flags that break what is made here, or others that are given."""
        for name, (value, reason) in _USELESS.items():
            if bool(getattr(self, name)) != value:  # None is false
                raise InputError(f"{name} must be {str(value).lower()}: {reason}")
        if "underflow_overflow" in (self.debug or ""):
            raise InputError("debug must be without underflow_overflow: it cannot look at masks of truth values")
        if self.dataloader_persistent_workers and not self.dataloader_num_workers:
            raise InputError("dataloader_persistent_workers needs dataloader_num_workers above 0, got 0")
        if self.autotune_minutes is not None and self.keep_checkpoints:
            raise InputError("keep_checkpoints is for one training, autotune_minutes makes many")

    def _settle_sampler(self) -> None:
        """`--train_sampling_strategy` is transformers' name for some of our samplers."""
        if self.sampler is None:
            strategies = {"sequential": "sequential", "random": "random"}
            self.sampler = strategies.get(self.train_sampling_strategy, "length_grouped")  # type: ignore[assignment]
        self.train_sampling_strategy = "random"  # the evaluation keeps its order
        if self.sampler_replacement and self.sampler == "sequential":
            raise InputError("sampler_replacement is for samplers that draw, the sampler is sequential")
        if self.sampler_num_samples is not None and self.sampler_num_samples < 1:
            raise InputError(f"sampler_num_samples must be at least 1, got {self.sampler_num_samples}")

    def _settle_optimizer(self) -> None:
        names = [*OWN_OPTIMIZERS, *OptimizerNames]
        if self.optim not in names:
            raise InputError(f"optim must be one of {', '.join(names)}, got {self.optim!r}")
        if self.nesterov and not (self.optim == "sgd" and self.momentum):
            raise InputError(f"nesterov is for the momentum of sgd, got {self.optim} with momentum {self.momentum}")
        if self.momentum:
            if self.optim not in ("sgd", "rmsprop"):
                raise InputError(f"momentum is for the optimizers sgd and rmsprop, got {self.optim}")
            given = f"momentum={self.momentum}" + (",nesterov=true" if self.nesterov else "")
            self.optim_args = f"{self.optim_args},{given}" if self.optim_args else given
        known = _OPTIM_ARGS.get(self.optim)
        unknown = [] if known is None else [name for name in optim_settings(self.optim_args) if name not in known]
        if unknown:
            rule = f"takes {', '.join(known)}" if known else "has --adam_beta1, --adam_beta2 and --adam_epsilon instead"
            raise InputError(f"optim_args: {self.optim} {rule}, got {unknown[0]!r}")

    def _require_reporters(self) -> None:
        known = get_available_reporting_integrations()
        for name in self.report_to:
            if name not in known:
                raise InputError(
                    f"report_to must be none, all or some of those installed here, {', '.join(known)}, got {name!r}"
                )
