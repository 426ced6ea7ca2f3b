"""Distillation with teachers of one layer: what they label, what is kept on disk, what the student takes over."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import BertForSequenceClassification, BertModel, GPT2Config, GPT2ForSequenceClassification, Trainer

from model.classifier import TextClassifier
from model.errors import InputError
from model.tokenizer import train_tokenizer
from tests.conftest import labelled_texts, multi_labelled_texts, train, write_json_lines
from tests.teachers import TEXTS, save_tokenizer, tiny_bert
from training import teacher as teacher_module
from training.config import parse
from training.data import Split, TextData
from training.distillation import TEACHER_SHARE, TEMPERATURE, DistillationObjective, learn_from_teacher
from training.finetuning import BATCH, _arguments, finetune
from training.objective import Objective
from training.precision import half_precision
from training.targets import MULTI, SINGLE
from training.teacher import Teacher
from training.trainer import TextCnnTrainer
from training.vectors import read_transformer

LABELS = ["delivery", "praise", "refund"]
ROTATED = ["praise", "refund", "delivery"]  # what the teacher calls them
ROWS = labelled_texts()
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that takes each class for the one after it."""
    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(0)
    labels: dict[str, Any] = {
        "id2label": dict(enumerate(ROTATED)),
        "label2id": {label: index for index, label in enumerate(ROTATED)},
    }
    network = BertForSequenceClassification(tiny_bert(save_tokenizer(folder), hidden_dropout_prob=0.0, **labels))
    tokenizer = train_tokenizer(TEXTS, "word", 200)
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    targets = torch.tensor([LABELS.index(row["label"]) for row in ROWS])  # of ROTATED, one further
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(40):
        optimizer.zero_grad()
        network(**batch, labels=targets).loss.backward()
        optimizer.step()
    network.save_pretrained(folder)
    return folder


def test_the_loss_by_hand() -> None:
    logits, teacher = torch.tensor([[1.0, 0.0], [0.5, -0.5]]), torch.tensor([[2.0, 1.0], [0.0, 3.0]])
    truth = torch.tensor([[0.0, 1.0], [torch.nan, torch.nan]])  # the second text has no label
    soft = -((teacher / TEMPERATURE).softmax(1) * (logits / TEMPERATURE).log_softmax(1)).sum(1) * TEMPERATURE**2
    hard = functional.cross_entropy(logits[:1], torch.tensor([1]))
    expected = (TEACHER_SHARE * soft[0] + (1 - TEACHER_SHARE) * hard + soft[1]) / 2
    found = DistillationObjective(SINGLE)({"logits": logits}, torch.stack([teacher, truth], dim=1))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", [SINGLE, MULTI])
def test_a_share_without_texts_costs_nothing(kind: str) -> None:
    assert DistillationObjective(kind)({"logits": torch.zeros(0, 3)}, torch.zeros(0, 2, 3), 6) == 0


@pytest.mark.parametrize("kind", [SINGLE, MULTI])
def test_the_teachers_logits_are_where_the_loss_is_least(kind: str) -> None:
    teacher = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    logits = teacher.clone().requires_grad_()
    labels = torch.stack([teacher, torch.full_like(teacher, torch.nan)], dim=1)
    DistillationObjective(kind)({"logits": logits}, labels).backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.zeros_like(logits), atol=1e-6, rtol=0)
    targets = torch.tensor([0, 1, 2, 1]) if kind == SINGLE else torch.ones(4, 3)
    in_evaluation = (objective(kind)({"logits": teacher}, targets) for objective in (DistillationObjective, Objective))
    torch.testing.assert_close(*in_evaluation)


