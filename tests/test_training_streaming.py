"""Streaming: the same training as in memory, with the rows on the disk."""

import csv
import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from model.errors import InputError
from model.tokenizer import encode_batch, train_tokenizer
from tests.conftest import TINY, labelled_texts, multi_labelled_texts, train, write_json_lines
from training import data as data_module
from training import tokens as tokens_module
from training.__main__ import main
from training.config import DataArguments, ModelArguments
from training.data import TextData, load_data
from training.features import Layout, TokenTensors
from training.preparation import prepare
from training.tokens import TokenCache

FEW = 10  # rows at a time, so that the small files here have several pieces


@pytest.fixture(autouse=True)
def few_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_module, "_STREAMED", FEW)
    monkeypatch.setattr(tokens_module, "_BATCH", FEW)


def load(train_file: Path, streaming: bool = True, named: list[str] | None = None, **others: Any) -> TextData:
    """The data of a file, or of what is `named` in its place."""
    validation = write_json_lines(train_file.parent / "validation.jsonl", labelled_texts()[:20])
    files = {"train_file": named or [str(train_file)], "validation_file": [str(validation)], **others}
    return load_data(DataArguments(**files, streaming=streaming, cache_dir=str(train_file.parent / "cache")), seed=1)


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    """The rows in the format that the name tells."""
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=7)
        return path
    if ".jsonl" in path.suffixes:
        write_json_lines(path, rows)
    elif ".txt" in path.suffixes:
        path.write_text("".join(f"__label__{row['label']} {row['text']}\n" for row in rows), encoding="utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["text", "label"], delimiter="\t" if ".tsv" in path.suffixes else ",")
            writer.writeheader()
            writer.writerows(rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(path.read_bytes()))
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv", "a.jsonl.gz", "a.parquet", "a.txt"])
def test_every_format_gives_the_rows_that_reading_it_whole_gives(tmp_path: Path, name: str) -> None:
    rows = [{**row, "text": f'{row["text"]}, "quoted" {number}'} for number, row in enumerate(labelled_texts())]
    file = write(tmp_path / name, rows)
    streamed, whole = load(file), load(file, streaming=False)
    assert (streamed.labels, streamed.problem_type) == (whole.labels, whole.problem_type)
    assert (list(streamed.train.texts), list(streamed.train.targets)) == (whole.train.texts, whole.train.targets)
    assert len(streamed.train) == len(rows)
    assert [streamed.train.texts[row] for row in (0, FEW - 1, FEW, 143)] == [
        whole.train.texts[row] for row in (0, FEW - 1, FEW, 143)
    ]


def shards(folder: Path, *names: str) -> list[dict[str, str]]:
    """The rows of all files of these names, each with a part of them."""
    folder.mkdir()
    rows = [{**row, "text": f"{row['text']} {number}"} for number, row in enumerate(labelled_texts())]
    for number, name in enumerate(names):
        write(folder / name, rows[number * len(rows) // len(names) : (number + 1) * len(rows) // len(names)])
    return rows


@pytest.mark.parametrize(
    ("names", "given"),
    [
        (["b.jsonl", "c.jsonl.gz", "d.parquet"], ["shards"]),
        (["b.jsonl", "c.jsonl.gz", "d.txt"], ["shards/*"]),
        (["b.csv", "c.tsv.gz", "d.csv"], ["shards/b.csv", "shards/[cd].*"]),
    ],
    ids=["folder", "pattern", "list"],
)
def test_several_files_are_one_in_memory_and_streamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], given: list[str]
) -> None:
    rows = shards(tmp_path / "shards", *names)
    monkeypatch.chdir(tmp_path)
    for streaming in (True, False):
        data = load(tmp_path / "unused", streaming, given)
        assert list(data.train.texts) == [row["text"] for row in rows]
        assert list(data.train.targets) == [row["label"] for row in rows]
        assert data.train.source == f"shards/{names[0]} and 2 more"


def test_the_files_are_read_again_when_one_has_changed(tmp_path: Path) -> None:
    shards(tmp_path / "shards", "a.csv", "b.csv")
    given = [str(tmp_path / "shards")]
    assert len(load(tmp_path / "unused", named=given).train) == 144
    write(tmp_path / "shards" / "b.csv", labelled_texts()[:10])
    assert len(load(tmp_path / "unused", named=given).train) == 82


@pytest.mark.parametrize("streaming", [True, False])
def test_a_mistake_in_a_later_file_names_it(tmp_path: Path, streaming: bool) -> None:
    shards(tmp_path / "shards", "a.jsonl", "b.jsonl", "c.jsonl")
    broken = tmp_path / "shards" / "b.jsonl"
    given = [str(tmp_path / "shards" / "*.jsonl")]
    empty, lacking = {"text": "", "label": "praise"}, {"text": "x", "kind": "praise"}
    for row, message in (
        (empty, "line 1: text must not be empty"),
        (lacking, "no column 'label'; found 'text', 'kind'"),
    ):
        write_json_lines(broken, [row])
        with pytest.raises(InputError, match=rf"b\.jsonl.*{message}"):
            load(tmp_path / "unused", streaming, given)


@pytest.mark.parametrize("rows", [labelled_texts(), multi_labelled_texts()], ids=["single", "multi"])
def test_the_training_is_the_same_to_the_bit(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    flags = ("--num_train_epochs", "2", "--sampler", "length_grouped", "--cache_dir", str(tmp_path / "cache"))
    (tmp_path / "whole").mkdir()
    (tmp_path / "streamed").mkdir()
    parts = [
        write_json_lines(tmp_path / f"{start}.jsonl", rows[start : start + 60]) for start in range(0, len(rows), 60)
    ]
    whole = train(tmp_path / "whole", rows, *flags)
    streamed = train(tmp_path / "streamed", rows, *flags, "--streaming", "--train_file", *map(str, parts))
    for name in ("model.safetensors", "tokenizer.json"):
        assert (streamed / name).read_bytes() == (whole / name).read_bytes()
    reports = [json.loads((folder / "metrics.json").read_text(encoding="utf-8")) for folder in (whole, streamed)]
    assert reports[1]["test"] == reports[0]["test"]
    assert reports[1]["data"]["labels"] == reports[0]["data"]["labels"]
    assert "Not sought in training texts that were streamed." in (streamed / "report.html").read_text(encoding="utf-8")


def test_rows_do_not_gather_in_memory(tmp_path: Path) -> None:
    """Reading, learning a tokenizer and tokenizing take no more for five times the rows but some numbers a row."""

    def peak(rows: int, streaming: bool) -> int:
        """Most bytes that were held at a time, by Python and by Arrow."""
        words = " ".join(f"word{number % 50}" for number in range(200))
        texts = [{"text": f"{number} {words}", "label": str(number % 3)} for number in range(rows)]
        file = write_json_lines(tmp_path / f"{rows}.jsonl", texts)
        others = write_json_lines(tmp_path / "others.jsonl", texts[:9])
        del texts
        held = int(pyarrow.total_allocated_bytes())
        tracemalloc.start()
        try:
            data = load(file, streaming, validation_file=[str(others)])
            prepare(data, ModelArguments(embedding_dim=2, tokenizer="word"), TokenCache(tmp_path / "cache"))
            return tracemalloc.get_traced_memory()[1] + int(pyarrow.total_allocated_bytes()) - held
        finally:
            tracemalloc.stop()

    peak(20, True)  # imports
    text_bytes = 1200
    growth = {streaming: (peak(500, streaming) - peak(100, streaming)) / 400 for streaming in (True, False)}
    assert growth[False] > text_bytes
    assert growth[True] < 200


def test_batches_are_made_of_the_file_of_token_ids(tmp_path: Path) -> None:
    data = load(write(tmp_path / "a.csv", labelled_texts()))
    cache = TokenCache(tmp_path / "cache")
    tokenizer = train_tokenizer(data.train.texts, "word", 100)
    tokens = cache.tokenize(tokenizer, data.train.texts)
    assert isinstance(tokens.token_ids, np.memmap)
    made = TokenTensors(tokens, np.zeros(144), Layout(max_length=8))
    assert made.token_ids.data_ptr() == tokens.token_ids.ctypes.data
    rows = [row[mask].tolist() for row, mask in zip(*list(made.__getitems__(range(144)).values())[:2], strict=True)]
    assert rows == encode_batch(tokenizer, list(data.train.texts))


def test_the_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", labelled_texts())
    assert len(load(file).train) == 144
    assert len(load(write(file, labelled_texts()[:100])).train) == 100


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": " ", "label": "refund"}, "line 26: text must not be empty"),
        ({"text": "x", "label": None}, "line 26: label must not be empty, got null"),
        ({"text": "x", "label": ["a"]}, "line 26: label must be"),
    ],
)
def test_a_mistake_far_down_is_named_and_leaves_nothing(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    file = write_json_lines(tmp_path / "a.jsonl", [*labelled_texts()[:25], row])
    with pytest.raises(InputError, match=message):
        load(file)
    assert not list((tmp_path / "cache").iterdir())


def test_labels_of_another_type_are_refused_from_table_to_table(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [*labelled_texts()[: 2 * FEW], *({"text": "x", "label": 5} for _ in range(FEW))]
    file = write_json_lines(tmp_path / "a.jsonl", rows)
    with pytest.raises(InputError, match=rf"line {2 * FEW + 1}: label must be a string as in .*a.jsonl, line 1, got 5"):
        load(file)


def test_labels_that_pose_another_problem_later_ask_for_a_flag(tmp_path: Path) -> None:
    rows = [{"text": f"text {number}", "label": str(number % 2)} for number in range(20)]
    file = write(tmp_path / "a.csv", [*rows, {"text": "last", "label": "0.5"}])
    others = [str(write(tmp_path / "others.csv", rows))]
    with pytest.raises(InputError, match="row 21: label poses regression from here on, single_label_classification"):
        load(file, validation_file=others)
    data = load(file, validation_file=others, problem_type="regression")
    assert list(data.train.targets)[-2:] == [1.0, 0.5]


def test_a_line_with_several_labels_far_down_asks_for_a_flag(tmp_path: Path) -> None:
    lines = [f"__label__{'ab'[number % 2]} text {number}\n" for number in range(2 * FEW)]
    file = tmp_path / "a.txt"
    file.write_text("".join([*lines, "__label__a __label__b last\n"]))
    others = tmp_path / "others.txt"
    others.write_text("".join(lines))
    with pytest.raises(InputError, match=rf"a\.txt, line {2 * FEW + 1}: label must be one class, got \['a', 'b'\]"):
        load(file, validation_file=[str(others)])
    data = load(file, validation_file=[str(others)], problem_type="multi_label_classification")
    assert data.train.targets[2 * FEW] == ("a", "b")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "streaming: give --validation_file FILE; of streamed files no rows are held out"),
        (("--validation_file", "x.csv", "--teacher", "x"), "streaming: a --teacher labels texts in memory"),
    ],
)
def test_what_streaming_does_not_go_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], message: str
) -> None:
    file = write_json_lines(tmp_path / "texts.jsonl", labelled_texts())
    command = ["--train_file", str(file), "--output_dir", str(tmp_path / "out"), *TINY, "--streaming", *flags]
    assert main(command) == 2
    assert message in capsys.readouterr().err
