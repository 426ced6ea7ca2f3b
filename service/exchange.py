"""What is known of one request once it has been replied to; metrics, access log and traces are drawn from it alone."""

import os
import re
import time
from dataclasses import dataclass, field
from typing import Protocol

from .timing import Latency

CLIENT_GONE = 499  # nginx's status for a client that hung up before its reply
OTHER_ROUTE = "other"
_ACCEPTABLE_ID = re.compile(rb"[\x21-\x7e]{1,128}")


@dataclass(slots=True)
class Exchange:
    """One request and what became of it. It holds no text, so that none can reach a log."""

    request_id: str
    method: str
    route: str  # the endpoint's; `OTHER_ROUTE` for those of the framework
    path: str
    headers: dict[bytes, bytes]
    arrived: float = field(default_factory=time.monotonic)
    status: int = 0
    texts: int = 0
    latency: Latency = field(default_factory=Latency)
    model: dict[str, str] = field(default_factory=dict)


class Observer(Protocol):
    """Gets every exchange of an API process: access log, traces."""

    def replied(self, exchange: Exchange) -> None:
        """A request has got its reply."""

    def close(self) -> None:
        """The process is about to end."""


def choose_request_id(headers: dict[bytes, bytes]) -> str:
    """The client's `X-Request-ID` if it is visible ASCII of at most 128 characters, else a new one."""
    given = headers.get(b"x-request-id")
    if given and _ACCEPTABLE_ID.fullmatch(given):
        return given.decode("ascii")
    return os.urandom(16).hex()
