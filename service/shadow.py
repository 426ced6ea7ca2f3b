"""Shadow traffic: one model scores what others have answered, is compared with them, and never answers."""

import asyncio
import math
import time
from typing import Any

from .errors import ServiceError
from .job import Job
from .metrics import Metrics
from .pool import Pool
from .timing import microseconds
from .wire import Options

WAITING_PASSES = 4  # as many full ones may wait for the shadow in an API process; what comes then is dropped
_OPTIONS = Options(top_k=1)  # labels are compared, so that nobody has to write and read the other scores
_TOLERANCE = 0.01  # of a number: regressions agree within a hundredth of the larger one


class Shadow:
    """Compares the answers of `pool` with those that clients have got."""

    def __init__(self, pool: Pool, metrics: Metrics) -> None:
        self.pool = pool
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()  # asyncio itself keeps none alive

    def follow(self, job: Job) -> None:
        """Score the texts of an answered request too; nothing happens before its reply has been written."""
        task = asyncio.get_running_loop().create_task(self._compare(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _compare(self, job: Job) -> None:
        begin, name = time.monotonic(), job.model["name"]
        try:
            own = await self.pool.batcher.classify(job.texts, _OPTIONS, begin, lambda: False)
        except ServiceError:  # too busy, or it failed: its answers are nobody's business but the counters'
            self._metrics.dropped(name, len(job.texts))
            return
        own.latency.total_us = microseconds(time.monotonic() - begin)
        agreeing = sum(map(agree, job.predictions(), own.predictions()))
        self._metrics.compared(name, len(job.texts), agreeing, own.latency)


def agree(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two predictions have the same label, the same set of labels, or nearly the same number."""
    if "value" in one and "value" in other:
        return math.isclose(one["value"], other["value"], rel_tol=_TOLERANCE)
    return _said(one) == _said(other)


def _said(prediction: dict[str, Any]) -> object:
    labels = prediction.get("labels")
    return prediction.get("label") if labels is None else set(labels)
