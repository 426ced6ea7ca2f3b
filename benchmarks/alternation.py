"""Timing several ways to do one thing, in turns, so that whatever else the machine does falls on all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Item = TypeVar("Item")
TURN_SECONDS = 0.05  # a candidate's turn: long enough to measure it warm, short against the machine's moods
LEAST_TURNS = 20


def alternate(
    candidates: Mapping[str, Callable[[Item], object]], fresh: Callable[[], Item], seconds: float
) -> dict[str, dict[str, Any]]:
    """Median and 90th percentile in µs of each candidate, called in short turns for `seconds` in all.

    Every call gets new input, so that no table row is in the cache but those that texts have in common.
    """
    taken: dict[str, list[float]] = {name: [] for name in candidates}  # seconds
    end, turns = time.perf_counter() + seconds, 0
    while time.perf_counter() < end or turns < LEAST_TURNS:
        for name, candidate in candidates.items():
            taken[name] += _turn(candidate, fresh)
        turns += 1
    return {name: _summary(taken[name]) for name in candidates}


def _turn(candidate: Callable[[Item], object], fresh: Callable[[], Item]) -> list[float]:
    """Seconds of each call of one turn; the first, which finds another's caches, goes unmeasured."""
    candidate(fresh())
    taken: list[float] = []
    end = time.perf_counter() + TURN_SECONDS
    while not taken or time.perf_counter() < end:
        item = fresh()
        start = time.perf_counter()
        candidate(item)
        taken.append(time.perf_counter() - start)
    return taken


def _summary(taken: list[float]) -> dict[str, Any]:
    return {
        "p50_us": round(1e6 * statistics.median(taken), 1),
        "p90_us": round(1e6 * statistics.quantiles(taken, n=10)[-1], 1),
        "calls": len(taken),
    }
