"""Two processes on this machine: what one learns with twice the batch, everything written once."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import Tensor, allclose
from torch.multiprocessing.spawn import spawn
from transformers import BertForSequenceClassification

from tests.conftest import TINY, labelled_texts, train, write_json_lines
from tests.teachers import save_tokenizer, tiny_bert
from training import averaging
from training.__main__ import main
from training.averaging import mean_of_rows

pytestmark = pytest.mark.slow

# SGD in float32, so that a difference of rounding stays a small one; Adam's first steps divide by it
SGD = ("--optim", "sgd", "--momentum", "0.9", "--learning_rate", "0.1", "--bf16", "false")
SAME = (*SGD, "--dropout", "0", "--num_train_epochs", "5")
TOLERANCE = 1e-5  # of weights below 1


def torchrun(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """`flags` in two processes that talk over gloo; 143 texts, so that the last step is shared unevenly."""
    file = write_json_lines(folder / "texts.jsonl", labelled_texts()[:143])
    files = [flag for split in ("train", "validation", "test") for flag in (f"--{split}_file", str(file))]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "training"]
    command = [*launcher, *files, "--output_dir", str(folder / "checkpoint"), *TINY, *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)


def test_two_processes_learn_what_one_does_with_twice_the_batch(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    rows = labelled_texts()[:143]
    shards = [write_json_lines(tmp_path / f"{start}.jsonl", rows[start : start + 50]) for start in (0, 50, 100)]
    flags: tuple[str, ...] = (*SAME, "--gradient_accumulation_steps", "2", "--sampler", "length_grouped")
    flags += ("--streaming", "--train_file", *map(str, shards))
    whole = train(tmp_path / "one", rows, *flags, "--per_device_train_batch_size", "20")
    done = torchrun(tmp_path / "two", *flags, "--per_device_train_batch_size", "10")
    assert done.returncode == 0, done.stderr
    shared = tmp_path / "two" / "checkpoint"
    expected, found = (load_file(folder / "model.safetensors") for folder in (whole, shared))
    for name, tensor in expected.items():
        assert allclose(found[name], tensor, atol=TOLERANCE), (name, (found[name] - tensor).abs().max())
    reports = [json.loads((folder / "metrics.json").read_text()) for folder in (whole, shared)]
    for split in ("validation", "test"):
        for name, tolerance in (("accuracy", 0), ("f1_macro", 1e-9), ("loss", 2e-3)):  # the loss: of unequal shares
            assert reports[1][split][name] == pytest.approx(reports[0][split][name], abs=tolerance)
    assert reports[1]["train"]["steps"] == reports[0]["train"]["steps"]
    assert [report["train"]["processes"] for report in reports] == [1, 2]
    assert {path.name for path in shared.iterdir()} == {path.name for path in whole.iterdir()}
    assert done.stdout.count("serve it:") == 1
    assert len(list((tmp_path / "two" / "tensorboard").rglob("events.*"))) == 1
    assert done.stderr.count("max_length 16 tokens") == 1


def test_two_processes_learn_row_by_row_what_one_does(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    rows = labelled_texts()[:143]
    file = str(write_json_lines(tmp_path / "texts.jsonl", rows))
    flags: tuple[str, ...] = ("--train_file", file, "--validation_file", file, "--sparse_embedding", "on")
    flags += ("--bf16", "false", "--dropout", "0", "--adam_epsilon", "1e-3", "--gradient_accumulation_steps", "2")
    whole = train(tmp_path / "one", rows, *flags, "--per_device_train_batch_size", "20")
    done = torchrun(tmp_path / "two", *flags, "--per_device_train_batch_size", "10")
    assert done.returncode == 0, done.stderr
    expected, found = (load_file(folder / "model.safetensors") for folder in (whole, tmp_path / "two" / "checkpoint"))
    for name, tensor in expected.items():
        assert allclose(found[name], tensor, atol=TOLERANCE), (name, (found[name] - tensor).abs().max())


def test_a_process_whose_share_of_the_last_step_is_empty(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    rows = labelled_texts()[:129]  # 4 x 32 + 1
    file = str(write_json_lines(tmp_path / "texts.jsonl", rows))
    flags = (*SAME, "--train_file", file, "--validation_file", file)
    whole = train(tmp_path / "one", rows, *flags, "--per_device_train_batch_size", "32")
    done = torchrun(tmp_path / "two", *flags)
    assert done.returncode == 0, done.stderr
    expected, found = (load_file(folder / "model.safetensors") for folder in (whole, tmp_path / "two" / "checkpoint"))
    for name, tensor in expected.items():
        assert allclose(found[name], tensor, atol=TOLERANCE), (name, (found[name] - tensor).abs().max())


def test_a_teacher_of_two_processes_is_reported_by_one(tmp_path: Path) -> None:
    teacher = tmp_path / "teacher"
    BertForSequenceClassification(tiny_bert(save_tokenizer(teacher), num_labels=3)).save_pretrained(teacher)
    more = ("--augmented_copies", "1", "--cache_dir", str(tmp_path / "cache"), "--num_train_epochs", "1")
    done = torchrun(tmp_path, "--teacher", str(teacher), *more)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "checkpoint" / "metrics.json").read_text())["distillation"]
    assert set(report) >= {"validation", "test", "texts_per_second", "parameters"}
    assert done.stdout.count("serve it:") == 1


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    """With row-sparse updates, half precision, and a tokenizer whose learning is random."""
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    flags = ("--sparse_embedding", "on", "--tokenizer", "unigram", "--bf16", "--load_best_model_at_end", "false")
    more = ("--early_stopping_patience", "0", "--keep_checkpoints", "--save_total_limit", "9")
    done = torchrun(tmp_path / "whole", *flags, *more)
    assert done.returncode == 0, done.stderr
    assert "strides" not in done.stderr  # of a gradient that DDP has to copy
    whole, broken = (tmp_path / name / "checkpoint" for name in ("whole", "broken"))
    first = min(whole.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    shutil.copytree(first, broken / first.name)
    done = torchrun(tmp_path / "broken", *flags, *more, "--resume_from_checkpoint", "true")
    assert done.returncode == 0, done.stderr
    assert (broken / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert json.loads((broken / "metrics.json").read_text())["test"]["accuracy"] > 0.9


@pytest.mark.parametrize("sizes", [(4, 7, 2), (3, 0, 5), (0, 0, 0)])
def test_sparse_gradients_of_several_processes_have_the_mean_of_dense_ones(
    tmp_path: Path, sizes: tuple[int, ...]
) -> None:
    spawn(_compare_means, (tmp_path / "store", sizes), nprocs=len(sizes))


def _compare_means(rank: int, store: Path, sizes: tuple[int, ...]) -> None:
    """In each process: its gradient has `sizes[rank]` rows, some of them twice."""
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=len(sizes))
    numbers = torch.Generator().manual_seed(5)
    gradients = []
    for size in sizes:
        rows = torch.randint(0, 9, (1, size), generator=numbers)
        values = torch.randn(size, 3, generator=numbers)
        gradients.append(torch.sparse_coo_tensor(rows, values, (9, 3), check_invariants=True))
    mean = mean_of_rows(gradients[rank])
    assert mean.is_coalesced()
    dense = torch.stack([gradient.to_dense() for gradient in gradients])
    torch.testing.assert_close(mean.to_dense(), dense.mean(0))
    assert set(mean.indices()[0].tolist()) == set(dense.abs().sum((0, 2)).nonzero()[:, 0].tolist())
    dist.destroy_process_group()


def test_no_sparse_gradient_is_left_to_torch(tmp_path: Path) -> None:
    """Its sum of them over gloo aborts the process, but far too seldom for a test to see it."""
    file = str(write_json_lines(tmp_path / "texts.jsonl", labelled_texts()[:143]))
    files = ("--train_file", file, "--validation_file", file, "--output_dir", str(tmp_path / "checkpoint"))
    flags = (*files, *TINY, "--sparse_embedding", "on", "--num_train_epochs", "1")
    spawn(_train_counting, (tmp_path, flags), nprocs=2)
    steps = json.loads((tmp_path / "checkpoint" / "metrics.json").read_text())["train"]["steps"]
    assert [(tmp_path / f"means-{rank}").read_text() for rank in range(2)] == [
        str(2 * steps)
    ] * 2  # the tokens and the n-grams


def _train_counting(rank: int, folder: Path, flags: tuple[str, ...]) -> None:
    """In each process: train and write down how often sparse gradients were averaged."""
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="joined", MASTER_PORT="0")
    means: list[Tensor] = []
    mean: Callable[[Tensor], Tensor] = mean_of_rows
    averaging.mean_of_rows = lambda gradient: means.append(gradient) or mean(gradient)  # type: ignore[func-returns-value]
    assert main(flags) == 0
    (folder / f"means-{rank}").write_text(str(len(means)))
