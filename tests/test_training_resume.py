"""What happens to an output folder that is written, overwritten or gone on with."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from model.errors import InputError
from tests.conftest import TINY, labelled_texts, train, write_json_lines
from training.__main__ import main
from training.continuation import require_whole
from training.trainer import TextCnnTrainer

STEPS = ["--save_strategy", "steps", "--eval_strategy", "steps", "--save_steps", "5", "--eval_steps", "5"]

save_checkpoint = TextCnnTrainer._save_checkpoint


def save_then_interrupt(trainer: TextCnnTrainer, model: torch.nn.Module, trial: Any) -> None:
    """In the place of `_save_checkpoint`: Ctrl-C right after the third epoch's."""
    save_checkpoint(trainer, model, trial)
    if (trainer.state.epoch or 0) >= 3:
        raise KeyboardInterrupt


def report(checkpoint: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((checkpoint / "metrics.json").read_text(encoding="utf-8"))
    return content


def test_checkpoints_appear_whole_and_only_the_needed_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []
    rename = Path.rename

    def spy(path: Path, target: Path) -> Path:
        if "checkpoint-" in target.name:
            assert (path / "trainer_state.json").is_file()
            assert (path / "optimizer.pt").is_file()
            state = json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
            assert ".writing" not in str(state["best_model_checkpoint"])
            seen.append({entry.name for entry in target.parent.iterdir()})
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", spy)
    checkpoint = train(tmp_path, labelled_texts(), "--keep_checkpoints", "--num_train_epochs", "4")
    assert len(seen) == 4
    assert all(name == ".writing-checkpoint" or name.startswith("checkpoint-") for names in seen for name in names)
    left = {path.name for path in checkpoint.iterdir() if path.is_dir()}
    assert 1 <= len(left) <= 2  # the best and the last
    assert all(name.startswith("checkpoint-") for name in left)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "flags",
    [
        ["--optim", "adamw_torch_fused"],
        ["--sparse_embedding", "on"],
        pytest.param(["--optim", "rmsprop", "--momentum", "0.5"], marks=SLOW),
        pytest.param(["--optim", "sgd", "--momentum", "0.9", "--nesterov"], marks=SLOW),
        pytest.param(["--optim", "adam", "--lr_scheduler_type", "cosine"], marks=SLOW),
        pytest.param(["--optim", "adadelta", "--max_norm", "1"], marks=SLOW),
        pytest.param(["--optim", "adamw_torch", "--weight_decay", "0.1"], marks=SLOW),
        pytest.param(["--optim", "adafactor"], marks=SLOW),
        pytest.param(["--optim", "adagrad", "--gradient_accumulation_steps", "2"], marks=SLOW),
        pytest.param(["--sampler", "sequential"], marks=SLOW),
        pytest.param(["--sampler", "random", "--sampler_replacement", "--sampler_num_samples", "70"], marks=SLOW),
        pytest.param(["--sampler", "weighted", "--dataloader_num_workers", "2"], marks=SLOW),
        pytest.param(["--sampler", "length_grouped", "--dataloader_drop_last"], marks=SLOW),
        # saved in the middle of an epoch
        pytest.param([*STEPS, "--sampler", "weighted", "--bf16"], marks=SLOW),
        pytest.param([*STEPS, "--streaming"], marks=SLOW),
        pytest.param([*STEPS, "--dataloader_num_workers", "2", "--dataloader_persistent_workers"], marks=SLOW),
    ],
    ids=" ".join,
)
def test_resumed_training_equals_the_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    whole = train(tmp_path / "whole", labelled_texts(), *flags)
    file = write_json_lines(tmp_path / "texts.jsonl", labelled_texts())
    broken = tmp_path / "broken" / "checkpoint"
    files = ["--train_file", str(file), "--validation_file", str(file), "--test_file", str(file)]
    command = [*files, "--output_dir", str(broken), *TINY, *flags]
    with monkeypatch.context() as patch:
        patch.setattr(TextCnnTrainer, "_save_checkpoint", save_then_interrupt)
        assert main(command) == 130
    assert not (broken / "config.json").exists()
    assert main(command) == 2  # the folder is not empty
    assert main([*command, "--resume_from_checkpoint", "true"]) == 0
    assert (broken / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert report(broken)["test"] == report(whole)["test"]
    once, learnt = report(whole)["train"], report(broken)["train"]
    assert once["resumed_at_step"] is None
    assert f"after step {learnt['resumed_at_step']}, where it was resumed" in (broken / "README.md").read_text()
    since = learnt["steps"] - learnt["resumed_at_step"]
    expected = once["samples_per_second"] * once["seconds"] * since / once["steps"]
    found = learnt["samples_per_second"] * learnt["seconds"]
    assert found == pytest.approx(expected, rel=0.1)  # batches differ in size


def test_early_stopping_goes_on_counting_when_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies = iter([0.5, 0.9, 0.6, 0.7])
    monkeypatch.setattr("training.metrics._single", lambda *_: {"accuracy": next(accuracies, 0.0), "f1_macro": 0.0})
    file = write_json_lines(tmp_path / "texts.jsonl", labelled_texts())
    output = tmp_path / "output"
    command = ["--train_file", str(file), "--output_dir", str(output), *TINY, "--early_stopping_patience", "2"]
    with monkeypatch.context() as patch:
        patch.setattr(TextCnnTrainer, "_save_checkpoint", save_then_interrupt)
        assert main(command) == 130
    assert main([*command, "--resume_from_checkpoint", "true"]) == 0
    assert (report(output)["train"]["best_epoch"], report(output)["train"]["epochs"]) == (2, 4)


def test_the_best_epoch_is_found_again_where_the_folder_was_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    accuracies = iter([0.9, 0.5, 0.6, 0.7])
    monkeypatch.setattr("training.metrics._single", lambda *_: {"accuracy": next(accuracies, 0.0), "f1_macro": 0.0})
    file = write_json_lines(tmp_path / "texts.jsonl", labelled_texts())
    flags = ["--train_file", str(file), *TINY, "--num_train_epochs", "4", "--early_stopping_patience", "0"]
    flags += ["--ngram_buckets", "0", "--max_bigrams", "0"]  # what learns is written
    with monkeypatch.context() as patch:
        patch.setattr(TextCnnTrainer, "_save_checkpoint", save_then_interrupt)
        assert main([*flags, "--output_dir", str(tmp_path / "before")]) == 130
    moved = (tmp_path / "before").rename(tmp_path / "after")
    resumed = [*flags, "--output_dir", str(moved), "--resume_from_checkpoint", "true"]
    best = min(moved.glob("checkpoint-*"), key=lambda folder: int(folder.name.rpartition("-")[2]))
    expected = load_file(best / "model.safetensors")
    best.rename(tmp_path / best.name)
    assert main(resumed) == 2
    mistake = capsys.readouterr().err.splitlines()[-1]
    assert f"resume_from_checkpoint: {best.name}, the best so far, must lie beside" in mistake
    (tmp_path / best.name).rename(best)
    assert main(resumed) == 0
    assert report(moved)["train"]["best_epoch"] == 1
    found = load_file(moved / "model.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_going_on_from_an_earlier_checkpoint_learns_the_rest_anew(tmp_path: Path) -> None:
    flags = ("--keep_checkpoints", "--save_total_limit", "5", "--num_train_epochs", "3")
    checkpoint = train(tmp_path, labelled_texts(), *flags)
    before, weights = {path.name for path in checkpoint.iterdir()}, (checkpoint / "model.safetensors").read_bytes()
    assert "checkpoint-18" in before
    train(tmp_path, labelled_texts(), *flags, "--resume_from_checkpoint", str(checkpoint / "checkpoint-9"))
    assert {path.name for path in checkpoint.iterdir()} == before
    assert (checkpoint / "model.safetensors").read_bytes() == weights


def test_resuming_with_other_data_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = train(tmp_path, labelled_texts(), "--keep_checkpoints", "--num_train_epochs", "1")
    file = write_json_lines(tmp_path / "others.jsonl", [{"text": f"text {n}", "label": n % 2} for n in range(40)])
    flags = ["--train_file", str(file), "--output_dir", str(checkpoint), *TINY, "--resume_from_checkpoint", "true"]
    assert main(flags) == 2
    assert "was trained from other data or settings: id2label was" in capsys.readouterr().err
    same = str(tmp_path / "texts.jsonl")
    flags = ["--train_file", same, "--validation_file", same, *flags[2:]]
    assert main([*flags, "--ngram_buckets", "7"]) == 2
    assert "ngram_buckets was 50000, is 7" in capsys.readouterr().err
    assert main([*flags, "--dilation", "2"]) == 2
    assert "dilation was 1, is 2" in capsys.readouterr().err
    renamed = [row | {"text": row["text"].replace("parcel", "packet")} for row in labelled_texts()]
    assert main(["--train_file", str(write_json_lines(tmp_path / "renamed.jsonl", renamed)), *flags[2:]]) == 2
    assert "its tokenizer is another one" in capsys.readouterr().err
    assert (checkpoint / "config.json").is_file()  # nothing was deleted
    assert main([*flags, "--optim", "sgd"]) == 2
    assert "must hold a state that sgd can go on from, it does not" in capsys.readouterr().err.splitlines()[-1]
    assert main([*flags, "--num_train_epochs", "2"]) == 0  # and it can still be gone on with


def test_what_a_power_cut_leaves_of_a_checkpoint_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = train(tmp_path, labelled_texts(), "--keep_checkpoints", "--num_train_epochs", "1") / "checkpoint-9"
    require_whole(folder)
    for name in (
        *("model.safetensors", "config.json", "tokenizer.json", "trainer_state.json"),
        *("optimizer.pt", "scheduler.pt", "rng_state.pth"),
    ):
        whole = (folder / name).read_bytes()
        for content, reason in ((None, "it is missing"), (whole[: len(whole) // 2], "it is broken (")):
            (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
            with pytest.raises(InputError) as caught:
                require_whole(folder)
            message = f"resume_from_checkpoint: {str(folder)!r} must hold a whole {name}, {reason}"
            assert str(caught.value).startswith(message)
        if name != "rng_state.pth":
            (folder / name).write_bytes(whole)
    same = str(tmp_path / "texts.jsonl")
    flags = ["--train_file", same, "--validation_file", same, "--output_dir", str(folder.parent), *TINY]
    assert main([*flags, "--resume_from_checkpoint", str(folder)]) == 2
    assert "must hold a whole rng_state.pth, it is broken" in capsys.readouterr().err.splitlines()[-1]


def test_overwriting_replaces_the_checkpoint_but_not_for_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = train(tmp_path, labelled_texts(), "--num_train_epochs", "1")
    file = write_json_lines(tmp_path / "texts.jsonl", labelled_texts())
    before = (checkpoint / "model.safetensors").read_bytes()
    command = ["--train_file", str(file), "--output_dir", str(checkpoint), *TINY, "--num_train_epochs", "1"]
    assert main(command) == 2
    assert "is not empty" in capsys.readouterr().err
    for mistake in (["--text_column", "body"], ["--dropout", "2"], ["--metric_for_best_model", "bleu"]):
        assert main([*command, "--overwrite_output_dir", *mistake]) == 2
    assert (checkpoint / "model.safetensors").read_bytes() == before
    assert main([*command, "--overwrite_output_dir", "--seed", "8"]) == 0
    assert (checkpoint / "model.safetensors").read_bytes() != before
