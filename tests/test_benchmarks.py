"""`python -m benchmarks`, and what a result file says of the command that wrote it."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.environment import describe


@pytest.mark.parametrize(("codes", "status"), [([0, 0, 0, 0], 0), ([0, -9, 0, 0], 1), ([0, 0, 2, 0], 1)])
def test_all_run_and_one_that_dies_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codes: list[int], status: int
) -> None:
    ran: list[str] = []

    def run(command: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        ran.append(command[2])
        return subprocess.CompletedProcess(command, codes[len(ran) - 1])

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--data", str(tmp_path)])
    assert main() == status
    assert ran == [f"benchmarks.{name}" for name in ("latency", "training", "accuracy", "load")]


def test_the_command_stands_as_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["-m", "benchmarks.accuracy", "--data", "sets", "--flags=--bf16 --seed 3"]
    monkeypatch.setattr(sys, "orig_argv", ["/usr/bin/python3.11", *flags])
    assert describe()["command"] == "python -m benchmarks.accuracy --data sets '--flags=--bf16 --seed 3'"
