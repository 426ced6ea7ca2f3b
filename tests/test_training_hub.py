"""Datasets of the `datasets` library, from folders on this disk."""

from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, Features, Sequence, Value

from model.errors import InputError
from tests.conftest import TINY, labelled_texts, write_json_lines
from training.__main__ import main
from training.hub import read_dataset
from training.targets import MULTI, read_targets


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def folder_of(tmp_path: Path, *splits: str) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for split in splits:
        write_json_lines(folder / f"{split}.jsonl", labelled_texts())
    return folder


def test_a_folder_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of(tmp_path, "train", "test")
    flags = ["--dataset", str(folder), "--output_dir", str(tmp_path / "out"), *TINY, "--num_train_epochs", "2"]
    assert main(flags) == 0
    assert "test          144" in capsys.readouterr().out


def test_without_training_split(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "test")
    with pytest.raises(InputError, match=r"has no split 'train'; found test"):
        read_dataset(str(folder), None, "label")


def test_absent_dataset(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dataset: cannot load '.*absent'"):
        read_dataset(str(tmp_path / "absent"), None, "label")


def test_a_script_is_no_dataset(tmp_path: Path) -> None:
    folder = tmp_path / "scripted"
    folder.mkdir()
    (folder / "scripted.py").write_text("import datasets\n")
    with pytest.raises(InputError, match=r"dataset: cannot load '.*scripted': Dataset scripts are no longer supported"):
        read_dataset(str(folder), None, "label")


def test_numbered_classes_become_names_and_hidden_splits_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = ClassLabel(names=["no", "yes"])
    features = Features({"text": Value("string"), "label": label, "other": label, "tags": Sequence(label)})

    def split(numbers: list[int]) -> Dataset:
        texts = [f"text {number}" for number in numbers]
        withheld = [-1] * len(numbers)
        rows = {
            "text": texts,
            "label": numbers,
            "other": withheld,
            "tags": [[number] if number >= 0 else [] for number in numbers],
        }
        return Dataset.from_dict(rows, features=features)

    loaded = {"train": split([1, 0, -1]), "dev": split([0]), "test": split([-1, -1])}
    monkeypatch.setattr("datasets.load_dataset", lambda *_: loaded)
    tables = read_dataset("name", None, "label")
    assert set(tables) == {"train", "validation"}
    assert list(tables["train"].columns["label"]) == ["yes", "no", None]
    assert list(tables["train"].columns["tags"]) == [["yes"], ["no"], []]
    assert tables["validation"].place(0) == "name[dev], row 1"


def test_hidden_lists_are_left_out_and_hidden_items_become_null(monkeypatch: pytest.MonkeyPatch) -> None:
    features = Features({"text": Value("string"), "labels": Sequence(ClassLabel(names=["no", "yes"]))})

    def split(lists: list[list[int]]) -> Dataset:
        return Dataset.from_dict({"text": ["text"] * len(lists), "labels": lists}, features=features)

    loaded = {"train": split([[1, 0], [-1]]), "dev": split([[], []]), "test": split([[-1], [-1]])}
    monkeypatch.setattr("datasets.load_dataset", lambda *_: loaded)
    tables = read_dataset("name", None, "label")
    assert set(tables) == {"train", "validation"}
    assert list(tables["train"].columns["labels"]) == [["yes", "no"], [None]]
    with pytest.raises(InputError, match=r"name\[train\], row 2: labels must not be empty, got \[None\]"):
        read_targets(tables["train"], "labels", MULTI)
