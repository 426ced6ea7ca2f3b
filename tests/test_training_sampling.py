"""Samplers: who is drawn, in which batch, the same whenever the seed and the epoch are."""

from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.errors import InputError
from training.sampling import EpochBatches, balancing_weights, training_order

KINDS = ["sequential", "random", "weighted", "length_grouped"]


def batches_of(kind: str, rows: int, batch_size: int = 4, seed: int = 0, epoch: int = 0) -> list[list[int]]:
    lengths, labels = torch.arange(rows) % 7, np.arange(rows) % 3
    order, count = training_order(kind, None, None, labels, lengths, batch_size)
    batches = EpochBatches(order, count, batch_size, seed, drop_last=False)
    batches.set_epoch(epoch)
    return [batch.tolist() for batch in batches]


@pytest.mark.parametrize("kind", KINDS)
def test_seed_and_epoch_alone_decide(kind: str) -> None:
    torch.manual_seed(1)
    first = batches_of(kind, 50, seed=3, epoch=5)
    torch.manual_seed(2)
    assert batches_of(kind, 50, seed=3, epoch=5) == first
    if kind != "sequential":
        assert batches_of(kind, 50, seed=3, epoch=6) != first
        assert batches_of(kind, 50, seed=4, epoch=5) != first


@given(
    kind=st.sampled_from(["sequential", "random", "length_grouped"]),
    rows=st.integers(1, 60),
    batch_size=st.integers(1, 9),
    processes=st.integers(1, 4),
    drop_last=st.booleans(),
)
def test_processes_share_out_the_rows_of_one(
    kind: str, rows: int, batch_size: int, processes: int, drop_last: bool
) -> None:
    step = batch_size * processes
    order, count = training_order(kind, None, None, np.zeros(rows), torch.arange(rows), step)
    alone = [batch.tolist() for batch in EpochBatches(order, count, step, 0, drop_last)]
    shares = [
        [batch.tolist() for batch in EpochBatches(order, count, batch_size, 0, drop_last, process, processes)]
        for process in range(processes)
    ]
    assert [list(chain(*parts)) for parts in zip(*shares, strict=True)] == alone
    seen = list(chain(*alone))
    assert len(set(seen)) == len(seen)
    assert len(seen) == (rows // step * step if drop_last else rows)
    for parts in zip(*shares, strict=True):
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_length_grouping_pads_less_and_shuffles_the_batches() -> None:
    torch.manual_seed(0)
    lengths = torch.randint(1, 100, (2000,))

    def padded(kind: str) -> int:
        order, count = training_order(kind, None, None, np.zeros(2000), lengths, 10)
        batches = list(EpochBatches(order, count, 10, 0, drop_last=False))
        return sum(int(lengths[batch].max()) * len(batch) for batch in batches)

    assert padded("length_grouped") < 1.1 * int(lengths.sum()) < 1.5 * int(lengths.sum()) < padded("random")
    order, count = training_order("length_grouped", None, None, np.zeros(2000), lengths, 10)
    widths = [int(lengths[batch].max()) for batch in EpochBatches(order, count, 10, 0, drop_last=False)]
    assert widths != sorted(widths, reverse=True)


def test_the_weighted_sampler_draws_each_class_as_often() -> None:
    labels = np.array([0] * 900 + [1] * 90 + [2] * 10)
    order, count = training_order("weighted", None, 30_000, labels, torch.ones(1000), 4)
    drawn = np.bincount(labels[order(torch.Generator().manual_seed(0)).numpy()])
    assert count == 30_000
    assert np.abs(drawn - 10_000).max() < 500
    order, _ = training_order("weighted", False, 40, labels, torch.ones(1000), 4)
    rows = order(torch.Generator().manual_seed(0))
    assert len(rows.unique()) == 40
    assert (labels[rows.numpy()] == 2).sum() >= 8  # of ten: a hundred times as likely as the common ones
    with pytest.raises(InputError, match=r"sampler_num_samples must be below the 1000 training rows"):
        training_order("weighted", False, None, labels, torch.ones(1000), 4)


def test_of_several_labels_the_rarest_decides() -> None:
    labels = np.array([[1, 0], [1, 1], [1, 0], [0, 0]])
    assert balancing_weights(labels).tolist() == [1 / 3, 1, 1 / 3, 1]


def test_replacement_and_number_of_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    with_replacement, count = training_order("random", True, 100, np.zeros(50), torch.ones(50), 4)
    assert count == 100
    assert len(with_replacement(generator).unique()) < 50
    without, _ = training_order("random", False, 75, np.zeros(50), torch.ones(50), 4)
    drawn = without(generator)
    assert len(drawn) == 75
    assert len(drawn[:50].unique()) == 50
    sequential, _ = training_order("sequential", None, 7, np.zeros(5), torch.ones(5), 4)
    assert sequential(generator).tolist() == [0, 1, 2, 3, 4, 0, 1]
