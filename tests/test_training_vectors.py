"""Vectors of others: every format, only what the vocabulary needs, and what the network makes of them."""

import gzip
import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn import functional
from transformers import BertConfig, BertModel

from model.classifier import TextClassifier
from model.errors import InputError
from model.tokenizer import train_tokenizer
from tests.conftest import TINY, labelled_texts, train, write_json_lines
from training.__main__ import main
from training.vectors import DEVIATION, read_transformer, read_vectors

WORDS = {"money": [1.0, 2.0, 3.0], "Parcel": [4.0, 5.0, 6.0], "parcel": [7.0, 8.0, 9.0], "Thank": [-1.0, 0.5, 0.0]}
VOCABULARY = ["[PAD]", "[UNK]", "money", "parcel", "thank", "!"]
EXPECTED = [[0.0] * 3, [0.0] * 3, WORDS["money"], WORDS["parcel"], WORDS["Thank"], [0.0] * 3]


def text_lines(words: dict[str, list[float]]) -> str:
    return "".join(f"{word} {' '.join(map(str, vector))}\n" for word, vector in words.items())


def content(kind: str, words: dict[str, list[float]]) -> bytes:
    header = f"{len(words)} 3\n"
    if kind == "binary":
        rows = (word.encode() + b" " + struct.pack("<3f", *vector) + b"\n" for word, vector in words.items())
        return header.encode() + b"".join(rows)
    text = text_lines(words)
    return {"word2vec": header + text, "glove": text, "fasttext": header + text.replace("\n", " \n")}[kind].encode()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("kind", "suffix"), [("word2vec", ".txt"), ("binary", ".bin"), ("glove", ".txt"), ("fasttext", ".vec")]
)
def test_every_format_gives_the_same_table(tmp_path: Path, kind: str, suffix: str, compressed: bool) -> None:
    path = tmp_path / f"vectors.300d{suffix}{'.gz' if compressed else ''}"
    path.write_bytes(gzip.compress(content(kind, WORDS)) if compressed else content(kind, WORDS))
    vectors = read_vectors(path, VOCABULARY)
    assert vectors.table.tolist() == EXPECTED  # `Thank` for `thank`, but `parcel` although `Parcel` comes first
    assert vectors.found.tolist() == [False, False, True, True, True, False]


@given(
    st.dictionaries(
        st.text(st.characters(categories=["L", "N", "P"]), min_size=1).filter(lambda word: word[0] != "["),
        st.integers(-9, 9),
        min_size=1,
    ),
    st.sampled_from(["word2vec", "binary", "glove", "fasttext"]),
)
@settings(deadline=None)
def test_any_words(tmp_path_factory: pytest.TempPathFactory, words: dict[str, int], kind: str) -> None:
    path = tmp_path_factory.mktemp("vectors") / ("v.bin" if kind == "binary" else "v.vec")
    path.write_bytes(content(kind, {word: [float(value)] * 3 for word, value in words.items()}))
    vectors = read_vectors(path, list(words))
    assert vectors.found.all()
    assert vectors.table[:, 0].tolist() == list(words.values())


