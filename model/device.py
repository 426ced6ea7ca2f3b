"""Which device to run on, and how long the work took there."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .errors import InputError


def resolve_device(device: str) -> torch.device:
    """The torch device that `auto`, `cpu`, `cuda` or `cuda:N` stands for on this machine.

    Raises `InputError` for another name, or for a device that the machine lacks.
    """
    available = torch.cuda.device_count()
    if device == "auto":
        return torch.device("cuda:0" if available else "cpu")
    if device == "cpu":
        return torch.device("cpu")
    kind, _, index = device.partition(":")
    if kind != "cuda" or not (index.isdecimal() or device == "cuda"):
        raise InputError(f"device must be auto, cpu, cuda or cuda:N, got {device!r}")
    number = int(index or 0)
    if number >= available:
        raise InputError(f"device {device!r} does not exist: this machine has {available} CUDA devices")
    return torch.device("cuda", number)


class DeviceTimer:
    """Milliseconds that the work between `start` and `stop` took on its device.

    On CUDA two events are recorded on the current stream and read after the second has passed: the host clock would
    only tell how long it took to queue the kernels. On the CPU it is a monotonic clock.
    """

    def __init__(self, device: torch.device) -> None:
        self.clock = "cuda_events" if device.type == "cuda" else "perf_counter"
        self._device = device
        self.elapsed_ms = 0.0

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Add the time of the enclosed work to `elapsed_ms`."""
        if self.clock == "perf_counter":
            start = time.perf_counter()
            yield
            self.elapsed_ms += (time.perf_counter() - start) * 1e3
            return
        with torch.cuda.device(self._device):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            yield
            end.record()
            end.synchronize()
        self.elapsed_ms += begin.elapsed_time(end)
