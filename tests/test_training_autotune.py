"""The search: within its time, with what was given kept, the best trial as the checkpoint."""

import json
import time
from pathlib import Path

import pytest

from model.classifier import TextClassifier
from tests.conftest import TINY, labelled_texts, write_json_lines
from training.__main__ import main


def command(folder: Path, *flags: str) -> list[str]:
    file = write_json_lines(folder / "texts.jsonl", labelled_texts())
    files = ["--train_file", str(file), "--validation_file", str(file), "--test_file", str(file)]
    return [*files, "--output_dir", str(folder / "out"), *TINY, "--num_train_epochs", "2", *flags]


def test_the_best_trial_becomes_the_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = time.monotonic()
    assert main(command(tmp_path, "--autotune_minutes", "0.1")) == 0
    assert time.monotonic() - start < 60
    output = tmp_path / "out"
    report = json.loads((output / "metrics.json").read_text())
    trials = report["autotune"]
    assert len(trials) >= 2
    assert report["validation"]["accuracy"] == max(trial["accuracy"] for trial in trials)
    assert set(trials[0]) == {"trial", "dropout", "tokenizer", "accuracy", "seconds"}  # TINY gives all other settings
    assert (trials[0]["dropout"], trials[0]["tokenizer"]) == (0.5, "wordpiece")  # the settings as given come first
    best = max(trials, key=lambda trial: trial["accuracy"])
    assert report["arguments"]["model"]["tokenizer"] == best["tokenizer"]
    assert report["arguments"]["model"]["num_filters"] == 8
    assert not [path for path in output.iterdir() if path.name.startswith(".") or path.is_dir()]
    assert f"--checkpoint {output}" in (output / "README.md").read_text()
    assert "<h1>out</h1>" in (output / "report.html").read_text(encoding="utf-8")
    texts = [row["text"] for row in labelled_texts()]
    found = [prediction.label for prediction in TextClassifier.from_pretrained(output, "cpu")(texts)]
    accuracy = sum(label == row["label"] for label, row in zip(found, labelled_texts(), strict=True)) / len(texts)
    assert accuracy == pytest.approx(report["test"]["accuracy"])
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["trial", "dropout", "tokenizer", "accuracy", "seconds"]
    assert len(table) > len(trials)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--autotune_minutes", "0"], "autotune_minutes must be above 0, got 0.0"),
        (["--autotune_minutes", "1", "--dropout", "2"], "dropout must be at least 0 and below 1, got 2.0"),
    ],
)
def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str) -> None:
    assert main(command(tmp_path, *flags)) == 2
    assert message in capsys.readouterr().err
