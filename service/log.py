"""The access log: one JSON object a request on stdout, never a text of a client."""

import sys
from datetime import UTC, datetime

from pydantic_core import to_json

from .exchange import Exchange

_LONGEST_PATH = 200  # characters


class AccessLog:
    """Writes a line as soon as a request has its reply; milliseconds are those of the reply."""

    def replied(self, exchange: Exchange) -> None:
        """Write the line of `exchange`."""
        latency = exchange.latency
        entry = {
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
        sys.stdout.buffer.write(to_json(entry) + b"\n")
        sys.stdout.buffer.flush()

    def close(self) -> None:
        """Nothing is kept back."""
