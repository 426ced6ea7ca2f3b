"""One request on its way through the passes."""

import asyncio
from collections.abc import Callable

from .errors import ClientGoneError, ErrorType, ServiceError
from .timing import Latency, microseconds
from .wire import Answer, Options


class Job:
    """The texts of one request, what they have become so far, and the future that its handler awaits.

    `gone` tells whether the client has hung up; a job is asked when its turn comes, so that nobody has to listen.
    """

    __slots__ = ("alone", "answered", "arrived", "done", "fragments", "gone", "latency", "model", "options", "texts")

    def __init__(
        self,
        texts: list[str],
        options: Options,
        arrived: float,
        done: "asyncio.Future[None]",
        gone: Callable[[], bool],
    ) -> None:
        self.texts = texts
        self.options = options
        self.arrived = arrived  # time.monotonic()
        self.done = done
        self.gone = gone
        self.fragments: list[bytes] = []  # predictions as JSON, of one or more texts each
        self.answered = 0  # texts
        self.latency = Latency()
        self.model: dict[str, str] = {}
        self.alone = False  # a worker died on it: it must not take others along a second time

    @property
    def remaining(self) -> int:
        """Texts without an answer."""
        return len(self.texts) - self.answered

    def wanted(self) -> bool:
        """Whether somebody still waits: its deadline may have passed, its client may have gone."""
        if not self.done.done() and self.gone():
            self.done.set_exception(ClientGoneError())
        return not self.done.done()

    def answer_with(self, model: dict[str, str]) -> None:
        """Have the next pass made by `model`: one model answers all of a request, if need be from the start."""
        if self.answered and self.model != model:
            self.fragments.clear()
            self.answered = 0
        self.model = model

    def take(self, answer: Answer, share: int, count: int) -> None:
        """Add what `answer` says of its `share`, which holds the next `count` texts of this job."""
        if share in answer.errors:
            place, message = answer.errors[share]
            return self.fail(ErrorType.INTERNAL, f"inputs[{self.answered + place}]: {message}")
        latency = self.latency
        if not latency.passes:
            latency.device, latency.clock = answer.device, answer.clock
            latency.queue_us = microseconds(answer.started - self.arrived)
        latency.tokenize_us += microseconds(answer.tokenize_ms / 1e3)
        latency.inference_us += microseconds(answer.inference_ms / 1e3)
        # With nothing answered these are the first texts, even if another model has had them before.
        latency.tokens = answer.tokens[share] + (latency.tokens if self.answered else 0)
        latency.batch_size += answer.batch_size
        latency.passes += answer.passes
        self.fragments.append(answer.fragments[share])
        self.answered += count
        return None

    def fail(self, error_type: ErrorType, message: str) -> None:
        """End the job with an error, unless it has ended already."""
        if not self.done.done():
            self.done.set_exception(ServiceError(error_type, message))
