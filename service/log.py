"""The access log: one JSON object a request on stdout, never a text of a client."""

import logging
import os
from datetime import UTC, datetime
from queue import SimpleQueue
from threading import Thread

from pydantic_core import to_json

from .exchange import Exchange

_LONGEST_PATH = 200  # characters; so a line is less than what a pipe takes as a whole
_MOST_WAITING = 10_000  # lines
_CLOSING_S = 1.0
_STDOUT = 1
_logger = logging.getLogger(__name__)


class AccessLog:
    """Writes a line as soon as a request has its reply; milliseconds are those of the reply.

    A thread writes, so that nobody who reads slowly, or not at all, holds up a request. Lines for which there is no
    more room are dropped, and nothing is written any more once nobody can read it; either is said once.
    """

    def __init__(self, descriptor: int = _STDOUT) -> None:
        self._descriptor = descriptor
        self._lines: SimpleQueue[bytes | None] = SimpleQueue()
        self._writer: Thread | None = None
        self._has_dropped = False

    def replied(self, exchange: Exchange) -> None:
        """Have the line of `exchange` written."""
        if self._writer is None:  # not before: no thread survives the fork of the API processes
            self._writer = Thread(target=self._write, name="access log", daemon=True)
            self._writer.start()
        if self._writer.is_alive() and self._lines.qsize() < _MOST_WAITING:
            self._lines.put(to_json(_entry(exchange)) + b"\n")
        elif not self._has_dropped:
            self._has_dropped = True
            _logger.warning("the access log is not complete: whoever reads it is too slow or gone")

    def close(self) -> None:
        """Wait for what is still to be written, for a second."""
        if self._writer is not None:
            self._lines.put(None)
            self._writer.join(_CLOSING_S)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                os.write(self._descriptor, line)
            except OSError:
                return


def _entry(exchange: Exchange) -> dict[str, object]:
    latency = exchange.latency
    entry: dict[str, object] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "request_id": exchange.request_id,
        "method": exchange.method,
        "path": exchange.path[:_LONGEST_PATH],
        "status": exchange.status,
        "total_ms": latency.total_us / 1e3,
    }
    if latency.passes:
        entry |= {
            "texts": exchange.texts,
            "queue_ms": latency.queue_us / 1e3,
            "tokenize_ms": latency.tokenize_us / 1e3,
            "inference_ms": latency.inference_us / 1e3,
            "batch_size": latency.batch_size,
            "model": exchange.model["name"],
            "revision": exchange.model["revision"],
        }
    return entry
