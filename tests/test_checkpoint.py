"""The checkpoint folder: equality to the bit after a round trip, a sentence for every defect."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.bigrams_textcnn import NO_PAIR
from model.checkpoint import FORMAT_VERSION, read_config, read_network, read_tokenizer
from model.classifier import TextClassifier
from model.configuration_textcnn import TextCnnConfig
from model.errors import InputError
from model.files import WEIGHTS, revision
from model.modeling_textcnn import TextCnnForSequenceClassification
from model.saving import save_checkpoint
from tests.checkpoints import LABELS, build_network, build_tokenizer, write_checkpoint


def test_holds_everything_and_nothing_half_written(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint")
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "config.json",
        "bigrams_textcnn.py",
        "configuration_textcnn.py",
        "model.safetensors",
        "modeling_textcnn.py",
        "network_textcnn.py",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_whoever_may_read_the_configuration_may_read_the_weights(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path)
    assert len({path.stat().st_mode for path in folder.iterdir() if path.is_file()}) == 1


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become somebody else")
def test_weights_that_may_not_be_read_are_not_called_missing() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders admit nobody
        folder = write_checkpoint(Path(name))
        folder.chmod(0o755)
        (folder / "model.safetensors").chmod(0o600)
        config = read_config(folder)
        with pytest.raises(InputError, match=r"safetensors must be readable for user 65534, it is not"), nobody():
            read_network(folder, config)


@contextmanager
def nobody() -> Iterator[None]:
    """Run as a user who owns nothing."""
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_weights_and_logits_are_equal_to_the_bit_after_a_round_trip(tmp_path: Path) -> None:
    tokenizer = build_tokenizer()
    network = build_network(len(tokenizer))
    save_checkpoint(network, tokenizer, tmp_path, {})
    config = read_config(tmp_path)
    loaded = read_network(tmp_path, config)
    assert config.labels == LABELS
    ids = torch.randint(1, len(tokenizer), (4, 5))
    assert torch.equal(loaded(ids, torch.ones_like(ids)), network(ids).logits)
    for name, tensor in network.network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert (
        read_tokenizer(tmp_path, config).encode("my parcel").ids == tokenizer.backend_tokenizer.encode("my parcel").ids
    )


def test_what_is_loaded_stays_as_it_was_whatever_becomes_of_the_file(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    network = read_network(tmp_path, read_config(tmp_path))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    file = tmp_path / WEIGHTS
    with file.open("r+b") as overwritten:
        overwritten.seek(file.stat().st_size // 2)
        overwritten.write(bytes(file.stat().st_size // 2))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_transformers_reads_what_we_write(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, stride=2, padding=1)
    network = TextCnnForSequenceClassification.from_pretrained(tmp_path)
    ids = torch.randint(1, 10, (2, 4))
    expected = read_network(tmp_path, read_config(tmp_path))(ids, torch.ones_like(ids))
    assert torch.equal(network(ids).logits, expected)


def test_configuration_defaults_are_the_same_in_both_readers() -> None:
    assert TextCnnConfig().format_version == FORMAT_VERSION


def test_revision_changes_with_the_weights_alone(tmp_path: Path) -> None:
    first, second = write_checkpoint(tmp_path / "a"), write_checkpoint(tmp_path / "b")
    assert revision(first) == revision(second)
    (second / "README.md").write_text("other words", encoding="utf-8")
    assert revision(first) == revision(second)
    network = build_network(len(build_tokenizer()))
    with torch.no_grad():
        network.network.classifier.bias[0] += 1
    save_checkpoint(network, build_tokenizer(), second, {})
    assert revision(first) != revision(second)
    assert revision(first).startswith("sha256:")


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_checkpoint(tmp_path)
    before = revision(folder)
    files = {path.name for path in folder.iterdir()}

    def disk_full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TextCnnForSequenceClassification, "save_pretrained", disk_full)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(tmp_path)
    assert revision(folder) == before
    assert {path.name for path in folder.iterdir()} == files


def test_config_json_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[str] = []
    monkeypatch.setattr("model.saving.shutil.move", lambda source, target: moved.append(Path(target).name))
    write_checkpoint(tmp_path)
    assert moved[-1] == "config.json"
    assert len(moved) == 9


def _drop(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _change_config(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        content = json.loads(path.read_text(encoding="utf-8")) | changes
        path.write_text(
            json.dumps({key: value for key, value in content.items() if value is not ...}), encoding="utf-8"
        )

    return change


def _shift_ids(folder: Path) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["model"]["vocab"] = {
        token: number + 1000 * (number > 1) for token, number in content["model"]["vocab"].items()
    }
    path.write_text(json.dumps(content), encoding="utf-8")


def _truncate(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (_drop("config.json"), "checkpoint has no config.json"),
        (_drop("model.safetensors"), "checkpoint has no model.safetensors"),
        (_drop("tokenizer.json"), "checkpoint has no tokenizer.json"),
        (_truncate("model.safetensors"), "model.safetensors is broken or cut off"),
        (_truncate("config.json"), "config.json is no readable JSON"),
        (_truncate("tokenizer.json"), "tokenizer.json is broken"),
        (_change_config(model_type="bert"), "model_type must be 'textcnn', got 'bert'"),
        (_change_config(format_version=99), "format_version must be at most 1, got 99"),
        (_change_config(format_version="new"), "format_version must be at most 1, got 'new'"),
        (_change_config(num_filters=7), "does not fit config.json: .*shape"),
        (_change_config(num_filters=-1), "num_filters must be a whole number of at least 1, got -1"),
        (_change_config(kernel_sizes=[2, 3]), "does not fit config.json"),
        (_change_config(vocab_size=10**15), "does not fit config.json"),
        (_shift_ids, r"tokenizer.json does not fit config.json: ids must be less than vocab_size \d+, got \d{4}"),
        (_change_config(id2label=...), "'id2label' is missing"),
        (_change_config(problem_type="ranking"), "problem_type must be one of .*, got 'ranking'"),
    ],
)
def test_every_defect_is_one_sentence(tmp_path: Path, damage: Callable[[Path], object], sentence: str) -> None:
    folder = write_checkpoint(tmp_path)
    damage(folder)
    with pytest.raises(InputError, match=sentence) as mistake:
        TextClassifier.from_pretrained(folder, device="cpu")
    assert "\n" not in str(mistake.value)


@pytest.mark.parametrize(
    "known", [torch.tensor([9, 5, NO_PAIR]), torch.tensor([5, 9, 11]), torch.tensor([-1, 5, NO_PAIR]), torch.zeros(3)]
)
def test_pairs_that_cannot_be_searched_are_one_sentence(tmp_path: Path, known: torch.Tensor) -> None:
    folder = write_checkpoint(tmp_path, num_bigrams=2)
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {"network.bigrams.known": known}, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"model.safetensors: bigrams.known must be whole numbers in ascending order"):
        TextClassifier.from_pretrained(folder, device="cpu")


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"checkpoint must be a folder, .* does not exist"):
        read_config(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"checkpoint must be a folder, .* is a file"):
        read_config(tmp_path / "file")
    with pytest.raises(InputError, match=r"checkpoint must be a folder, .* cannot be read \(File name too long\)"):
        read_config(tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("kernel_sizes", [], "kernel_sizes must be whole numbers of at least 1, got"),
        ("kernel_sizes", [2, 0], "kernel_sizes must be whole numbers of at least 1, got"),
        ("dropout", 1.0, "dropout must be at least 0 and below 1, got 1.0"),
        ("stride", True, "stride must be a whole number of at least 1, got True"),
        ("groups", 7, "embedding_dim must be divisible by groups = 7, got 300"),
        ("padding", -1, "padding must be a whole number of at least 0, got -1"),
        ("padding", "full", "padding must be a number, same or valid, got 'full'"),
        ("padding_side", "top", "padding_side must be left or right, got 'top'"),
        ("pad_token_id", 30_000, "pad_token_id must be at least 0 and below vocab_size = 30000, got 30000"),
        ("kernal_sizes", [2], "kernal_sizes: no such field of TextCnnConfig; did you mean kernel_sizes?"),
    ],
)
def test_configuration_is_strict(field: str, value: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=r".") as mistake:
        TextCnnConfig(**{field: value})
    assert str(mistake.value).startswith(sentence)


def test_same_padding_needs_stride_1() -> None:
    with pytest.raises(ValueError, match=r"stride must be 1 with padding = same, got 2"):
        TextCnnConfig(padding="same", stride=2)


@pytest.mark.parametrize("thresholds", [[0.5], [0.5, 2, 0.1], "high", [0.5, None, 0.5]])
def test_thresholds_must_be_probabilities_of_the_labels(tmp_path: Path, thresholds: object) -> None:
    folder = write_checkpoint(tmp_path, problem_type="multi_label_classification")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"thresholds": thresholds}))
    with pytest.raises(InputError, match=r"config\.json: thresholds must be 3 probabilities between 0 and 1"):
        read_config(folder)
