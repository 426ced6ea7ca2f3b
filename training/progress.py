"""What a person sees of a training: a bar while a terminal is there, and one line for each evaluation."""

import sys
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class ProgressLines(TrainerCallback):
    """Steps, remaining time and loss as a bar on stderr, and each evaluation's metrics as a line above it."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._loss = ""

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Show the bar, on a terminal only."""
        if state.is_world_process_zero:
            self._bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                unit="step",
                disable=None,
                leave=False,
                dynamic_ncols=True,
            )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Remember the training loss for the next line."""
        if logs and "loss" in logs:
            self._loss = f"  loss {float(logs['loss']):.4f}"
            if self._bar is not None:
                self._bar.set_postfix_str(self._loss.strip(), refresh=False)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Write a line such as `epoch 3  loss 0.4120  validation: loss 0.3511, accuracy 0.8712`."""
        if not state.is_world_process_zero or metrics is None:
            return
        hidden = ("runtime", "second", "epoch", "preparation")
        shown = {
            name.removeprefix("eval_"): value for name, value in metrics.items() if not any(h in name for h in hidden)
        }
        values = ", ".join(f"{name} {value:.4f}" for name, value in shown.items())
        tqdm.write(f"epoch {state.epoch or 0:.4g}{self._loss}  validation: {values}", file=sys.stderr)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
