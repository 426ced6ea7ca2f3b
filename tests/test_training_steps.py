"""Speed in the log, for TensorBoard and in metrics.json."""

import json
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from model.device import DeviceTimer
from tests.conftest import labelled_texts, train
from training.steps import StepClock


class Slow:
    """A measurement of 20 ms."""

    def stop(self) -> None:
        """Nothing to do."""

    def elapsed_ms(self) -> float:
        return 20.0


def test_speed_since_the_last_report_and_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DeviceTimer, "start", lambda _: Slow())
    clock = StepClock(torch.device("cpu"), processes=2)
    assert clock.report() == clock.total() == {}
    for tokens in (3, 5):
        clock.begin()
        clock.count(torch.arange(4)[None] < torch.tensor([[tokens // 2], [tokens - tokens // 2]]))
        clock.end()
    expected = {"step_ms": 20.0, "step_samples_per_second": 200.0, "step_tokens_per_second": 400.0}
    assert clock.report() == pytest.approx(expected)
    assert clock.report() == {}
    clock.begin()
    clock.count(torch.ones(6, 1))
    clock.end()
    assert clock.report()["step_samples_per_second"] == pytest.approx(600)
    assert clock.total()["step_samples_per_second"] == pytest.approx(2 * 10 / 0.06)
    assert clock.total()["samples"] == 2 * 10


@pytest.mark.parametrize(
    "flags", [("--logging_strategy", "no"), ("--logging_strategy", "steps", "--logging_steps", "4")]
)
def test_every_step_counts_whatever_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    monkeypatch.setattr(DeviceTimer, "start", lambda _: Slow())
    checkpoint = train(tmp_path, labelled_texts()[:72], "--num_train_epochs", "1", *flags)
    measured = json.loads((checkpoint / "metrics.json").read_text())["train"]
    assert (measured["steps"], measured["step_ms"]) == (5, 20.0)
    assert measured["step_samples_per_second"] == pytest.approx(72 / 0.1)


def test_speed_is_logged_reported_and_sent_to_tensorboard(tmp_path: Path) -> None:
    checkpoint = train(tmp_path, labelled_texts(), "--num_train_epochs", "3")
    measured = json.loads((checkpoint / "metrics.json").read_text())["train"]
    assert measured["step_ms"] > 0
    assert 2 < measured["step_tokens_per_second"] / measured["step_samples_per_second"] < 8
    (events,) = (tmp_path / "tensorboard" / "checkpoint").iterdir()
    accumulator = EventAccumulator(str(events)).Reload()
    for name in ("train/loss", "train/step_ms", "train/step_tokens_per_second", "eval/accuracy"):
        assert [event.step for event in accumulator.Scalars(name)] == [9, 18, 27]


def test_samples_are_counted_where_steps_end_an_epoch_early(tmp_path: Path) -> None:
    checkpoint = train(tmp_path, labelled_texts()[:66], "--max_steps", "10", "--per_device_train_batch_size", "64")
    measured = json.loads((checkpoint / "metrics.json").read_text())["train"]
    assert measured["samples_per_second"] * measured["seconds"] == pytest.approx(5 * 66)  # not ten times 64
