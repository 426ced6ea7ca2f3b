"""`textcnn-classify`: arguments, files and standard input to JSON lines; mistakes to one sentence."""

import gzip
import io
import json
from pathlib import Path

import pytest

from model.__main__ import main
from model.classifier import TextClassifier
from model.fasttext import fasttext_line
from model.prediction import Prediction
from tests.checkpoints import TEXTS, write_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_checkpoint(tmp_path_factory.mktemp("random")))


def printed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.split("\n") if line]


def test_classifies_its_arguments(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--checkpoint", folder, *TEXTS]) == 0
    expected = TextClassifier.from_pretrained(folder, device="cpu")(TEXTS)
    lines = printed(capsys)
    assert [line["text"] for line in lines] == TEXTS
    assert [line["label"] for line in lines] == [prediction.label for prediction in expected]
    assert lines[0]["scores"] == expected[0].scores


@pytest.mark.parametrize("name", ["texts.txt", "texts.txt.gz"])
def test_reads_files_line_by_line(folder: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = "a\u2028b\r\n\n退款\nlast line without end".encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert main(["--checkpoint", folder, "--input", str(path), "--top-k", "1"]) == 0
    lines = printed(capsys)
    assert [line["text"] for line in lines] == ["a\u2028b", "", "退款", "last line without end"]
    assert all(len(line["scores"]) == 1 for line in lines)  # type: ignore[arg-type]


def test_reads_standard_input(folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"one\ntwo\n")))
    assert main(["--checkpoint", folder]) == 0
    assert [line["text"] for line in printed(capsys)] == ["one", "two"]


def test_prints_what_fasttext_prints(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictions = TextClassifier.from_pretrained(folder, device="cpu")(TEXTS)
    assert main(["--checkpoint", folder, "--format", "fasttext", "--top_k", "2", *TEXTS]) == 0
    for line, prediction in zip(capsys.readouterr().out.splitlines(), predictions, strict=True):
        first, second = list((prediction.scores or {}).items())[:2]
        name, probability, *rest = line.split(" ")
        assert [name, rest[0]] == [f"__label__{first[0]}", f"__label__{second[0]}"]
        assert [float(probability), float(rest[1])] == pytest.approx([first[1], second[1]], abs=1e-5)
    assert main(["--checkpoint", folder, "--format", "fasttext", TEXTS[0]]) == 0
    assert capsys.readouterr().out.split(" ")[:-1] == [f"__label__{predictions[0].label}"]
    number = str(write_checkpoint(tmp_path, problem_type="regression"))
    assert main(["--checkpoint", number, "--format", "fasttext", "x"]) == 2
    assert capsys.readouterr().err == "error: format fasttext is for labels, this checkpoint predicts a number\n"


def test_fasttext_lines_of_several_labels_hold_those_that_apply() -> None:
    scores = {"order status": 0.9, "refund": 0.6123456, "other": 1e-7}
    prediction = Prediction("order status", 0.9, scores, labels=["order status", "refund"])
    assert fasttext_line(prediction, None) == "__label__order_status 0.9 __label__refund 0.612346"
    assert fasttext_line(prediction, 3).endswith(" __label__other 1e-07")
    assert fasttext_line(Prediction("other", 0.1, {"other": 0.1}, labels=[]), None) == ""


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["x"], "the following arguments are required: --checkpoint"),
        (["--checkpoint", "nowhere", "x"], "checkpoint must be a folder, 'nowhere' does not exist"),
        (["--checkpoint", "{}", "--device", "cuda:99", "x"], "device 'cuda:99' does not exist"),
        (["--checkpoint", "{}", "--top_kk", "1", "x"], "unknown argument '--top_kk'; did you mean '--top_k'?"),
        (["--checkpoint", "{}", "--top_k", "0", "x"], "top_k must be at least 1, got 0"),
        (["--checkpoint", "{}", "--top_k", "x", "x"], "invalid int value: 'x'"),
        (["--checkpoint", "{}", "--input", "missing.txt"], "input 'missing.txt' cannot be read (No such file"),
        (["--checkpoint", "{}", "--input", "a.txt", "x"], "texts exclude --input and --output, got 1 texts"),
        (["--checkpoint", "{}", "--output", "a.csv"], "output needs --input, a file or a folder that an interrupted"),
        (["--checkpoint", "{}", "--format", "csv", "x"], "invalid choice: 'csv' (choose from 'jsonl', 'fasttext')"),
        (["--checkpoint", "x" * 300, "x"], "(File name too long)"),
        (["--checkpoint", "{}", "--input", "x" * 300], "cannot be used (File name too long)"),
        (["--check", "{}", "x"], "the following arguments are required: --checkpoint"),
    ],
)
def test_mistakes_are_one_sentence(
    folder: str, argv: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([argument.format(folder) for argument in argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sentence in captured.err
    assert captured.err.count("\n") == 1


def test_prints_utf8_whatever_the_encoding_of_standard_output(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(printed, encoding="latin-1"))
    assert main(["--checkpoint", folder, "退款"]) == 0
    assert json.loads(printed.getvalue())["text"] == "退款"


def test_names_the_line_that_is_not_utf8(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"fine\ncaf\xe9\n")
    assert main(["--checkpoint", folder, "--input", str(path)]) == 2
    assert "line 2 is not UTF-8 (byte 0xe9)" in capsys.readouterr().err
