"""Optimizers: what transformers has no name for, and rows of the embedding updated alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim import SGD, Adadelta, Adam, AdamW, Optimizer, RMSprop, SparseAdam

from model.errors import InputError
from tests.conftest import TINY, labelled_texts, train, write_json_lines
from training.__main__ import main
from training.config import parse
from training.optimizers import RowSparse, choose_row_sparse, clip_row_sparse
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


@pytest.mark.parametrize("limit", [0.01, 100.0])
def test_clipping_equals_that_of_dense_gradients(limit: float) -> None:
    batch = torch.tensor([0, 1, 1, 1])
    dense, rows = build(False), build(True)
    for network in (dense, rows):
        network(batch).square().sum().backward()
    norm = nn.utils.clip_grad_norm_(dense.parameters(), limit)
    embedding = rows[0]
    assert isinstance(embedding, nn.Embedding)
    torch.testing.assert_close(clip_row_sparse(rows, embedding, limit), norm)
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
        (["--max_norm", "0"], "max_norm must be above 0, got 0.0"),
    ],
)
def test_mistakes(flags: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        arguments_of(*flags)


def test_max_norm_bounds_the_weights_of_each_class(tmp_path: Path) -> None:
    checkpoint = train(tmp_path, labelled_texts(), "--optim", "adadelta", "--learning_rate", "1", "--max_norm", "0.4")
    norms = load_file(checkpoint / "model.safetensors")["network.classifier.weight"].norm(dim=1)
    assert norms.max() <= 0.4 + 1e-5
    assert norms.max() > 0.39


@pytest.mark.parametrize("precision", [[], ["--bf16"]])
def test_training_with_row_sparse_updates(tmp_path: Path, precision: list[str]) -> None:
    file = write_json_lines(tmp_path / "texts.jsonl", labelled_texts())
    files = ["--train_file", str(file), "--validation_file", str(file)]
    flags = ["--output_dir", str(tmp_path / "out"), *TINY, "--sparse_embedding", "on", "--max_grad_norm", "0.5"]
    assert main([*files, *flags, *precision]) == 0