def test_logits_are_in_our_order_and_kept(teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = Teacher.load(str(teacher), LABELS, CPU)
    first = loaded.logits(TEXTS, tmp_path)
    right = [LABELS[index] == row["label"] for index, row in zip(first.argmax(axis=1), ROWS, strict=True)]
    rotated = [ROTATED[LABELS.index(row["label"])] for row in ROWS]
    assert np.mean(right) < 0.05
    assert np.mean([LABELS[index] == label for index, label in zip(first.argmax(axis=1), rotated, strict=True)]) > 0.95
    monkeypatch.setattr(Teacher, "score", lambda *_: pytest.fail("computed again"))
    np.testing.assert_array_equal(Teacher.load(str(teacher), LABELS, CPU).logits(TEXTS, tmp_path), first)


def test_an_interrupted_teacher_goes_on(teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_module, "_CHUNK", 50)
    loaded, score, calls = Teacher.load(str(teacher), LABELS, CPU), Teacher.score, []

    def interrupted(self: Teacher, texts: list[str]) -> np.ndarray:
        calls.append(len(texts))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return score(self, texts)

    monkeypatch.setattr(Teacher, "score", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loaded.logits(TEXTS, tmp_path)
    found = loaded.logits(TEXTS, tmp_path)
    assert calls == [50, 50, 50, 44]  # the first chunk once
    np.testing.assert_allclose(found, loaded.logits(TEXTS, tmp_path / "other"), atol=1e-5)


def test_the_student_takes_over_what_the_teacher_says(teacher: Path, tmp_path: Path) -> None:
    more = write_json_lines(tmp_path / "more.jsonl", [{"text": f"parcel courier {number}"} for number in range(20)])
    flags = ("--teacher", str(teacher), "--unlabelled_file", str(more), "--cache_dir", str(tmp_path / "cache"))
    alone = ("--max_bigrams", "0")  # the linear part would learn the labels, of which this teacher knows none
    folder = train(tmp_path, ROWS, *flags, *alone, "--augmented_copies", "4")
    report = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["distillation"]
    assert report["texts"] > len(ROWS) + 20 + len(ROWS)
    assert report["test"]["agreement"] > 0.9
    assert report["test"]["teacher"]["accuracy"] < 0.05
    found = TextClassifier.from_pretrained(folder, "cpu")(TEXTS)
    taught = [ROTATED[LABELS.index(row["label"])] for row in ROWS]
    assert np.mean([prediction.label == label for prediction, label in zip(found, taught, strict=True)]) > 0.9
    assert min(report["texts_per_second"].values()) > 0
    assert ("teacher_in_bfloat16" in report["texts_per_second"]) == half_precision(CPU)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert ("bfloat16" in card) == half_precision(CPU)
    assert f"{report['test']['agreement']:.4f}" in card


@pytest.mark.slow
def test_an_encoder_becomes_a_teacher_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = tmp_path / "encoder"
    BertModel(tiny_bert(save_tokenizer(encoder))).save_pretrained(encoder)
    flags = [*("--teacher", str(encoder), "--cache_dir", str(tmp_path / "cache"))]
    flags += [*("--augmented_copies", "1", "--num_train_epochs", "1", "--teacher_epochs", "2")]
    taught: list[float] = []
    monkeypatch.setattr(Trainer, "train", _recording(Trainer.train, taught))
    rows = multi_labelled_texts()
    with pytest.raises(AssertionError):  # exit status 2
        train(tmp_path, rows, *flags)
    folder = train(tmp_path, rows, *flags, "--finetune_teacher", "--bf16")  # of the student
    report = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["distillation"]
    assert 0 < report["validation"]["agreement"] <= 1
    teachers = list((tmp_path / "cache").glob("teacher-*/config.json"))
    assert len(teachers) == 1
    train(tmp_path, rows, *flags, "--finetune_teacher", "--overwrite_output_dir", "--seed", "8")
    assert taught == [2], "once, in so many epochs"


def test_a_classifier_of_other_classes_becomes_a_teacher(tmp_path: Path) -> None:
    base = tmp_path / "base"
    BertForSequenceClassification(tiny_bert(save_tokenizer(base), num_labels=5)).save_pretrained(base)
    split = Split("texts", TEXTS, [row["label"] for row in ROWS])
    folder = finetune(str(base), TextData(SINGLE, LABELS, split, split, None), 1, tmp_path, CPU)
    assert Teacher.load(str(folder), LABELS, CPU).score(["great service"]).shape == (1, len(LABELS))


def test_an_encoder_learns_on_the_gpu_that_was_asked_for_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several, transformers would take the first as the present one, and split each batch over all."""
    present: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", present.append)
    split = Split("texts", ["a", "b"], ["0", "1"])
    device = torch.device("cuda", 1)
    arguments = _arguments(tmp_path, TextData(SINGLE, ["0", "1"], split, split, None), 1, device)
    assert (arguments.device, arguments.n_gpu, present[-1]) == (device, 1, device)
    assert arguments.train_batch_size == BATCH


def _recording(original: object, taught: list[float]) -> object:
    """`Trainer.train` that notes the epochs of each teacher."""

    def train(self: Trainer, *arguments: object, **options: object) -> object:
        if not isinstance(self, TextCnnTrainer):
            taught.append(self.args.num_train_epochs)
        return original(self, *arguments, **options)  # type: ignore[operator]

    return train


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [(["delivery", "praise", "other"], "must have the classes of the data, 'other' is in one only")],
)
def test_a_teacher_of_other_classes_is_a_mistake(teacher: Path, labels: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Teacher.load(str(teacher), labels, CPU)


def test_what_is_no_teacher_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^teacher must be a folder or hub name of a transformer, got"):
        Teacher.load(str(tmp_path), LABELS, CPU)


def test_weights_that_are_cut_off_are_a_mistake(teacher: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(teacher, tmp_path / "broken")
    weights = (broken / "model.safetensors").read_bytes()
    for content in (weights[:100], b""):
        (broken / "model.safetensors").write_bytes(content)
        with pytest.raises(InputError, match=r"^teacher must be a folder or hub name of a transformer, got"):
            Teacher.load(str(broken), LABELS, CPU)
        with pytest.raises(InputError, match=r"^vectors must be a file of word vectors, or a folder or hub name of"):
            read_transformer(str(broken), 10)


def test_texts_are_cut_to_the_positions_of_the_teacher(tmp_path: Path) -> None:
    """Whose tokenizer does not say how many there are."""
    BertForSequenceClassification(tiny_bert(save_tokenizer(tmp_path, None), num_labels=3)).save_pretrained(tmp_path)
    assert Teacher.load(str(tmp_path), LABELS, CPU).score([" ".join(TEXTS), "great service"]).shape == (2, 3)


def test_a_decoder_teaches_with_the_padding_of_its_tokenizer(tmp_path: Path) -> None:
    options: dict[str, Any] = {"vocab_size": save_tokenizer(tmp_path), "num_labels": 3}
    config = GPT2Config(n_positions=16, n_embd=16, n_layer=1, n_head=2, **options)
    GPT2ForSequenceClassification(config).save_pretrained(tmp_path)
    teacher = Teacher.load(str(tmp_path), LABELS, CPU)
    both = teacher.score(["late courier today", "great"], half=False)
    np.testing.assert_allclose(both[1:], teacher.score(["great"], half=False), atol=1e-6)
    settings = tmp_path / "tokenizer_config.json"
    content = json.loads(settings.read_text(encoding="utf-8"))
    settings.write_text(json.dumps(content | {"pad_token": None}), encoding="utf-8")
    with pytest.raises(InputError, match=r"teacher: the tokenizer of '.*' must have a padding token, it has none"):
        Teacher.load(str(tmp_path), LABELS, CPU)


@pytest.mark.parametrize(
    ("flags", "processes", "sentence"),
    [
        (["--problem_type", "regression"], 1, "teacher: it teaches classes, the problem is regression"),
        (["--class_weights", "balanced"], 1, "class_weights weigh labels, most texts of a --teacher have none"),
        (["--sampler", "weighted"], 1, "sampler: weighted draws by labels, most texts of a --teacher have none"),
        (["--finetune_teacher"], 2, "finetune_teacher trains in one process; train once without torchrun"),
    ],
)
def test_settings_that_no_teacher_can_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], processes: int, sentence: str
) -> None:
    file = write_json_lines(tmp_path / "rows.jsonl", ROWS)
    parsed = parse(["--train_file", str(file), "--teacher", "x", "--output_dir", str(tmp_path / "out"), *flags])
    data_arguments, _, training = parsed
    monkeypatch.setattr(type(training), "world_size", processes)
    split = Split("here", TEXTS, [row["label"] for row in ROWS])
    data = TextData(data_arguments.problem_type or SINGLE, LABELS, split, split, None)
    unused: Any = None
    with pytest.raises(InputError, match=re.escape(sentence)):
        learn_from_teacher(data, unused, unused, unused, data_arguments, training)
