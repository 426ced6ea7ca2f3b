"""The search: within its time, with what was given kept, the best trial as the checkpoint."""

import json
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from model.classifier import TextClassifier
from model.errors import InputError, UnwritableError
from tests.conftest import TINY, labelled_texts, write_json_lines
from training.__main__ import main
from training.search import SPACE, Search


def command(folder: Path, *flags: str) -> list[str]:
    file = write_json_lines(folder / "texts.jsonl", labelled_texts())
    files = ["--train_file", str(file), "--validation_file", str(file), "--test_file", str(file)]
    return [*files, "--output_dir", str(folder / "out"), *TINY, "--num_train_epochs", "2", *flags]


def test_the_best_trial_becomes_the_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(monotonic=count().__next__)  # every look at it takes a second
    monkeypatch.setattr("training.search.time", clock)
    assert main(command(tmp_path, "--autotune_minutes", "0.1")) == 0
    output = tmp_path / "out"
    report = json.loads((output / "metrics.json").read_text())
    trials = report["autotune"]
    assert len(trials) >= 2
    assert report["validation"]["accuracy"] == max(trial["accuracy"] for trial in trials)
    assert set(trials[0]) == {"trial", "dropout", "tokenizer", "accuracy", "seconds"}  # TINY gives all other settings
    assert (trials[0]["dropout"], trials[0]["tokenizer"]) == (0.3, "wordpiece")  # the settings as given come first
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


GIVEN = {"learning_rate": 0.002, "dropout": 0.55, "kernel_sizes": "1 2 3 4"}  # a dropout beyond the search's steps


def search(folder: Path, higher_is_better: bool = True, **question: Any) -> Search:
    return Search(folder / "trials.json", question, 60, "score", higher_is_better, seed=7)


def run(folder: Path, interrupted: bool, clock: SimpleNamespace) -> Search:
    """A search whose trials take four seconds; interrupted, it begins anew after each evaluation and each trial."""

    def again(current: Search) -> Search:
        if interrupted:
            clock.now += 1000
            current = search(folder)
            current.resume()
        return current

    current, is_over = search(folder), False
    while not is_over:
        settings = current.propose(GIVEN)
        clock.now += 2
        current.spend()
        current = again(current)
        clock.now += 2
        value = None if len(current.trials) == 3 else settings["dropout"] - abs(settings["learning_rate"] - 0.01)
        is_over = current.add(settings, value)
        current = again(current)
    return current


def test_an_interrupted_search_goes_on_as_if_it_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("training.search.time", SimpleNamespace(monotonic=lambda: clock.now))
    tables = []
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
        done = run(tmp_path / name, name == "broken", clock)
        assert done.seconds == 60
        scores = [-1 if trial["score"] is None else trial["score"] for trial in done.trials]
        assert scores[done.best] == max(scores)
        tables.append(done.trials)
    assert tables[0] == tables[1]
    assert len(tables[0]) == 15
    assert tables[0][0] == {"trial": 0, **GIVEN, "score": pytest.approx(0.542), "seconds": 4}
    assert len({trial["learning_rate"] for trial in tables[0]}) == 15  # no draw is repeated
    assert all(trial["kernel_sizes"] in SPACE["kernel_sizes"].choices for trial in tables[0])  # type: ignore[attr-defined]


def test_of_errors_the_smallest_is_best_and_no_number_the_worst(tmp_path: Path) -> None:
    current = search(tmp_path, higher_is_better=False)
    for value in (float("nan"), 0.5, 0.2, 0.2, None):
        current.add({}, value)
    assert current.best == 2
    assert [trial["score"] for trial in current.trials] == [None, 0.5, 0.2, 0.2, None]


def test_a_search_in_other_data_or_on_a_full_disk(tmp_path: Path) -> None:
    search(tmp_path, labels=["a", "b"]).spend()
    with pytest.raises(InputError, match=r"is of other data or settings: labels was \['a', 'b'\], is \['a', 'c'\]"):
        search(tmp_path, labels=["a", "c"]).resume()
    (tmp_path / "trials.new").mkdir()  # in the place of the file
    with pytest.raises(UnwritableError, match=r"output_dir: cannot write '.*trials\.json': Is a directory"):
        search(tmp_path, labels=["a", "b"]).spend()


ALL = ["--dropout", "0.4", "--tokenizer", "word"]  # beside TINY's


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--autotune_minutes", "1", *ALL],
            "autotune_minutes: nothing is left to search, since all of learning_rate, ",
        ),
        (["--autotune_minutes", "1", "--resume_from_checkpoint", "true"], "no search to go on with in"),
        (["--autotune_minutes", "1", "--resume_from_checkpoint", "x"], "must be true or false with autotune_minutes"),
        (["--autotune_minutes", "0"], "autotune_minutes must be above 0, got 0.0"),
        (["--autotune_minutes", "1", "--dropout", "2"], "dropout must be at least 0 and below 1, got 2.0"),
    ],
)
def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str) -> None:
    assert main(command(tmp_path, *flags)) == 2
    assert message in capsys.readouterr().err
