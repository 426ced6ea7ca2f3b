"""Averages the gradients of several processes, row-sparse ones row by row."""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.futures import Future

from training.row_sums import coalesced


def average_gradients(group: None, bucket: dist.GradBucket) -> Future[Tensor]:  # type: ignore[name-defined]
    """A communication hook of `DistributedDataParallel`: the mean of a bucket's gradients over the processes.

    torch's own sum of sparse gradients over gloo (2.13) ends in an abort once in a few thousand steps: the two threads
    of `ProcessGroupGloo::runLoop` write the name of what they did last into one string without a lock, and
    "_ALLREDUCE_SPARSE" is too long for a string without memory of its own, which is then freed twice.
    """
    gradient = bucket.buffer()
    if not gradient.is_sparse:
        return allreduce_hook(group, bucket)  # type: ignore[arg-type]  # of all processes
    mean: Future[Tensor] = Future()
    mean.set_result(mean_of_rows(gradient))
    return mean


def mean_of_rows(gradient: Tensor) -> Tensor:
    """Mean of the sparse gradients (V, D) of all processes, of which each has rows of its own, or none; coalesced."""
    gradient = coalesced(gradient)
    own = gradient.indices()[0], gradient.values()  # (R,), (R, D)
    numbers = torch.zeros(dist.get_world_size(), dtype=torch.int64)
    numbers[dist.get_rank()] = len(own[0])
    dist.all_reduce(numbers)
    counts: list[int] = numbers.tolist()
    everyones = [part.new_empty(sum(counts), *part.shape[1:]) for part in own]
    rows, values = everyones
    shares = list(zip(rows.split(counts), values.split(counts), strict=True))
    for share, part in zip(shares[dist.get_rank()], own, strict=True):
        share.copy_(part)
    sent = [dist.broadcast(part, source, async_op=True) for source, share in enumerate(shares) for part in share]
    for work in sent:
        work.wait()
    values /= len(counts)
    return torch.sparse_coo_tensor(rows[None], values, gradient.shape, check_invariants=False).coalesce()
