"""What a person sees of a training: a bar while a terminal is there, and one line for each evaluation."""

import sys
import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

_RENEWED = 1.0  # s between two losses


class ProgressLines(TrainerCallback):
    """Steps, remaining time, loss and metric as a bar on stderr, and each evaluation's metrics as a line above it.

    `running_loss` tells the mean loss since the last log; it is asked once a second, since a GPU has to stop for it.
    """

    def __init__(self, running_loss: Callable[[], float] | None = None) -> None:
        self._running_loss = running_loss
        self._bar: tqdm[Any] | None = None
        self._loss = self._metric = ""
        self._due = 0.0  # s, when the bar's loss is to be renewed

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
        if self._bar is None or self._bar.disable:
            return
        if self._running_loss is not None and time.monotonic() >= self._due:
            self._loss = f"  loss {self._running_loss():.4f}"
            self._due = time.monotonic() + _RENEWED
            self._label()
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
            self._label()

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
        best = args.metric_for_best_model
        if best in shown:
            self._metric = f"{best} {shown[best]:.4f}"
            self._label()
        tqdm.write(f"epoch {state.epoch or 0:.4g}{self._loss}  validation: {values}", file=sys.stderr)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _label(self) -> None:
        """Write the latest loss and metric behind the bar."""
        if self._bar is not None:
            self._bar.set_postfix_str(", ".join(filter(None, (self._loss.strip(), self._metric))), refresh=False)
