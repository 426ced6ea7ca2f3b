"""Which device to run on, and how long the work took there."""

import time

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


def is_lost(error: Exception) -> bool:
    """Whether the GPU has failed this process, such as with an illegal address: every later call on it will fail too.

    Running out of memory is another error: the next call may succeed.
    """
    return isinstance(error, torch.AcceleratorError)


class DeviceTimer:
    """Measures work on a device; as many measurements may overlap as one likes, each stands for itself.

    On CUDA two events are recorded on the current stream: the host clock would only tell how long it took to queue the
    kernels. Events that have been read are used again. On the CPU it is a monotonic clock.
    """

    def __init__(self, device: torch.device) -> None:
        self.clock = "cuda_events" if device.type == "cuda" else "perf_counter"
        self._free: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def start(self) -> "HostMeasurement | DeviceMeasurement":
        """Begin to measure what the current stream, or this thread, does from here on."""
        if self.clock == "perf_counter":
            return HostMeasurement()
        events = self._free.pop() if self._free else (_event(), _event())
        return DeviceMeasurement(events, self._free)


class HostMeasurement:
    """Time on the host between its making and `stop`."""

    __slots__ = ("_begin", "_end")

    def __init__(self) -> None:
        self._begin = self._end = time.perf_counter()

    def stop(self) -> None:
        """The work has been done."""
        self._end = time.perf_counter()

    def elapsed_ms(self) -> float:
        """Milliseconds between start and stop."""
        return (self._end - self._begin) * 1e3


class DeviceMeasurement:
    """Time on the device between two events of its current stream."""

    __slots__ = ("_events", "_free")

    def __init__(
        self,
        events: tuple[torch.cuda.Event, torch.cuda.Event],
        free: list[tuple[torch.cuda.Event, torch.cuda.Event]],
    ) -> None:
        self._events, self._free = events, free
        events[0].record()

    def stop(self) -> None:
        """All work has been queued."""
        self._events[1].record()

    def elapsed_ms(self) -> float:
        """Milliseconds between start and stop, once the device has got there; to be asked once, the events move on."""
        begin, end = self._events
        end.synchronize()
        elapsed: float = begin.elapsed_time(end)
        self._free.append(self._events)
        return elapsed


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)
