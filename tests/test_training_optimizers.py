"""Optimizers: what transformers has no name for, and rows of the embedding updated alone."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim import SGD, Adadelta, Adagrad, Adam, AdamW, Optimizer, RMSprop, SparseAdam
from transformers import SchedulerType

from model.errors import InputError
from tests.conftest import TINY, labelled_texts, train
from training.__main__ import main
from training.config import parse
from training.optimizers import RowAdagrad, RowSparse, choose_row_sparse, clip_row_sparse
from training.trainer import TextCnnTrainer

REQUIRED = ["--train_file", "t.csv", "--output_dir", "out", "--device", "cpu"]


def arguments_of(*flags: str) -> Any:
    return parse([*REQUIRED, *flags])[2]


def learn(optimizer: Optimizer, network: nn.Sequential, batches: list[torch.Tensor]) -> None:
    for batch in batches:
        network(batch).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def build(sparse: bool) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(5, 3, sparse=sparse), nn.Linear(3, 2))


def row_sparse(network: nn.Sequential) -> RowSparse:
    return RowSparse(AdamW(network[1].parameters(), 0.01, weight_decay=0), SparseAdam(network[0].parameters(), 0.01))


def test_rows_that_are_always_used_learn_as_with_adam() -> None:
    batches = [torch.tensor([0, 1, 2, 3, 4, 4, 1])[torch.randperm(7)] for _ in range(9)]
    dense, rows = build(False), build(True)
    learn(AdamW(dense.parameters(), 0.01, weight_decay=0), dense, batches)
    learn(row_sparse(rows), rows, batches)
    for one, other in zip(dense.parameters(), rows.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_rows_that_are_not_used_stay_and_a_state_goes_on() -> None:
    batches = [torch.tensor([0, 1]), torch.tensor([1, 2]), torch.tensor([0, 2]), torch.tensor([2, 2])]
    whole, broken, resumed = build(True), build(True), build(True)
    embedding = whole[0]
    assert isinstance(embedding, nn.Embedding)
    untouched = embedding.weight[3:].clone()
    optimizer = row_sparse(whole)
    learn(optimizer, whole, batches)
    assert torch.equal(embedding.weight[3:], untouched)
    first = row_sparse(broken)
    learn(first, broken, batches[:2])
    resumed.load_state_dict(broken.state_dict())
    second = row_sparse(resumed)
    second.load_state_dict(first.state_dict())
    learn(second, resumed, batches[2:])
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
    assert len(optimizer.state) == 3


def test_a_row_moves_by_adagrad_with_the_mean_square_of_its_gradients() -> None:
    embedding = nn.Embedding(3, 2, sparse=True)
    expected = embedding.weight.detach().clone()
    optimizer = RowAdagrad(embedding.parameters(), lr=0.1)
    sums = torch.zeros(3)
    for batch in ([0, 0, 1], [1], [0, 1]):
        embedding(torch.tensor(batch)).square().sum().backward()
        assert embedding.weight.grad is not None
        gradient = embedding.weight.grad.to_dense()
        sums += gradient.square().mean(dim=1)
        expected -= 0.1 * gradient / (sums.sqrt() + 1e-10)[:, None]
        optimizer.step()
        optimizer.zero_grad()
        torch.testing.assert_close(embedding.weight.detach(), expected)


@pytest.mark.parametrize("limit", [0.01, 100.0])
def test_clipping_equals_that_of_dense_gradients(limit: float) -> None:
    batch = torch.tensor([0, 1, 1, 1])
    dense, rows = build(False), build(True)
    for network in (dense, rows):
        network(batch).square().sum().backward()
    norm = nn.utils.clip_grad_norm_(dense.parameters(), limit)
    embedding = rows[0]
    assert isinstance(embedding, nn.Embedding)
    torch.testing.assert_close(clip_row_sparse(rows, limit), norm)
    for one, other in zip(dense.parameters(), rows.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(one.grad, other.grad.to_dense() if other.grad.is_sparse else other.grad)


def test_row_sparse_updates_are_chosen_where_they_pay() -> None:
    large, small = nn.Embedding(30_000, 300), nn.Embedding(4_000, 300)
    assert choose_row_sparse(large, arguments_of())
    assert not choose_row_sparse(small, arguments_of())
    assert choose_row_sparse(small, arguments_of("--sparse_embedding", "on"))
    for flags in (["--sparse_embedding", "off"], ["--optim", "sgd"], ["--weight_decay", "0.1"]):
        assert not choose_row_sparse(large, arguments_of(*flags))
    on_gpu: Any = SimpleNamespace(**vars(arguments_of()), device=torch.device("cuda"), world_size=1)
    assert not choose_row_sparse(large, on_gpu)
    assert choose_row_sparse(nn.Embedding(500_000, 300, device="meta"), on_gpu)
    with pytest.raises(InputError, match="sparse_embedding cannot be on: the optimizer is sgd, no kind of Adam"):
        choose_row_sparse(large, arguments_of("--sparse_embedding", "on", "--optim", "sgd"))
    with pytest.raises(InputError, match="the embedding is not learnt"):
        choose_row_sparse(large.requires_grad_(False), arguments_of("--sparse_embedding", "on"))


@pytest.mark.parametrize(
    ("flags", "kind", "options"),
    [
        (["--optim", "sgd"], SGD, {"lr": 0.002, "momentum": 0, "nesterov": False}),
        (["--optim", "sgd", "--momentum", "0.9", "--nesterov"], SGD, {"momentum": 0.9, "nesterov": True}),
        (["--optim", "rmsprop", "--momentum", "0.5"], RMSprop, {"momentum": 0.5}),
        (["--optim", "adam", "--adam_beta1", "0.8"], Adam, {"betas": (0.8, 0.999), "lr": 0.002}),
        (["--optim", "adadelta"], Adadelta, {"lr": 1.0, "rho": 0.95}),
        (["--optim", "adadelta", "--optim_args", "rho=0.1, eps=1"], Adadelta, {"lr": 1.0, "rho": 0.1, "eps": 1.0}),
        (["--optim", "sgd", "--optim_args", "dampening=0.1"], SGD, {"dampening": 0.1}),
        (["--optim", "rmsprop", "--optim_args", "alpha=0.9,centered=true"], RMSprop, {"alpha": 0.9, "centered": True}),
        (["--optim", "adagrad", "--optim_args", "lr_decay=0.1,eps=1"], Adagrad, {"lr_decay": 0.1, "eps": 1.0}),
        ([], AdamW, {"lr": 0.002, "fused": True}),
    ],
)
def test_plain_flags_choose_the_optimizer(flags: list[str], kind: type[Optimizer], options: dict[str, Any]) -> None:
    optimizer, keywords = TextCnnTrainer.get_optimizer_cls_and_kwargs(arguments_of(*flags))
    made = optimizer([nn.Parameter(torch.zeros(1))], **keywords)
    assert isinstance(made, kind)
    assert {name: made.defaults[name] for name in options} == options


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--optim", "adamx"], "optim must be one of adam, adadelta, "),
        (["--optim", "adam", "--momentum", "0.9"], "momentum is for the optimizers sgd and rmsprop, got adam"),
        (["--optim", "sgd", "--nesterov"], "nesterov is for the momentum of sgd"),
        (["--optim", "adadelta", "--optim_args", "rh=0.1"], "optim_args: adadelta takes rho, eps, got 'rh'"),
        (["--optim", "adam", "--optim_args", "eps=1"], "optim_args: adam has --adam_beta1, .* instead, got 'eps'"),
        (["--optim_args", "eps=1"], "optim_args: adamw_torch_fused has --adam_beta1, .* instead, got 'eps'"),
        (["--optim", "sgd", "--optim_args", "rho=1"], "sgd takes momentum, dampening, nesterov, got 'rho'"),
        (["--max_norm", "0"], "max_norm must be above 0, got 0.0"),
    ],
)
def test_mistakes(flags: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        arguments_of(*flags)


def test_max_norm_bounds_the_weights_of_each_class(tmp_path: Path) -> None:
    flags = ("--optim", "adadelta", "--learning_rate", "1", "--max_norm", "0.4", "--max_bigrams", "0")
    checkpoint = train(tmp_path, labelled_texts(), *flags)
    norms = load_file(checkpoint / "model.safetensors")["network.classifier.weight"].norm(dim=1)
    assert norms.max() <= 0.4 + 1e-5
    assert norms.max() > 0.39


def test_scaled_gradients_are_clipped_and_applied_as_unscaled_ones() -> None:
    """What fp16 does to a step, on a CPU."""
    batch = torch.tensor([0, 1, 1, 3])
    plain, scaled = build(True), build(True)
    for network in (plain, scaled):
        scaler = torch.amp.GradScaler("cpu", init_scale=1024, enabled=network is scaled)
        optimizer = row_sparse(network)
        scaler.scale(network(batch).square().sum()).backward()
        scaler.unscale_(optimizer)
        clip_row_sparse(network, 0.1)
        scaler.step(optimizer)
    for one, other in zip(plain.parameters(), scaled.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert not torch.equal(next(plain.parameters()), next(build(True).parameters()))


@pytest.mark.parametrize("precision", [[], ["--bf16"]])
def test_training_with_row_sparse_updates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: list[str]
) -> None:
    kinds: set[tuple[bool, torch.dtype]] = set()
    forward = nn.Linear.forward

    def spy(layer: nn.Linear, features: torch.Tensor) -> torch.Tensor:
        logits = forward(layer, features)
        kinds.add((layer.training, logits.dtype))
        return logits

    monkeypatch.setattr(nn.Linear, "forward", spy)
    checkpoint = train(tmp_path, labelled_texts(), "--sparse_embedding", "on", "--max_grad_norm", "0.5", *precision)
    assert (True, torch.bfloat16 if precision else torch.float32) in kinds
    assert json.loads((checkpoint / "metrics.json").read_text())["test"]["accuracy"] > 0.9


def test_clipping_bounds_a_step(tmp_path: Path) -> None:
    weights = []
    for rate in ("0", "1"):
        (tmp_path / rate).mkdir()
        flags = ("--optim", "sgd", "--learning_rate", rate, "--max_grad_norm", "0.01", "--max_steps", "1")
        # what learns is written
        others = ("--lr_scheduler_type", "constant", "--ngram_buckets", "0", "--max_bigrams", "0")
        folder = train(tmp_path / rate, labelled_texts(), *flags, *others)
        weights.append(torch.cat([tensor.flatten() for tensor in load_file(folder / "model.safetensors").values()]))
    assert float((weights[1] - weights[0]).norm()) == pytest.approx(0.01, rel=1e-2)


def test_what_cannot_be_made_costs_no_earlier_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = train(tmp_path, labelled_texts(), "--num_train_epochs", "1")
    before = {path.name for path in checkpoint.iterdir()}
    command = ["--train_file", str(tmp_path / "texts.jsonl"), "--output_dir", str(checkpoint), *TINY]
    for flags, message in (
        ("--optim lomo", "optim: lomo cannot be made: You need to install `lomo_optim`"),
        (
            "--lr_scheduler_type cosine_with_min_lr",
            "lr_scheduler_type: cosine_with_min_lr cannot be made: One of min_lr",
        ),
        (
            "--optim adadelta --optim_args rho=x",
            "optim: adadelta cannot be made: could not convert string to float: 'x'",
        ),
        ("--sampler_num_samples 3 --dataloader_drop_last", "dataloader_drop_last leaves no step"),
        ("--sampler weighted --sampler_replacement false", "sampler_num_samples must be below the 130 training rows"),
    ):
        assert main([*command, "--overwrite_output_dir", *flags.split()]) == 2
        assert f"error: {message}" in capsys.readouterr().err
        assert {path.name for path in checkpoint.iterdir()} == before


@pytest.mark.slow
@pytest.mark.parametrize("sparse", ["on", "off"])
@pytest.mark.parametrize("kind", SchedulerType)
def test_every_scheduler_of_transformers(tmp_path: Path, kind: SchedulerType, sparse: str) -> None:
    floor = {"min_lr": 1e-4}
    needed = {
        "cosine_with_min_lr": floor,
        "cosine_warmup_with_min_lr": floor,
        "warmup_stable_decay": {"num_decay_steps": 5},
    }
    options = json.dumps(needed.get(kind.value, {}))
    flags = ("--lr_scheduler_type", kind.value, "--lr_scheduler_kwargs", options, "--sparse_embedding", sparse)
    train(tmp_path, labelled_texts(), "--num_train_epochs", "2", *flags)
