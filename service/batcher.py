"""Gathers the texts that wait while a pass is under way, and sends them as one pass to a free worker.

A lone request is sent at once. Waiting requests share a pass evenly, so a list of thousands of texts goes through in
turns and never keeps a single text waiting for all of it.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from .errors import ErrorType, ServiceError
from .job import Job
from .metrics import Metrics
from .wire import Answer, Hello, Options, Task

_WAITING_CHARACTERS = 64_000_000  # accepted and not answered: 256 MB at most, in texts of 100,000 each 640 of them
_PASS_CHARACTERS = 100_000  # a tenth of a second for the tokenizer, two where normalisation makes 18 of each


class Link(Protocol):
    """The way to one worker."""

    hello: Hello

    def send(self, task: Task) -> None:
        """Put `task` on its way; the answer comes to `Batcher.answered`."""

    def close(self) -> None:
        """Hang up."""

    def kill(self) -> None:
        """End the worker, which has hung; `Batcher.lost` follows."""


class Pass:
    """The shares of one pass and the moment at which it was sent."""

    __slots__ = ("overdue", "sent", "shares")

    def __init__(self, shares: list[tuple[Job, int]]) -> None:
        self.shares = shares
        self.sent = time.monotonic()
        self.overdue = False


class Batcher:
    """The waiting requests and the workers of one API process."""

    def __init__(self, max_batch_size: int, max_waiting_texts: int, pass_timeout_s: float, metrics: Metrics) -> None:
        self.links: list[Link] = []
        self.in_flight = 0  # texts accepted and not answered
        self._characters = 0  # of them
        self.closing = False  # no worker will come any more
        self._max_batch_size = max_batch_size
        self._max_waiting_texts = max_waiting_texts
        self._pass_timeout_s = pass_timeout_s
        self._metrics = metrics
        self._waiting: deque[Job] = deque()
        self._idle: deque[Link] = deque()
        self._passes: dict[Link, Pass] = {}
        self._watchdog: asyncio.TimerHandle | None = None

    async def classify(self, texts: list[str], options: Options, arrived: float, gone: Callable[[], bool]) -> Job:
        """The finished job for `texts`; cancel the call to give the request up.

        Raises `ServiceError`, or `ClientGoneError` if `gone()` when the request's turn comes.
        """
        characters = sum(map(len, texts))
        self._admit(len(texts), characters)
        job = Job(texts, options, arrived, asyncio.get_running_loop().create_future(), gone)
        self._waiting.append(job)
        self._dispatch()
        try:
            await job.done
        except asyncio.CancelledError:
            with suppress(ValueError):  # else it is in a pass, or one has just ended
                self._waiting.remove(job)  # its texts, which count no more, would stay while no worker comes
            raise
        finally:
            self.in_flight -= len(texts)
            self._characters -= characters
        return job

    def _admit(self, count: int, characters: int) -> None:
        if self.in_flight and self.in_flight + count > self._max_waiting_texts:
            raise ServiceError(
                ErrorType.OVERLOADED,
                f"inputs: at most {self._max_waiting_texts} texts may be in flight, {self.in_flight} are and"
                f" {count} more came",
            )
        if self.in_flight and self._characters + characters > _WAITING_CHARACTERS:
            raise ServiceError(
                ErrorType.OVERLOADED,
                f"inputs: at most {_WAITING_CHARACTERS} characters may be in flight, {self._characters} are and"
                f" {characters} more came",
            )
        self.in_flight += count
        self._characters += characters

    def joined(self, link: Link) -> None:
        """A worker is ready."""
        self.links.append(link)
        self._idle.append(link)
        self._dispatch()

    def retire(self, link: Link) -> None:
        """Hang up once the worker's pass has ended: another checkpoint takes over."""
        self.links.remove(link)
        if link in self._idle:
            self._idle.remove(link)
            link.close()

    def answered(self, link: Link, answer: Answer) -> None:
        """A pass has ended: the worker gets the next one before the requests of this one are replied to."""
        finished = []
        self._metrics.passed(answer.batch_size)
        for share, (job, count) in enumerate(self._passes.pop(link).shares):
            job.take(answer, share, count)
            if not job.remaining:
                finished.append(job)
            else:
                self._waiting.append(job)
        if link in self.links:
            self._idle.append(link)
        else:
            link.close()
        self._dispatch()
        for job in finished:
            if not job.done.done():
                job.done.set_result(None)

    def lost(self, link: Link) -> None:
        """A worker is gone: its requests are tried once more, each in a pass of its own."""
        if link in self.links:
            self.links.remove(link)
        if link in self._idle:
            self._idle.remove(link)
        for job, _ in reversed(self._passes.pop(link).shares if link in self._passes else []):
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
        while self._idle and (shares := self._gather(self._idle[0].hello)):
            link = self._idle.popleft()
            self._passes[link] = Pass(shares)
            texts: list[str] = []
            for job, count in shares:
                texts += job.texts[job.answered : job.answered + count]
            link.send(Task(texts, [count for _, count in shares], [job.options for job, _ in shares]))
            if self._watchdog is None:
                self._watch(self._pass_timeout_s)

    def _gather(self, hello: Hello) -> list[tuple[Job, int]]:
        """The next pass: jobs with the number of their texts in it, shared evenly, what is left over in order."""
        jobs: list[Job] = []
        while not jobs:
            found = self._next_jobs()
            if not found:
                return []
            jobs = [job for job in found if job.answer_with(hello)]
        fair = self._max_batch_size // len(jobs)
        counts = [min(job.remaining, fair) for job in jobs]
        room = self._max_batch_size - sum(counts)
        for index, job in enumerate(jobs):
            if not room:
                break
            extra = min(job.remaining - counts[index], room)
            counts[index] += extra
            room -= extra
        return self._within_characters(jobs, counts)

    def _within_characters(self, jobs: list[Job], counts: list[int]) -> list[tuple[Job, int]]:
        """As much of a pass as has `_PASS_CHARACTERS`, one text at least; the jobs behind that stay the next ones."""
        shares: list[tuple[Job, int]] = []
        room = _PASS_CHARACTERS
        for place, (job, count) in enumerate(zip(jobs, counts, strict=True)):
            fitting = 0
            for text in job.texts[job.answered : job.answered + count]:
                room -= len(text)
                if room < 0 and (shares or fitting):
                    break
                fitting += 1
            if fitting:
                shares.append((job, fitting))
            if fitting < count:
                self._waiting.extendleft(reversed(jobs[place + bool(fitting) :]))
                break
        return shares

    def _next_jobs(self) -> list[Job]:
        jobs: list[Job] = []
        while self._waiting and len(jobs) < self._max_batch_size:
            job = self._waiting[0]
            if not job.wanted():
                self._waiting.popleft()
            elif job.alone:
                return jobs or [self._waiting.popleft()]
            else:
                jobs.append(self._waiting.popleft())
        return jobs

    def _watch(self, seconds: float) -> None:
        self._watchdog = asyncio.get_running_loop().call_later(seconds, self._kill_hung)

    def _kill_hung(self) -> None:
        """End workers that have been at a pass for too long; look again when the next one would have been.

        Nobody is killed at first sight: if this process itself was held up, the answers lie in its sockets unread.
        """
        self._watchdog = None
        now = time.monotonic()
        for link, one in self._passes.items():
            if one.overdue:
                link.kill()
            one.overdue = one.sent + self._pass_timeout_s <= now
        if self._passes:
            next_due = min(one.sent for one in self._passes.values()) + self._pass_timeout_s
            self._watch(max(next_due - now, self._pass_timeout_s / 10))
