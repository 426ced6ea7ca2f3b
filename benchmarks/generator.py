"""An HTTP load generator that costs little: one thread, epoll, ready-made requests, only the head of a reply is read.

On 2 cores the generator shares them with what it measures, so its own microseconds count: `own_cost_us` tells them.
"""

import random
import selectors
import socket
import time
from array import array
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

CONNECTIONS = 512  # at most, of the open loop
_HEAD_END = b"\r\n\r\n"


@dataclass
class Outcome:
    """What the clients saw."""

    seconds: float = 0.0
    latencies: "array[float]" = field(default_factory=lambda: array("d"))  # seconds, of replies with status 200
    refusals: "array[float]" = field(default_factory=lambda: array("d"))  # seconds, of replies with status 503
    statuses: dict[int, int] = field(default_factory=dict)

    def add(self, other: "Outcome") -> None:
        """Pool another run with this one."""
        self.seconds += other.seconds
        self.latencies += other.latencies
        self.refusals += other.refusals
        for status, count in other.statuses.items():
            self.statuses[status] = self.statuses.get(status, 0) + count

    def summary(self) -> dict[str, Any]:
        """Requests a second and percentiles in milliseconds."""
        return {
            "requests_per_s": round(len(self.latencies) / self.seconds, 1),
            **{f"p{share}_ms": percentile_ms(self.latencies, share) for share in (50, 95, 99)},
            "statuses": self.statuses,
        }


def percentile_ms(seconds: "array[float]", share: float) -> float:
    """The percentile in milliseconds; nearest rank."""
    ordered = sorted(seconds)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))] * 1e3, 3) if ordered else 0.0


def requests_for(bodies: Sequence[bytes], path: str = "/predict") -> list[bytes]:
    """Complete HTTP requests, ready to be sent."""
    head = b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return [head % (path.encode(), len(body)) + body for body in bodies]


class Connection:
    """One keep-alive connection with at most one request on its way."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.since = 0.0  # when the request was due
        self._buffer = b""
        self._missing = -1  # bytes of the body, once the head has been read
        self._status = 0

    def send(self, request: bytes, since: float) -> None:
        """Put `request` on its way; requests are far smaller than any socket buffer."""
        self.since = since
        self.socket.send(request)

    def read(self) -> int:
        """The reply's status once it is complete, else 0; raises `ConnectionError` when the server has hung up."""
        chunk = self.socket.recv(262144)
        if not chunk:
            raise ConnectionResetError("the server has closed the connection")
        if self._missing < 0:
            self._buffer += chunk
            end = self._buffer.find(_HEAD_END)
            if end < 0:
                return 0
            self._status, length = _read_head(self._buffer[:end])
            self._missing = length - (len(self._buffer) - end - len(_HEAD_END))
            self._buffer = b""
        else:
            self._missing -= len(chunk)
        if self._missing > 0:
            return 0
        self._missing = -1
        return self._status


def _read_head(head: bytes) -> tuple[int, int]:
    lowered = head.lower()
    start = lowered.index(b"content-length:") + 15
    end = lowered.find(b"\r\n", start)
    return int(head[9:12]), int(head[start : end if end > 0 else None])


class Generator:
    """Sends `requests` in random order to `address`."""

    def __init__(self, address: tuple[str, int], requests: Sequence[bytes], seed: int = 0) -> None:
        self._address = address
        self._requests = requests
        self._random = random.Random(seed)
        self._selector = selectors.DefaultSelector()

    def closed_loop(self, connections: int, seconds: float) -> Outcome:
        """Each of the clients sends its next request when it has its reply."""
        with closing(self):
            return self._closed_loop(connections, seconds)

    def _closed_loop(self, connections: int, seconds: float) -> Outcome:
        outcome = Outcome()
        for _ in range(connections):
            self._open().send(self._next(), time.perf_counter())
        start = time.perf_counter()
        end = start + seconds
        while (now := time.perf_counter()) < end:
            for key, _ in self._selector.select(0.1):
                connection: Connection = key.data
                if self._take(connection, outcome):
                    connection.send(self._next(), time.perf_counter())
        outcome.seconds = now - start
        return outcome

    def open_loop(self, rate: float, seconds: float) -> Outcome:
        """Requests come at random moments, `rate` a second on average, whatever becomes of those before.

        Latency counts from the moment at which a request was due, so that a late generator is no excuse.
        """
        with closing(self):
            return self._open_loop(rate, seconds)

    def _open_loop(self, rate: float, seconds: float) -> Outcome:
        outcome = Outcome()
        idle: deque[Connection] = deque(self._open() for _ in range(8))
        overdue: deque[float] = deque()
        start = due = time.perf_counter()
        end, opened, waiting = start + seconds, len(idle), 0
        while (now := time.perf_counter()) < end or waiting or overdue:
            while due <= now and due < end:
                overdue.append(due)
                due += self._random.expovariate(rate)
            while overdue and (idle or opened < CONNECTIONS):
                if not idle:
                    idle.append(self._open())
                    opened += 1
                idle.popleft().send(self._next(), overdue.popleft())
                waiting += 1
            for key, _ in self._selector.select(max(0.0, min(due - time.perf_counter(), 0.1))):
                if self._take(key.data, outcome):
                    waiting -= 1
                    idle.append(key.data)
            if now > end + 60:
                raise TimeoutError(f"{waiting + len(overdue)} requests have no reply a minute after the last was sent")
        outcome.seconds = time.perf_counter() - start  # until the last reply, not the last request
        return outcome

    def _open(self) -> Connection:
        connection = Connection(self._address)
        self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        return connection

    def close(self) -> None:
        """Close its connections; a loop does so at its end."""
        for key in list(self._selector.get_map().values()):
            self._selector.unregister(key.fileobj)
            key.data.socket.close()

    def _next(self) -> bytes:
        return self._random.choice(self._requests)

    def _take(self, connection: Connection, outcome: Outcome) -> bool:
        """Read from a connection; True when a reply is complete."""
        status = connection.read()
        if not status:
            return False
        taken = time.perf_counter() - connection.since
        outcome.statuses[status] = outcome.statuses.get(status, 0) + 1
        if status == 200:
            outcome.latencies.append(taken)
        elif status == 503:
            outcome.refusals.append(taken)
        return True
