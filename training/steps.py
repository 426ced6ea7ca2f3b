"""How fast a training is: the time of its steps on the device, and the texts and tokens in them."""

from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from model.device import DeviceMeasurement, DeviceTimer, HostMeasurement


class StepClock:
    """Time of the steps, from their first batch to the updated weights; loading and evaluating are left out.

    `processes` learn at the same time, each as many texts as this one.
    """

    def __init__(self, device: torch.device, processes: int = 1) -> None:
        self._timer, self._processes = DeviceTimer(device), processes
        self._running: HostMeasurement | DeviceMeasurement | None = None
        self._done: list[HostMeasurement | DeviceMeasurement] = []  # since the last report
        self._texts = 0
        self._tokens: Tensor | int = 0  # stays on the device until somebody asks
        self._sums = [0.0] * 4  # steps, ms, texts, tokens of all reports

    def begin(self) -> None:
        """The first batch of a step is there."""
        self._running = self._timer.start()

    def count(self, attention_mask: Tensor) -> None:
        """A batch (B, T) of the step."""
        self._texts += len(attention_mask)
        self._tokens = self._tokens + attention_mask.sum()

    def end(self) -> None:
        """The weights are updated."""
        if self._running is not None:
            self._running.stop()
            self._done.append(self._running)
            self._running = None

    def report(self) -> dict[str, float]:
        """Speed since the last report; nothing if there was no step."""
        if not self._done:
            return {}
        elapsed_ms = sum(step.elapsed_ms() for step in self._done)
        news = [float(len(self._done)), elapsed_ms, float(self._texts), float(self._tokens)]
        self._sums = [old + new for old, new in zip(self._sums, news, strict=True)]
        self._done, self._texts, self._tokens = [], 0, 0
        return self._speed(*news)

    def total(self) -> dict[str, float]:
        """Speed of all steps that were reported, and the samples in them; nothing if there were none."""
        if not self._sums[0]:
            return {}
        return {**self._speed(*self._sums), "samples": self._sums[2] * self._processes}

    def _speed(self, steps: float, elapsed_ms: float, texts: float, tokens: float) -> dict[str, float]:
        per_second = 1000 * self._processes / max(elapsed_ms, 1e-9)
        return {
            "step_ms": elapsed_ms / steps,
            "step_samples_per_second": texts * per_second,
            "step_tokens_per_second": tokens * per_second,
        }


class StepTimes(TrainerCallback):
    """Starts and stops the clock of a step."""

    def __init__(self, clock: StepClock) -> None:
        self._clock = clock

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The first batch is there."""
        self._clock.begin()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The weights are updated."""
        self._clock.end()