@pytest.mark.parametrize("kind", ["word2vec", "binary"])
def test_only_the_vocabulary_is_kept(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("v.bin" if kind == "binary" else "v.txt")
    path.write_bytes(content(kind, {**{f"w{number}": [1.5, 2.5, 3.5] for number in range(100_000)}, **WORDS}))
    tracemalloc.start()
    try:
        vectors = read_vectors(path, VOCABULARY)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert vectors.found.sum() == 3
    assert peak < 300_000 < path.stat().st_size


def test_words_with_spaces_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "glove.840B.300d.txt"
    path.write_text("the 1 2 3\n! ! money 4 5 6\nmoney 7 8 9\n")
    vectors = read_vectors(path, VOCABULARY)
    assert vectors.found.tolist() == [False, False, True, False, False, False]


def test_vectors_are_scaled_and_tokens_without_one_get_noise_of_the_same_deviation(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    draw = np.random.default_rng(0)
    path.write_text(text_lines({f"w{n}": draw.normal(scale=0.05, size=50).round(4).tolist() for n in range(200)}))
    vectors = read_vectors(path, [f"w{n}" for n in range(400)])
    table = torch.zeros(400, 50)
    vectors.fill(table)
    assert torch.allclose(functional.normalize(table[:200]), functional.normalize(vectors.table[:200]))
    assert float(table[:200].std()) == pytest.approx(DEVIATION, rel=1e-3)
    assert float(table[200:].std()) == pytest.approx(DEVIATION, rel=0.05)


def test_numbers_that_are_all_the_same_are_no_vectors(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text(text_lines({"money": [0.7] * 6, "thank": [0.7] * 6}))  # whose mean is rounded
    with pytest.raises(InputError, match=r"vectors: the numbers of '.*v\.txt' must differ, got 0.7 for each"):
        read_vectors(path, VOCABULARY).fill(torch.zeros(len(VOCABULARY), 6))


@pytest.mark.parametrize(
    ("name", "written", "message"),
    [
        ("v.txt", b"other 1 2\n", "has a vector for none of the 4 tokens"),
        ("v.txt", b"", "must begin with a word and its numbers"),
        ("v.txt", b"money 1 2\nthank 3\n", "line 2: must be a word and 2 finite numbers"),
        ("v.txt", b"money 1 2\nthank 3 x\n", "line 2: must be a word and 2 finite numbers"),
        ("v.txt", b"money 1 nan\n", "line 1: must be a word and 2 finite numbers"),
        ("v.txt.gz", b"money 1 2\n", "cannot be read: Not a gzipped file"),
        ("v.bin", b"\x00\x01fasttext model", "its .vec file is"),
        ("v.bin", b"2 3\nmoney " + struct.pack("<3f", 1, 2, 3) + b"\nthank \x00", "ends within row 2 of 2"),
    ],
)
def test_defects_are_named(tmp_path: Path, name: str, written: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(written)
    with pytest.raises(InputError, match=message):
        read_vectors(tmp_path / name, VOCABULARY)


def tables(checkpoint: Path) -> dict[str, torch.Tensor]:
    weights = load_file(checkpoint / "model.safetensors")
    return {name.split(".")[1]: tensor for name, tensor in weights.items() if "embedding" in name}


@pytest.mark.parametrize("mode", ["static", "non_static", "multichannel"])
def test_modes_of_kim(tmp_path: Path, mode: str) -> None:
    draw = np.random.default_rng(0)
    words = sorted(
        {word for row in labelled_texts() for word in row["text"].split() if word.isalpha() and word.isascii()}
    )
    given_vectors = {word: draw.normal(size=12).round(4).tolist() for word in words}
    path = tmp_path / "v.vec"
    path.write_text(text_lines(given_vectors))
    at = TINY.index("--embedding_dim")
    flags = ["--vectors", str(path), "--tokenizer", "word", "--embedding_mode", mode, "--num_train_epochs", "9"]
    checkpoint = train_with_own_dimension(tmp_path, TINY[:at] + TINY[at + 2 :], flags)
    report = json.loads((checkpoint / "metrics.json").read_text())
    assert report["data"]["vectors"]["vocabulary_covered"] > 0.7
    assert json.loads((checkpoint / "config.json").read_text())["embedding_mode"] == mode
    vocabulary = json.loads((checkpoint / "tokenizer.json").read_text())["model"]["vocab"]
    rows = torch.tensor([vocabulary[word] for word in words])
    start = functional.normalize(torch.tensor([given_vectors[word] for word in words]))
    found = tables(checkpoint)
    assert set(found) == ({"embedding", "static_embedding"} if mode == "multichannel" else {"embedding"})
    kept = {name for name, table in found.items() if torch.allclose(functional.normalize(table[rows]), start)}
    assert kept == {"static": {"embedding"}, "non_static": set(), "multichannel": {"static_embedding"}}[mode]
    assert report["test"]["accuracy"] > 0.8
    texts = [row["text"] for row in labelled_texts()]
    folded, dense = (TextClassifier.from_pretrained(checkpoint, "cpu", folding=how) for how in ("on", "off"))
    np.testing.assert_allclose(folded.score(texts)[0], dense.score(texts)[0], atol=1e-5)


def train_with_own_dimension(folder: Path, tiny: tuple[str, ...], flags: list[str]) -> Path:
    file = write_json_lines(folder / "texts.jsonl", labelled_texts())
    files = [flag for split in ("train", "validation", "test") for flag in (f"--{split}_file", str(file))]
    assert main([*files, "--output_dir", str(folder / "checkpoint"), *tiny, *flags]) == 0
    return folder / "checkpoint"


@pytest.fixture
def transformer(tmp_path: Path) -> Path:
    """Folder of a tiny BERT with its tokenizer."""
    folder = tmp_path / "bert"
    tokenizer = train_tokenizer([row["text"] for row in labelled_texts()], "wordpiece", 150)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(tokenizer) + 3, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_transformers_table_brings_its_tokenizer(tmp_path: Path, transformer: Path) -> None:
    checkpoint = train(
        tmp_path,
        labelled_texts(),
        "--vectors",
        str(transformer),
        "--embedding_mode",
        "static",
        "--num_train_epochs",
        "2",
    )
    expected = read_transformer(str(transformer), len(tables(checkpoint)["embedding"])).table
    found = tables(checkpoint)["embedding"]
    assert torch.allclose(functional.normalize(found), functional.normalize(expected))
    vocabularies = [
        json.loads((folder / "tokenizer.json").read_text())["model"] for folder in (transformer, checkpoint)
    ]
    assert vocabularies[0] == vocabularies[1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--embedding_mode", "static"], "embedding_mode static needs --vectors"),
        (["--vectors", "{file}", "--embedding_mode", "random"], "embedding_mode random starts from nothing"),
        (["--vectors", "{file}", "--embedding_dim", "7"], "embedding_dim must be the 3 of --vectors or absent, got 7"),
        (["--vectors", "absent-file.vec"], "vectors: 'absent-file.vec' is no file, so it must name a transformer"),
        (["--vectors", "{bert}", "--tokenizer", "char"], "go with its own, got 'char'"),
    ],
)
def test_mistakes(
    tmp_path: Path,
    transformer: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    message: str,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "v.txt").write_text(text_lines(WORDS))
    file = write_json_lines(tmp_path / "texts.jsonl", labelled_texts())
    at = TINY.index("--embedding_dim")
    named: dict[str, Any] = {"file": tmp_path / "v.txt", "bert": transformer}
    command = ["--train_file", str(file), "--output_dir", str(tmp_path / "out"), *TINY[:at], *TINY[at + 2 :]]
    assert main([*command, *(flag.format(**named) for flag in flags)]) == 2
    assert message in capsys.readouterr().err
