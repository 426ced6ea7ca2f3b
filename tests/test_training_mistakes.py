"""A mistake costs the user one sentence, and nothing is written."""

from pathlib import Path

import pytest

from tests.conftest import TINY
from training.__main__ import main

ENOUGH = b"text,label\n" + b"".join(b"text %d,%c\n" % (number, b"ab"[number % 2]) for number in range(40))
MISTAKES: list[tuple[str, bytes, list[str], str]] = [
    ("none.csv", b"", ["--train_file", "absent.csv"], "absent.csv: no such file"),
    ("a.csv", b"Text,label\nx,a\n", [], "no column 'text'; found 'Text', 'label' (choose with --text_column)"),
    ("a.csv", b"text,Label\nx,a\n", [], "no column 'label'; found 'text', 'Label' (choose with --label_column)"),
    ("a.csv", b"", [], "the file is empty"),
    ("a.csv", b"text,label\nx,a\ny,a\n", [], "must hold at least 2 classes, found one class only, 'a'"),
    ("a.csv", b"text,label\nx,a\n,b\n", [], "row 2: text must not be empty"),
    ("a.jsonl", b'{"text": null, "label": "a"}\n', [], "line 1: text must not be null or missing"),
    ("a.csv", b"text,label\nx,a\n\xff,b\n", [], "not UTF-8: byte 0xff at offset 15, line 3"),
    ("a.jsonl", b'{"text": "x", "label": "a"}\n{"text": "y"\n', [], "line 2: broken JSON"),
    (
        "a.jsonl",
        b'{"text": "x", "label": "a"}\n{"text": "y", "label": 1}\n',
        [],
        "line 2: label must be a string as in a.jsonl, line 1",
    ),
    ("a.doc", b"x", [], "unknown kind of file"),
    ("a.csv", b"text,label\nx,a\nx,a\ny,b\ny,b\n", [], "every label stands beside one text alone"),
    ("a.csv", b"text,label\nx,1.5\nx,1.5\n", [], "too few to hold out validation rows"),
    ("a.csv", b"text,label\nx,a\ny,b\n", ["--label_column", "text"], "label_column must be another column than"),
    ("a.csv", b"label;text\na;x\nb;1,5\n", [], "row 2: 2 fields where the header has 1, 'label;text'"),
    ("a.jsonl", b'{"text": "x", "labels": [0, 1, 0]}\n', [], "must name the classes of a row, not mark all of them"),
    ("a.csv", b"text,label\nx,a\n", ["--train", "b.csv"], "unknown argument '--train'; did you mean '--train_file'?"),
    ("a.csv", ENOUGH, ["--tokenizer", "sentences"], "tokenizer"),
    ("a.csv", ENOUGH, ["--groups", "7"], "embedding_dim must be divisible by groups"),
    ("a.csv", ENOUGH, ["--max_length", "0"], "max_length must be"),
    (
        "a.csv",
        ENOUGH,
        ["--max_length", "2"],
        "max_length must leave room for a text beside the 2 special tokens, got 2",
    ),
    ("a.csv", ENOUGH, ["--vocab_size", "4"], "vocab_size must have room beside the 4 special tokens, got 4"),
    ("a.csv", ENOUGH, ["--conv_padding", "wide"], "error: conv_padding must be"),
    ("a.csv", ENOUGH, ["--label_smoothing_factor", "1.5"], "label_smoothing_factor must be at least 0 and below 1"),
    ("a.csv", ENOUGH, ["--seed", "5000000000"], "seed must be at least 0 and below 4294967296, got 5000000000"),
    ("a.csv", ENOUGH, ["--num_train_epochs", "inf"], "num_train_epochs must be a finite number, got inf"),
    (
        "a.csv",
        ENOUGH,
        ["--initial_embedding_std", "-1"],
        "initial_embedding_std must be finite and at least 0, got -1.0",
    ),
    ("a.csv", ENOUGH, ["--label_names", "foo"], "label_names must be false: the labels have their name already"),
    ("a.csv", ENOUGH, ["--accelerator_config", "nowhere.json"], "nowhere.json"),
    (
        "a.csv",
        ENOUGH,
        ["--autotune_minutes", "1", "--keep_checkpoints", "true"],
        "keep_checkpoints is for one training",
    ),
    (
        "a.csv",
        ENOUGH.replace(b",a\n", b",1700000010.5\n").replace(b",b\n", b",1700000090.5\n"),
        [],
        "subtract the mean",
    ),
    (
        "a.csv",
        ENOUGH.replace(b"a\n", b"1.5\n").replace(b"b\n", b"2\n"),
        ["--label_smoothing_factor", "0.1"],
        "label_smoothing_factor is for one",
    ),
]


@pytest.mark.parametrize("label", ["class {}", "{}.5"])
def test_a_training_that_diverges_leaves_no_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], label: str
) -> None:
    rows = [{"text": f"text {number}", "label": label.format(number % 2)} for number in range(40)]
    file, output = tmp_path / "a.csv", tmp_path / "out"
    file.write_text("text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in rows), encoding="utf-8")
    assert main(["--train_file", str(file), "--output_dir", str(output), *TINY, "--learning_rate", "1e30"]) == 2
    assert "learning_rate: the training diverged" in capsys.readouterr().err.splitlines()[-1]
    assert not (output / "config.json").exists()


@pytest.mark.parametrize(("name", "content", "flags", "message"), MISTAKES, ids=[mistake[3] for mistake in MISTAKES])
def test_mistakes_cost_one_sentence(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: bytes,
    flags: list[str],
    message: str,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    assert main(["--train_file", name, "--output_dir", "out", *TINY, *flags]) == 2
    out, err = capsys.readouterr()
    *notes, mistake = err.splitlines()
    assert mistake.startswith("error: ")
    assert message in mistake
    assert not any("Traceback" in note or "usage" in note for note in notes)
    assert out == ""
    assert not Path("out").exists()
