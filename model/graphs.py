"""Passes through the network on a GPU: one CUDA graph for each bucket of texts and tokens, captured at the start.

A pass of a text CNN is some dozen kernels of a few microseconds each: launched one by one, they cost more than they
compute. A captured graph launches them together, always on the same memory, so a batch is put into the smallest bucket
that takes it. Padding never changes an answer, so neither does the bucket.
"""

import statistics
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .device import DeviceTimer
from .encoding import fill
from .folding import FoldedTextCnn
from .network_textcnn import TextCnn, TextCnnShape

MOST_TEXTS = 256  # of a pass
MOST_TOKENS = 1 << 16  # of a pass, padding included: bounds the memory of the widest bucket
LEAST_TOKENS = 16  # of a text: narrower buckets would save nothing
WARM_UP_PASSES = 3  # before a capture: libraries choose their kernels and take their workspaces

# B texts of a bucket, L tokens of a bucket, C classes.

Network = TextCnn | FoldedTextCnn
Outputs = Callable[[Tensor], Tensor]  # logits (B, C) -> outputs (B, C)


class Buckets:
    """Sizes that a pass is rounded up to: powers of two, the last number of tokens being `max_length`.

    >>> buckets = Buckets(max_length=100)
    >>> buckets.tokens, buckets.of(texts=5, tokens=33)
    ([16, 32, 64, 100], (8, 64))
    """

    def __init__(self, max_length: int) -> None:
        most_texts = min(MOST_TEXTS, max(1, MOST_TOKENS // max_length))
        self.texts = [1 << power for power in range(most_texts.bit_length())]
        narrower = takewhile(lambda tokens: tokens < max_length, (LEAST_TOKENS << power for power in range(32)))
        self.tokens = [*narrower, max_length]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Every bucket, the widest first: the memory that it takes serves all others."""
        return ((texts, tokens) for tokens in reversed(self.tokens) for texts in reversed(self.texts))

    def of(self, texts: int, tokens: int) -> tuple[int, int]:
        """The smallest bucket for so many texts, the longest with so many tokens."""
        return self.texts[bisect_left(self.texts, texts)], self.tokens[bisect_left(self.tokens, tokens)]


class GraphRunner:
    """A network on a GPU and what makes outputs of its logits, captured for all buckets; no allocation after that.

    `tf32` lets matrix products and convolutions round their float32 factors to 10 bits of mantissa.
    """

    is_parallel = False  # passes share the device and their buffers

    def __init__(
        self, network: Network, outputs: Outputs, device: torch.device, max_length: int, tf32: bool = False
    ) -> None:
        self._device, self._buckets = device, Buckets(max_length)
        self.pass_texts = self._buckets.texts[-1]
        self._timer = DeviceTimer(device)
        self.clock = self._timer.clock
        self._lock = threading.Lock()  # the buffers are everybody's
        with torch.cuda.device(device), tensor_float(tf32):
            pool = torch.cuda.graph_pool_handle()
            self._graphs = {bucket: CapturedPass(network, outputs, device, bucket, pool) for bucket in self._buckets}

    def __call__(self, token_ids: Sequence[Sequence[int]]) -> tuple[NDArray[np.float32], float]:
        """Outputs (B, C) of the token ids of B texts, and the milliseconds they took on the device."""
        bucket = self._buckets.of(len(token_ids), max(map(len, token_ids)))
        with self._lock, torch.cuda.device(self._device):
            outputs, elapsed_ms = self._graphs[bucket].run(token_ids, self._timer)
            return outputs[: len(token_ids)].copy(), elapsed_ms


class CapturedPass:
    """Copy to the device, network and outputs for one bucket, in buffers of its own."""

    def __init__(
        self,
        network: Network,
        outputs: Outputs,
        device: torch.device,
        bucket: tuple[int, int],
        pool: Any = None,  # torch's handle of the memory that graphs share
    ) -> None:
        texts, tokens = bucket
        host = torch.zeros(texts, 1 + tokens, dtype=torch.int32, pin_memory=True)  # lengths, then ids
        placed = torch.zeros_like(host, device=device)

        def work() -> Tensor:
            placed.copy_(host, non_blocking=True)
            return outputs(network.logits(placed[:, 1:], placed[:, 0]).float())  # (B, C)

        self._graph = torch.cuda.CUDAGraph()
        with torch.inference_mode():
            _warm_up(work)
            # Other threads may use the device meanwhile: a service replaces its checkpoint while it serves.
            with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
                self._result = work()
        self._outputs = torch.empty(self._result.shape, pin_memory=True)  # (B, C)
        self._inputs, self._work = host, work  # the graph knows their tensors by address alone

    def run(self, token_ids: Sequence[Sequence[int]], timer: DeviceTimer) -> tuple[NDArray[np.float32], float]:
        """Outputs (B, C), overwritten by the next call, and the milliseconds until they stood on the device."""
        fill(self._inputs.numpy(), token_ids)
        measurement = timer.start()
        self._graph.replay()
        measurement.stop()
        self._outputs.copy_(self._result, non_blocking=True)
        torch.cuda.current_stream().synchronize()  # the only one: after it the events have passed too
        return self._outputs.numpy(), measurement.elapsed_ms()


def fastest(networks: Sequence[Network], shape: TextCnnShape, device: torch.device, tf32: bool) -> Network:
    """The network whose pass of 64 texts takes least time on the device, by measurement."""
    timer, tokens = DeviceTimer(device), min(64, shape.max_length)
    token_ids = torch.randint(shape.vocab_size, (64, tokens)).tolist()
    medians = []
    with torch.cuda.device(device), tensor_float(tf32):
        for network in networks:
            captured = CapturedPass(network, torch.Tensor.float, device, (64, tokens))
            medians.append(statistics.median(captured.run(token_ids, timer)[1] for _ in range(30)))
    return networks[medians.index(min(medians))]


def _warm_up(work: Callable[[], Tensor]) -> None:
    """Run it where it is not captured; a stream of its own, as capturing demands."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP_PASSES):
            work()
    torch.cuda.current_stream().wait_stream(stream)


@contextmanager
def tensor_float(allowed: bool) -> Iterator[None]:
    """Whether what is captured inside may round float32 factors to TF32; the setting outside stays as it was.

    Not for two threads at a time: the later one would leave what the earlier one has set.
    """
    backends: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn.conv]  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = "tf32" if allowed else "ieee"
    try:
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
