"""Gathers the texts that wait while a pass is under way, and sends them as one pass to a free worker.

A lone request is sent at once. Waiting requests share a pass evenly, so a list of thousands of texts goes through in
turns and never keeps a single text waiting for all of it.
"""

import asyncio
from collections import deque
from typing import Protocol

from .errors import ErrorType, ServiceError
from .timing import Latency, microseconds
from .wire import Answer, Hello, Task


class Link(Protocol):
    """The way to one worker."""

    hello: Hello

    def send(self, task: Task) -> None:
        """Put `task` on its way; the answer comes to `Batcher.answered`."""

    def close(self) -> None:
        """Hang up."""


class Job:
    """One request: its texts, what they have become so far, and the future that its handler awaits."""

    __slots__ = ("alone", "arrived", "done", "fragments", "latency", "model", "texts", "top_k")

    def __init__(self, texts: list[str], top_k: int | None, arrived: float, done: "asyncio.Future[None]") -> None:
        self.texts = texts
        self.top_k = top_k
        self.arrived = arrived
        self.done = done
        self.fragments: list[bytes] = []
        self.latency = Latency()
        self.model: dict[str, str] = {}
        self.alone = False  # a worker died on it: it must not take others along a second time

    @property
    def remaining(self) -> int:
        """Texts without an answer."""
        return len(self.texts) - len(self.fragments)

    def take(self, answer: Answer, start: int, count: int, model: dict[str, str]) -> None:
        """Add the `count` fragments of `answer` that belong to this job."""
        for index in range(start, start + count):
            if index in answer.errors:
                position = len(self.fragments) + index - start
                return self.fail(ErrorType.INTERNAL, f"inputs[{position}]: {answer.errors[index]}")
        latency = self.latency
        if not latency.passes:
            latency.device, latency.clock = answer.device, answer.clock
            latency.queue_us = microseconds(answer.started - self.arrived)
        latency.tokenize_us += microseconds(answer.tokenize_ms / 1e3)
        latency.inference_us += microseconds(answer.inference_ms / 1e3)
        latency.batch_size += answer.batch_size
        latency.passes += answer.passes
        self.model = model
        self.fragments += answer.fragments[start : start + count]
        return None

    def fail(self, error_type: ErrorType, message: str) -> None:
        """End the job with an error, unless it has ended already."""
        if not self.done.done():
            self.done.set_exception(ServiceError(error_type, message))


class Batcher:
    """The waiting requests and the workers of one API process."""

    def __init__(self, max_batch_size: int, max_waiting_texts: int) -> None:
        self.links: list[Link] = []
        self.in_flight = 0  # texts accepted and not answered
        self.closing = False  # no worker will come any more
        self._max_batch_size = max_batch_size
        self._max_waiting_texts = max_waiting_texts
        self._waiting: deque[Job] = deque()
        self._idle: deque[Link] = deque()
        self._passes: dict[Link, list[tuple[Job, int]]] = {}

    async def classify(self, texts: list[str], top_k: int | None, arrived: float, timeout: float) -> Job:
        """The finished job for `texts`; raises `ServiceError` after `timeout` seconds, or when overloaded."""
        self._admit(len(texts))
        loop = asyncio.get_running_loop()
        job = Job(texts, top_k, arrived, loop.create_future())
        timer = loop.call_later(timeout, job.fail, ErrorType.DEADLINE_EXCEEDED, _too_late(timeout))
        self._waiting.append(job)
        self._dispatch()
        try:
            await job.done
        finally:
            timer.cancel()
            self.in_flight -= len(texts)
        return job

    def _admit(self, count: int) -> None:
        if self.in_flight and self.in_flight + count > self._max_waiting_texts:
            raise ServiceError(
                ErrorType.OVERLOADED,
                f"inputs: at most {self._max_waiting_texts} texts may be in flight, {self.in_flight} are and"
                f" {count} more came",
            )
        self.in_flight += count

    def joined(self, link: Link) -> None:
        """A worker is ready."""
        self.links.append(link)
        self._idle.append(link)
        self._dispatch()

    def answered(self, link: Link, answer: Answer) -> None:
        """A pass has ended: the worker gets the next one before the requests of this one are replied to."""
        finished = []
        start = 0
        for job, count in self._passes.pop(link):
            job.take(answer, start, count, link.hello.model)
            start += count
            if not job.remaining:
                finished.append(job)
            else:
                self._waiting.append(job)
        self._idle.append(link)
        self._dispatch()
        for job in finished:
            if not job.done.done():
                job.done.set_result(None)

    def lost(self, link: Link) -> None:
        """A worker is gone: its requests are tried once more, each in a pass of its own."""
        if link not in self.links:
            return
        self.links.remove(link)
        if link in self._idle:
            self._idle.remove(link)
        for job, _ in reversed(self._passes.pop(link, [])):
            if job.alone:
                job.fail(ErrorType.INTERNAL, "inputs: the worker ended twice while classifying them")
            else:
                job.alone = True
                self._waiting.appendleft(job)
        if self.closing and not self.links:
            for job in self._waiting:
                job.fail(ErrorType.OVERLOADED, "service: it must be up, it is shutting down")
        self._dispatch()

    def _dispatch(self) -> None:
        while self._idle and (shares := self._gather()):
            link = self._idle.popleft()
            self._passes[link] = shares
            texts: list[str] = []
            top_k: list[int | None] = []
            for job, count in shares:
                first = len(job.fragments)
                texts += job.texts[first : first + count]
                top_k += [job.top_k] * count
            link.send(Task(texts, top_k))

    def _gather(self) -> list[tuple[Job, int]]:
        """The next pass: jobs with the number of their texts in it, shared evenly, what is left over in order."""
        jobs = self._next_jobs()
        if not jobs:
            return []
        fair = self._max_batch_size // len(jobs)
        counts = [min(job.remaining, fair) for job in jobs]
        room = self._max_batch_size - sum(counts)
        for index, job in enumerate(jobs):
            extra = min(job.remaining - counts[index], room)
            counts[index] += extra
            room -= extra
        return list(zip(jobs, counts, strict=True))

    def _next_jobs(self) -> list[Job]:
        jobs: list[Job] = []
        while self._waiting and len(jobs) < self._max_batch_size:
            job = self._waiting[0]
            if not job.done.done() and job.alone:
                return jobs or [self._waiting.popleft()]
            self._waiting.popleft()
            if not job.done.done():  # its deadline may have passed, its client may have gone
                jobs.append(job)
        return jobs


def _too_late(timeout: float) -> str:
    return f"deadline: the answer must be ready within {timeout * 1e3:g} ms, it was not"
