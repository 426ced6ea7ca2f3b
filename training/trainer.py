"""transformers' `Trainer` on ready-made tensors."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainingArguments,
)
from transformers.integrations.integration_utils import TensorBoardCallback
from transformers.trainer_utils import IntervalStrategy, rotate_checkpoints

from model.errors import InputError
from training.averaging import average_gradients
from training.config_training import TextCnnTrainingArguments
from training.distinct import pool_by_distinct_tokens
from training.features import TokenTensors
from training.loading import as_it_is, training_loader
from training.metrics import metrics_for
from training.objective import Objective
from training.optimizers import MaxNorm, choose_row_sparse, clip_row_sparse, own_optimizer, row_sparse
from training.output import STAGING, STATE, OutputFolder, best_so_far
from training.precision import products_in
from training.preparation import Prepared
from training.progress import ProgressLines
from training.steps import StepClock, StepTimes


class TextCnnTrainer(Trainer):
    """`Trainer` whose checkpoint-N folders appear whole, whose batches are index-selects and who keeps stdout clean."""

    args: TextCnnTrainingArguments
    train_dataset: TokenTensors

    def __init__(
        self, prepared: Prepared, args: TextCnnTrainingArguments, problem_type: str, objective: Objective
    ) -> None:
        super().__init__(
            model=prepared.network,
            args=args,
            data_collator=as_it_is,
            train_dataset=prepared.train,
            eval_dataset=prepared.validation,
            processing_class=prepared.tokenizer,
            compute_metrics=metrics_for(problem_type, prepared.scale),
            compute_loss_func=objective,
        )
        # `forward` takes any keyword but ignores num_items_in_batch, which is for the objective.
        self.model_accepts_loss_kwargs = False
        if args.device.type == "cuda" and not args.dataloader_num_workers and prepared.train.fits(args.device):
            prepared.train.to(args.device)  # batches are made where they are used
        self._embedding = prepared.network.network.embedding
        is_sparse = choose_row_sparse(self._embedding, args)
        for table in self._embedding.modules():  # DDP asks each of them, that of the n-grams too
            table.sparse = is_sparse  # type: ignore[assignment]
        if not args.torch_compile:  # which cannot trace a number of tokens that only the batch tells
            pool_by_distinct_tokens(prepared.network.network, products_in(args, prepared.network.config) == "bfloat16")
        if args.max_norm is not None:
            self.add_callback(MaxNorm(prepared.network.network.classifier, args.max_norm))
        self.clock = StepClock(args.device, args.world_size)
        self.add_callback(StepTimes(self.clock))
        self._move_tensorboard()
        self.remove_callback(ProgressCallback)  # both write every log to stdout
        self.remove_callback(PrinterCallback)
        if not args.disable_tqdm:
            self.add_callback(ProgressLines(self._running_loss))
        if args.early_stopping_patience > 0 and args.eval_strategy != IntervalStrategy.NO:
            self.add_callback(EarlyStoppingCallback(args.early_stopping_patience, args.early_stopping_threshold))

    def _move_tensorboard(self) -> None:
        """Events go beside the output folder, which holds nothing but checkpoints."""
        output = Path(self.args.output_dir or "").absolute()
        moment = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
                callback.logging_dir = str(output.parent / "tensorboard" / output.name / moment)

    def _running_loss(self) -> float:
        """Mean training loss of the steps since the last log."""
        return float(self._tr_loss) / max(1, self.state.global_step - self._globalstep_last_logged)

    def training_step(self, model: nn.Module, inputs: dict[str, Tensor], *rest: Any) -> Tensor:
        """Forward and backward pass of a batch, which is counted."""
        self.clock.count(inputs["attention_mask"])
        loss: Tensor = super().training_step(model, inputs, *rest)
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Say how fast the steps were wherever the training loss is told."""
        super().log({**logs, **(self.clock.report() if "loss" in logs else {})}, start_time)

    @staticmethod
    def get_optimizer_cls_and_kwargs(args: TrainingArguments, model: Any = None) -> tuple[Any, Any]:
        """Class and arguments of the optimizer, ours included."""
        own = own_optimizer(args) if isinstance(args, TextCnnTrainingArguments) else None
        return own or Trainer.get_optimizer_cls_and_kwargs(args, model)

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """The optimizer; row-sparse for the embedding where that pays."""
        if self.optimizer is not None or not self._embedding.sparse:
            return super().create_optimizer(model)
        self._embedding.requires_grad_(False)  # what is not learnt is left out
        dense = super().create_optimizer(model)
        self._embedding.requires_grad_(True)
        self.optimizer = row_sparse(dense, self._embedding, self.args)
        return self.optimizer

    def _prepare_for_training(self, *arguments: Any) -> tuple[nn.Module, DataLoader[dict[str, Tensor]]]:
        """The model as it learns; in several processes row-sparse gradients are averaged by our hook."""
        model, loader = super()._prepare_for_training(*arguments)  # type: ignore[no-untyped-call]
        if isinstance(model, DistributedDataParallel) and self._embedding.sparse:
            model.register_comm_hook(None, average_gradients)
        return model, loader

    def _init_training_state(self, *arguments: Any) -> tuple[int, int]:
        """Where the training stands; the best checkpoint-N is looked for where it is now."""
        counts: tuple[int, int] = super()._init_training_state(*arguments)
        *_, checkpoint, _ = arguments
        best = None if checkpoint is None else best_so_far(Path(checkpoint))
        self.state.best_model_checkpoint = str(best) if best is not None and best.is_dir() else None
        return counts

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Raise `InputError` where the state in a checkpoint-N is broken or of another optimizer."""
        groups = [] if self.optimizer is None else self.optimizer.param_groups
        needed = [set(group) for group in groups]
        try:
            super()._load_optimizer_and_scheduler(checkpoint)
            for names, group in zip(needed, getattr(self.optimizer, "param_groups", []), strict=True):
                if missing := names - group.keys():  # torch loads what another optimizer has left
                    raise KeyError(min(missing))
        except (EOFError, KeyError, RuntimeError, ValueError, UnpicklingError) as error:
            reason = " ".join(str(error).split())
            rule = f"must hold a state that {self.args.optim} can go on from"
            raise InputError(f"resume_from_checkpoint: {checkpoint!r} {rule}, it does not ({reason})") from error

    def require_tools(self) -> None:
        """Raise `InputError` where there would be no batch, or no optimizer or scheduler for want of a package."""
        if not len(self.get_train_dataloader()):
            raise InputError("dataloader_drop_last leaves no step: the texts of an epoch fill none")
        steps: dict[str, Callable[[], object]] = {
            "optim": self.create_optimizer,
            "lr_scheduler_type": lambda: self.create_scheduler(num_training_steps=1),
        }
        for name, create in steps.items():
            try:
                create()
            except (ImportError, RuntimeError, TypeError, ValueError) as error:
                asked = getattr(self.args, name)
                reason = str(error).splitlines()[0]
                raise InputError(f"{name}: {getattr(asked, 'value', asked)} cannot be made: {reason}") from error
        self.optimizer = self.lr_scheduler = None  # the training makes its own, once it knows its steps

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        if not self._embedding.sparse:
            norm: Tensor = super()._clip_grad_norm(model)  # type: ignore[no-untyped-call]
            return norm
        self.accelerator.unscale_gradients()
        return clip_row_sparse(model, self.args.max_grad_norm)

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """The norm that clipping found; unlike transformers, none is worked out when nothing is clipped."""
        return grad_norm

    def get_train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Whole batches of the rows that the sampler draws, moved to the device of this process."""
        return training_loader(self.train_dataset, self.args, self._train_batch_size)

    def _get_dataloader(self, *arguments: Any, **options: Any) -> DataLoader[dict[str, Tensor]]:
        """Batches to evaluate on; `dataloader_drop_last` is for training and leaves out no text here."""
        drop_last, self.args.dataloader_drop_last = self.args.dataloader_drop_last, False
        try:
            loader: DataLoader[dict[str, Tensor]] = super()._get_dataloader(*arguments, **options)
        finally:
            self.args.dataloader_drop_last = drop_last
        return loader

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Tensor]], device: torch.device) -> Tensor | int:
        """Labels of a step, of all processes together: what the summed loss is divided by."""
        count = sum(batch["labels"].numel() for batch in batch_samples)
        if self.args.world_size == 1 or not self.args.average_tokens_across_devices:
            return count
        total: Tensor = self.accelerator.reduce(torch.tensor(count, device=device))
        return total

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted: transformers would walk all parameters at every step."""
        return 0

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write checkpoint-N beside its name, then rename it: a killed run leaves no half-written one."""
        folder = Path(self._get_output_dir(trial))
        name = f"checkpoint-{self.state.global_step}"
        with OutputFolder(folder).writing(name), self._staged():
            super()._save_checkpoint(model, trial)
        staged = folder / STAGING / name
        if self.state.best_global_step == self.state.global_step:
            self.state.best_model_checkpoint = str(folder / name)
        self.accelerator.wait_for_everyone()  # every process adds the state of its random numbers
        if self.args.should_save:
            with OutputFolder(folder).writing(name):
                self.state.save_to_json(str(staged / STATE))
                staged.rename(folder / name)
                rotate_checkpoints(str(folder), self.args.save_total_limit, self.state.best_model_checkpoint)
        self.accelerator.wait_for_everyone()

    @contextmanager
    def _staged(self) -> Iterator[None]:
        """Let `Trainer` believe that its output folder is a hidden one inside."""
        folder = self.args.output_dir
        self.args.output_dir = str(Path(folder or "") / STAGING)
        try:
            yield
        finally:
            self.args.output_dir = folder
