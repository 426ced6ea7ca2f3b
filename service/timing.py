"""What one request cost: the struct that feeds the reply's `latency` block and its `Server-Timing` header."""

from dataclasses import dataclass


def microseconds(seconds: float) -> int:
    """Whole microseconds, rounded down, so that the parts of a sum never exceed their total."""
    return int(seconds * 1e6)


@dataclass(slots=True)
class Latency:
    """The cost of one request; each part is the sum over the passes that served it.

    `queue_us` lasts from the request's arrival to the start of its first pass, `total_us` from its arrival to the
    making of the reply. `batch_size` counts all the texts in those passes, those of other requests included, because
    the pass is shared: without it `inference_us` could not be judged.
    """

    device: str = ""
    clock: str = ""
    inference_us: int = 0
    tokenize_us: int = 0
    queue_us: int = 0
    total_us: int = 0
    batch_size: int = 0
    passes: int = 0
    tokens: int = 0  # of the request's own texts
    longest: int = 0  # tokens of the longest of them

    def json(self) -> bytes:
        """The `latency` block: milliseconds with microsecond resolution.

        >>> Latency("cpu", "perf_counter", 118, 51, 412, 730, 8, 1).json()[:64]
        b'{"device":"cpu","clock":"perf_counter","inference_ms":0.118,"tok'
        """
        return (
            f'{{"device":"{self.device}","clock":"{self.clock}",'
            f'"inference_ms":{self.inference_us / 1e3:.3f},"tokenize_ms":{self.tokenize_us / 1e3:.3f},'
            f'"queue_ms":{self.queue_us / 1e3:.3f},"total_ms":{self.total_us / 1e3:.3f},'
            f'"batch_size":{self.batch_size},"passes":{self.passes}}}'
        ).encode()

    def server_timing(self) -> bytes:
        """The value of the `Server-Timing` header (W3C Server Timing, milliseconds).

        >>> Latency("cpu", "perf_counter", 118, 51, 412, 730, 8, 1).server_timing()
        b'queue;dur=0.412, tokenize;dur=0.051, inference;dur=0.118, total;dur=0.730'
        """
        return (
            f"queue;dur={self.queue_us / 1e3:.3f}, tokenize;dur={self.tokenize_us / 1e3:.3f}, "
            f"inference;dur={self.inference_us / 1e3:.3f}, total;dur={self.total_us / 1e3:.3f}"
        ).encode()
