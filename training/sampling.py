"""Which rows a step learns from: every order is a function of the seed and the epoch, so a resumed run repeats it."""

from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.utils.data import Sampler

from model.errors import InputError

SamplerKind: TypeAlias = Literal["sequential", "random", "weighted", "length_grouped"]
_MEGABATCH = (
    50  # batches that are sorted by length together; the smaller, the more random, the larger, the less padding
)

# N rows, S rows of an epoch, C classes.

Order: TypeAlias = Callable[[Generator], Tensor]  # the rows (S,) of an epoch


class EpochBatches(Sampler[Tensor]):
    """Batches of row numbers for one of several processes.

    A step of all processes together takes `batch_size * processes` consecutive rows of the epoch's order, each process
    its share; the last step shares out what is left. So no row is seen twice, and two processes learn what one process
    learns with twice the batch.
    """

    def __init__(
        self, order: Order, rows: int, batch_size: int, seed: int, drop_last: bool, process: int = 0, processes: int = 1
    ) -> None:
        self._order, self._rows, self._seed = order, rows, seed
        self._step = batch_size * processes
        self._process, self._processes = process, processes
        self.batch_size, self.drop_last = batch_size, drop_last  # as torch's own batch samplers tell them
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch that the next iteration is for."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._rows // self._step if self.drop_last else -(-self._rows // self._step)

    def __iter__(self) -> Iterator[Tensor]:
        state = np.random.SeedSequence([self._seed, self.epoch]).generate_state(1, np.uint64)
        order = self._order(Generator().manual_seed(int(state[0] >> 1)))  # (S,)
        for start in range(0, len(self) * self._step, self._step):
            rows = order[start : start + self._step]
            first, last = (len(rows) * process // self._processes for process in (self._process, self._process + 1))
            yield rows[first:last]


def training_order(
    kind: str, replacement: bool | None, count: int | None, labels: NDArray[Any], lengths: Tensor, batch_size: int
) -> tuple[Order, int]:
    """The order that the flags of the sampler ask for, and the rows of an epoch; `batch_size` is that of a step."""
    rows = len(lengths)
    count = rows if count is None else count
    if kind == "sequential":
        return (lambda _: torch.arange(count) % rows), count
    if kind == "weighted":
        return weighted_order(balancing_weights(labels), count, replacement is not False), count
    order = random_order(rows, count, bool(replacement))
    return (length_grouped_order(order, lengths, batch_size) if kind == "length_grouped" else order), count


def random_order(rows: int, count: int, replacement: bool) -> Order:
    """`count` of `rows` rows, each as likely; without replacement all are seen before one is seen again."""
    if replacement:
        return lambda generator: torch.randint(rows, (count,), generator=generator)
    rounds = -(-count // rows)
    return lambda generator: torch.cat([torch.randperm(rows, generator=generator) for _ in range(rounds)])[:count]


def weighted_order(weights: NDArray[np.float64], count: int, replacement: bool) -> Order:
    """`count` rows, each as likely as its weight says; unlike `torch.multinomial` for any number of rows."""
    if not replacement and count >= len(weights):
        raise InputError(
            f"sampler_num_samples must be below the {len(weights)} training rows for a weighted sampler without "
            f"replacement, which else draws every row, got {count}"
        )
    weight = torch.from_numpy(weights)

    def order(generator: Generator) -> Tensor:
        if not replacement:  # Efraimidis & Spirakis 2006: the smallest of exponential waiting times
            waiting = torch.empty_like(weight).exponential_(generator=generator) / weight  # (N,)
            return waiting.argsort()[:count]
        total = weight.cumsum(0)  # (N,)
        drawn = torch.rand(count, dtype=weight.dtype, generator=generator) * total[-1]
        return torch.searchsorted(total, drawn, right=True).clamp(max=len(weight) - 1)

    return order


def length_grouped_order(order: Order, lengths: Tensor, batch_size: int) -> Order:
    """The rows of `order`, those of like length in one batch, the batches in random order, an incomplete one last."""

    def grouped(generator: Generator) -> Tensor:
        rows = order(generator)  # (S,)
        pieces = rows.split(_MEGABATCH * batch_size)
        rows = torch.cat([piece[lengths[piece].argsort(descending=True, stable=True)] for piece in pieces])
        whole = len(rows) // batch_size * batch_size
        batches = rows[:whole].view(-1, batch_size)
        shuffled = batches[torch.randperm(len(batches), generator=generator)]
        return torch.cat([shuffled.flatten(), rows[whole:]])

    return grouped


def balancing_weights(labels: NDArray[np.generic]) -> NDArray[np.float64]:
    """A weight (N,) for each row, so that every class is drawn as often: one over the rows of its class.

    Of several labels (N, C) the rarest decides; rows without any are a class of their own.
    """
    if labels.ndim == 1:
        _, position, counts = np.unique(labels, return_inverse=True, return_counts=True)
        return np.asarray(1 / counts[position])
    applies = np.column_stack([labels, labels.max(axis=1) == 0]) > 0  # (N, C + 1)
    counts = np.maximum(applies.sum(axis=0), 1)  # (C + 1,)
    return np.asarray((applies / counts).max(axis=1))
