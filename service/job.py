"""One request on its way through the passes."""

import asyncio
from collections.abc import Callable
from typing import Any

from pydantic_core import from_json

from .errors import ClientGoneError, ErrorType, ServiceError
from .parsing import shorten
from .timing import Latency, microseconds
from .wire import Answer, Hello, Options


class Job:
    """The texts of one request, what they have become so far, and the future that its handler awaits.

    `gone` tells whether the client has hung up; a job is asked when its turn comes, so that nobody has to listen.
    """

    __slots__ = ("alone", "answered", "arrived", "done", "fragments", "gone", "hello", "latency", "options", "texts")
    hello: Hello  # of the worker that has answered it, or is about to

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
        self.alone = False  # a worker died on it: it must not take others along a second time

    @property
    def model(self) -> dict[str, str]:
        """Name and revision of the checkpoint that answers."""
        return self.hello.model

    @property
    def remaining(self) -> int:
        """Texts without an answer."""
        return len(self.texts) - self.answered

    def wanted(self) -> bool:
        """Whether somebody still waits: its deadline may have passed, its client may have gone."""
        if not self.done.done() and self.gone():
            self.done.set_exception(ClientGoneError())
        return not self.done.done()

    def answer_with(self, hello: Hello) -> bool:
        """Have the next pass made by that worker: one model answers all of a request, if need be from the start.

        False where it cannot: since the request came, a model without the label to explain has taken over.
        """
        if not hello.explains(self.options.explain_label):
            shown = repr(shorten(str(self.options.explain_label)))
            self.fail(ErrorType.VALIDATION, f"explain_label: must be a label of the model, got {shown}")
            return False
        if self.answered and self.model != hello.model:
            self.fragments.clear()
            self.answered = 0
        self.hello = hello
        return True

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
        if not self.answered:  # the first texts, even if another model has had them before
            latency.tokens = latency.longest = 0
        latency.tokens += answer.tokens[share]
        latency.longest = max(latency.longest, answer.longest[share])
        latency.batch_size += answer.batch_size
        latency.passes += answer.passes
        self.fragments.append(answer.fragments[share])
        self.answered += count
        return None

    def predictions(self) -> list[dict[str, Any]]:
        """What it has become, once it is done: for each text a prediction, as in the replies of `/predict`."""
        found: list[dict[str, Any]] = from_json(b"[%b]" % b",".join(self.fragments))
        return found

    def fail(self, error_type: ErrorType, message: str) -> None:
        """End the job with an error, unless it has ended already."""
        if not self.done.done():
            self.done.set_exception(ServiceError(error_type, message))
