"""`textcnn-train` as a user meets it: files in, checkpoint out."""

import ast
import json
import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from sklearn.metrics import f1_score
from tokenizers import Tokenizer

from model.classifier import TextClassifier
from tests.conftest import TINY, labelled_texts, multi_labelled_texts, train, write_json_lines
from training.__main__ import _table
from training.card import model_card
from training.config import parse
from training.config_training import TextCnnTrainingArguments
from training.data import load_data
from training.output import OutputFolder
from training.run import train as train_in_process
from training.summary import to_json
from training.trainer import TextCnnTrainer


def report(checkpoint: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((checkpoint / "metrics.json").read_text(encoding="utf-8"))
    return content


def test_checkpoint_answers_as_it_was_trained(checkpoint: Path) -> None:
    classifier = TextClassifier.from_pretrained(checkpoint, device="cpu")
    predictions = classifier([row["text"] for row in labelled_texts()])
    correct = sum(found.label == row["label"] for found, row in zip(predictions, labelled_texts(), strict=True))
    assert correct / len(predictions) == report(checkpoint)["test"]["accuracy"] >= 0.95
    assert classifier.labels == ["delivery", "praise", "refund"]


def test_folder_holds_the_checkpoint_and_nothing_else(checkpoint: Path) -> None:
    assert {path.name for path in checkpoint.iterdir()} == {
        *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md", "metrics.json"),
        *("bigrams_textcnn.py", "configuration_textcnn.py", "modeling_textcnn.py", "network_textcnn.py"),
        *("report.html", "report.json", "predictions.parquet", "report-curves.png", "report-confusions.png"),
        *("report-reliability.png", "report-coverage.png", "report-lengths.png"),
    }


def test_report_says_what_was_learnt_and_how(checkpoint: Path) -> None:
    content = report(checkpoint)
    assert content["data"]["labels"] == {"delivery": 48, "praise": 48, "refund": 48}
    assert content["data"]["splits"]["train"]["texts"] == 144
    assert content["data"]["truncated_share"] == 0
    speed = content["train"]
    assert speed["samples_per_second"] * speed["seconds"] == pytest.approx(144 * speed["epochs"], rel=0.05)
    assert content["train"]["best_epoch"] in range(1, 9)
    assert content["arguments"]["model"]["num_filters"] == 8
    assert content["arguments"]["training"]["seed"] == 7
    flags = {field.name for field in fields(TextCnnTrainingArguments) if field.init}
    assert set(content["arguments"]["training"]) == flags  # those at their default too
    assert set(content["versions"]) >= {"python", "torch", "transformers"}


def test_card_is_a_card(checkpoint: Path) -> None:
    card = (checkpoint / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: transformers\npipeline_tag: text-classification\n")
    assert f"| test | {report(checkpoint)['test']['accuracy']:.4f} |" in card
    assert f'TextClassifier.from_pretrained("{checkpoint}")' in card
    assert "| praise | 48 |" in card
    assert (
        "texts decided which epoch was kept, the weight of the linear part, the temperature and when to abstain" in card
    )
    assert "{" not in card.replace('{"inputs"', "")  # no placeholder is left


def test_a_card_is_read_whatever_the_texts_and_the_folder(checkpoint: Path) -> None:
    texts = [f"one{character}two" for character in '\x7f\x85\x9f\u2028\u2029\ufeff\ufffe\uffff"\\é退😀']
    folder = checkpoint.parent / 'it\'s a "$HOME" folder'
    summary = report(checkpoint)
    card = model_card(folder, {**summary, "data": {**summary["data"], "examples": texts}})
    head = yaml.safe_load(card.split("---\n")[1])
    assert [example["text"] for example in head["widget"]] == texts
    command = next(line for line in card.splitlines() if line.startswith("textcnn-serve"))
    assert shlex.split(command) == ["textcnn-serve", "--checkpoint", str(folder)]
    literals = re.findall(r"from_pretrained\((.*)\)|model=(.*), trust_remote_code", card)
    assert [ast.literal_eval(one or other) for one, other in literals] == [str(folder)] * 2


def test_a_report_holds_no_number_that_json_has_not(checkpoint: Path) -> None:
    summary = {"train": {"loss": float("nan"), "steps": [1, 2.5, float("-inf")]}, "range": (1, float("inf"))}
    written = json.loads(to_json(summary), parse_constant=pytest.fail)
    assert written == {"train": {"loss": None, "steps": [1, 2.5, None]}, "range": [1, None]}
    json.loads((checkpoint / "metrics.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)


def test_table_on_stdout_and_notes_on_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    checkpoint = train(tmp_path, labelled_texts(), "--disable_tqdm", "false", "--num_train_epochs", "2")
    out, err = capfd.readouterr()
    head, validation, test, blank, folder, command = out.splitlines()
    assert head.split() == ["texts", "accuracy", "f1_macro", "loss"]
    assert (validation.split()[:2], test.split()[:2]) == (["validation", "144"], ["test", "144"])
    assert (blank, folder) == ("", f"checkpoint: {checkpoint}")
    assert command == f"serve it:   textcnn-serve --checkpoint {checkpoint}"
    notes = [line for line in err.splitlines() if line.strip()]
    assert notes[0] == "max_length 16 tokens cuts 0.0 % of the training texts"
    assert [line.split("  ")[0] for line in notes[1:3]] == ["epoch 1", "epoch 2"]
    assert [line[:22] for line in notes[3:]] == ["the linear part weighs"]  # and no library speaks


def test_the_same_seed_gives_the_same_weights(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "again").mkdir()
    (tmp_path / "other").mkdir()
    again = train(tmp_path / "again", labelled_texts())
    assert (again / "model.safetensors").read_bytes() == (checkpoint / "model.safetensors").read_bytes()
    assert (again / "tokenizer.json").read_bytes() == (checkpoint / "tokenizer.json").read_bytes()
    other = train(tmp_path / "other", labelled_texts(), "--seed", "8")
    assert (other / "model.safetensors").read_bytes() != (checkpoint / "model.safetensors").read_bytes()


def test_tokens_frame_each_text_unless_told_otherwise(tmp_path: Path, checkpoint: Path) -> None:
    bare = train(tmp_path, labelled_texts(), "--add_special_tokens", "false", "--num_train_epochs", "1")
    for folder, count in ((checkpoint, 1), (bare, 0)):
        config = json.loads((folder / "config.json").read_text())
        assert (config["special_tokens_before"], config["special_tokens_after"]) == (count, count)
        token_ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode("refund").ids
        assert (token_ids[0] == 2, token_ids[-1] == 3) == (bool(count), bool(count))


def test_several_labels(multi_label_checkpoint: Path) -> None:
    content = report(multi_label_checkpoint)
    assert content["test"]["f1_micro"] >= 0.9
    assert "f1_macro" in content["test"]
    classifier = TextClassifier.from_pretrained(multi_label_checkpoint, device="cpu")
    both, one, none = classifier(["refund please and late courier", "thank you", "lorem ipsum"])
    assert (set(both.labels or []), one.labels, none.labels) == ({"refund", "delivery"}, ["praise"], [])


def test_thresholds_are_chosen_measured_and_kept(tmp_path: Path) -> None:
    """Labels too few epochs old for probabilities of 0.5: with thresholds of their own they are found all the same."""
    flags = ["--num_train_epochs", "2", "--learning_rate", "0.003", "--max_bigrams", "0"]
    measured = {}
    for tuned in ("true", "false"):
        (tmp_path / tuned).mkdir()
        checkpoint = train(tmp_path / tuned, multi_labelled_texts(), *flags, "--tune_thresholds", tuned)
        measured[tuned] = report(checkpoint)["test"]["f1_macro"]
        classifier = TextClassifier.from_pretrained(checkpoint, device="cpu")
        rows = multi_labelled_texts()
        found = [set(prediction.labels or []) for prediction in classifier([row["text"] for row in rows])]
        scores = [
            f1_score([label in row["labels"] for row in rows], [label in labels for labels in found])
            for label in classifier.labels
        ]
        assert np.mean(scores) == pytest.approx(measured[tuned])  # the classifier decides as was measured
    assert measured["true"] > measured["false"] + 0.05


def test_regression_in_the_targets_unit(tmp_path: Path) -> None:
    price = {"refund": 20_000.0, "delivery": 21_000.5, "praise": 24_000.0}
    rows: list[dict[str, Any]] = [{"text": row["text"], "label": price[row["label"]]} for row in labelled_texts()]
    checkpoint = train(tmp_path, rows, "--num_train_epochs", "20")
    measured = report(checkpoint)["test"]
    assert measured["r2"] > 0.8
    classifier = TextClassifier.from_pretrained(checkpoint, device="cpu")
    values = np.array([prediction.value for prediction in classifier([row["text"] for row in rows])])
    truth = np.array([row["label"] for row in rows])
    assert np.mean((values - truth) ** 2) == pytest.approx(measured["mse"], rel=1e-3)  # the folded scale is exact


ALONE = ("--ngram_buckets", "0", "--max_bigrams", "0")  # what learns is written


def test_the_best_epoch_is_kept_not_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies = iter([0.5, 0.9, 0.6, 0.7])
    monkeypatch.setattr("training.metrics._single", lambda *_: {"accuracy": next(accuracies, 0.0), "f1_macro": 0.0})
    kept: dict[str, torch.Tensor] = {}
    save = TextCnnTrainer._save_checkpoint

    def spy(trainer: TextCnnTrainer, model: torch.nn.Module, trial: Any) -> None:
        save(trainer, model, trial)
        if trainer.state.epoch == 2:
            kept.update({name: tensor.clone() for name, tensor in model.state_dict().items()})

    monkeypatch.setattr(TextCnnTrainer, "_save_checkpoint", spy)
    checkpoint = train(tmp_path, labelled_texts(), "--early_stopping_patience", "2", *ALONE)
    content = report(checkpoint)
    assert (content["train"]["best_epoch"], content["train"]["epochs"]) == (2, 4)  # two worse ones, then it stopped
    weights = load_file(checkpoint / "model.safetensors")
    assert all(torch.equal(weights[name], kept[name]) for name in weights)


@pytest.mark.parametrize(
    "flags",
    [
        ["--tokenizer", "char", "--padding_side", "left", "--truncation_side", "left", "--max_length", "6"],
        ["--conv_padding", "same", "--kernel_sizes", "2", "3", "--dilation", "2", "--groups", "4", "--no_bias"],
        [
            "--conv_padding",
            "1",
            "--stride",
            "2",
            "--metric_for_best_model",
            "loss",
            "--gradient_accumulation_steps",
            "2",
        ],
        ["--eval_strategy", "steps", "--save_strategy", "steps", "--eval_steps", "5", "--save_steps", "5"],
        ["--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "false"],
        [
            "--train_sampling_strategy",
            "group_by_length",
            "--dataloader_num_workers",
            "1",
            "--label_smoothing_factor",
            "0.1",
        ],
    ],
    ids=lambda flags: flags[0] + "=" + flags[1],
)
def test_flags_of_all_kinds_train(tmp_path: Path, flags: list[str]) -> None:
    checkpoint = train(tmp_path, labelled_texts(), "--num_train_epochs", "2", *flags)
    measured = report(checkpoint)["test"]["accuracy"]
    assert (report(checkpoint)["train"]["best_epoch"] is None) == ("--load_best_model_at_end" in flags)
    classifier = TextClassifier.from_pretrained(checkpoint, device="cpu")
    predictions = classifier([row["text"] for row in labelled_texts()])
    correct = sum(found.label == row["label"] for found, row in zip(predictions, labelled_texts(), strict=True))
    assert correct / len(predictions) == pytest.approx(measured)


def test_a_pretrained_tokenizer_from_a_folder(tmp_path: Path, checkpoint: Path) -> None:
    trained = train(tmp_path, labelled_texts(), "--tokenizer", str(checkpoint), "--num_train_epochs", "1")
    vocabulary = [json.loads((path / "tokenizer.json").read_text())["model"]["vocab"] for path in (checkpoint, trained)]
    assert vocabulary[0] == vocabulary[1]


def test_both_widths_of_batches_learn_the_same(tmp_path: Path) -> None:
    weights = []
    for padding in ("longest", "max_length"):
        (tmp_path / padding).mkdir()
        flags = ["--padding", padding, "--max_length", "20", "--optim", "sgd", "--learning_rate", "0.1"]
        folder = train(tmp_path / padding, labelled_texts(), *flags, "--report_to", "none", "--num_train_epochs", "2")
        weights.append(load_file(folder / "model.safetensors"))
        assert not (tmp_path / padding / "tensorboard").exists()
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, atol=1e-6, rtol=0)


def test_accumulated_steps_equal_one_larger_batch(tmp_path: Path) -> None:
    weights = []
    for name, size, steps in (("large", "16", "1"), ("small", "8", "2")):
        (tmp_path / name).mkdir()
        flags = ["--dropout", "0", "--num_train_epochs", "1", "--max_grad_norm", "0", "--optim", "sgd"]
        flags += ["--per_device_train_batch_size", size, "--gradient_accumulation_steps", steps]
        weights.append(load_file(train(tmp_path / name, labelled_texts(), *flags) / "model.safetensors"))
    for name, tensor in weights[0].items():
        assert torch.allclose(tensor, weights[1][name], atol=1e-5), name


def test_training_draws_from_the_rows_that_were_not_held_out(tmp_path: Path) -> None:
    file = write_json_lines(tmp_path / "texts.jsonl", labelled_texts())
    flags = ["--train_file", str(file), "--output_dir", str(tmp_path / "out"), *TINY, "--num_train_epochs", "1"]
    data_arguments, model_arguments, arguments = parse(flags)
    data = load_data(data_arguments, arguments.seed)
    folder = OutputFolder.checked(tmp_path / "out", False, None)
    summary = train_in_process(data, folder, data_arguments, model_arguments, arguments)
    splits = summary["data"]["splits"]
    assert (splits["train"]["texts"], splits["validation"]["texts"]) == (130, 14)
    assert splits["validation"]["source"] == f"held out of {file}"
    assert "test" not in summary


def test_columns_of_the_table_stay_apart_however_wide_their_figures_are() -> None:
    figures = {"mse": 59350055830.7779, "r2": -0.5}
    summary = {"validation": figures, "data": {"splits": {"validation": {"texts": 24}}}}
    head, row = _table(summary).splitlines()
    assert row.split() == ["validation", "24", "59350055830.7779", "-0.5000"]
    assert len(head) == len(row)


@pytest.mark.parametrize(
    ("flags", "window", "decided"),
    [
        (["--dilation", "3", "--kernel_sizes", "2", "4"], 10, "which epoch was kept"),
        (
            ["--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "false", *ALONE],
            2,
            "the temperature and when to abstain, so they flatter",
        ),
    ],
)
def test_the_card_says_what_was_done(tmp_path: Path, flags: list[str], window: int, decided: str) -> None:
    card = (train(tmp_path, labelled_texts(), "--num_train_epochs", "1", *flags) / "README.md").read_text()
    assert f"Words are seen within windows of {window} tokens" in card
    assert f"The validation texts decided {decided}" in card
