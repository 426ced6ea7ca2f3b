"""What a person sees of a training on a terminal."""

import io
import re
import sys
from pathlib import Path

import pytest

from tests.conftest import labelled_texts, train


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_tells_loss_metric_and_remaining_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        train(tmp_path, labelled_texts(), "--disable_tqdm", "false", "--num_train_epochs", "3")
    bars = [bar for bar in re.split(r"[\r\n]", terminal.getvalue()) if "step/s" in bar or "s/step" in bar]
    pattern = r"\| (\d+)/27 \[\d\d:\d\d<\d\d:\d\d, .*(?:step/s|s/step), loss (\d\.\d{4}), accuracy (\d\.\d{4})\]"
    shown = [found.groups() for bar in bars if (found := re.search(pattern, bar))]
    assert {"9", "18"} <= {steps for steps, *_ in shown}
    lines = re.findall(r"epoch (\d)  loss (\S+)  validation: loss \S+ accuracy (\S+),", terminal.getvalue())
    assert [epoch for epoch, *_ in lines] == ["1", "2", "3"]
    assert ("9", *lines[0][1:]) in shown
