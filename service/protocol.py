"""uvicorn's HTTP protocol, with bounds on what comes before a request is known: its head."""

import asyncio
import re

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD_BYTES = 65_536
HEAD_S = 60.0  # seconds from the connection, or from the first byte of a later head, to its end
_UPGRADE = re.compile(rb"\r\nupgrade(?=:)", re.IGNORECASE)


class BoundedHttpProtocol(HttpToolsProtocol):
    """Refuses a head that is too long and hangs up on one that takes too long; other requests cost nothing more."""

    _head_is_open = True
    _body_is_open = _message_has_ended = False
    _head_bytes = 0
    _giving_up: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A client has connected; it may not stay for ever without a request."""
        super().connection_made(transport)
        self._start_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        super().connection_lost(exc)
        self._stop_waiting()

    def data_received(self, data: bytes) -> None:
        """Some bytes have come: the end of a head, part of one, or neither."""
        body_came_first, self._message_has_ended = self._body_is_open, False
        super().data_received(data if body_came_first else _without_upgrade(data))
        if not self._head_is_open:
            self._stop_waiting()
            return
        self._head_bytes += 0 if self._message_has_ended else len(data)  # some of it belongs to the request before
        if self._head_bytes > MOST_HEAD_BYTES:
            self.send_400_response(f"Header: must be at most {MOST_HEAD_BYTES} bytes, got more.")
        elif self._giving_up is None:
            self._start_waiting()

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._head_is_open, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        """It has ended."""
        self._head_is_open, self._body_is_open = False, True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """So has the body, if there is one."""
        self._body_is_open, self._message_has_ended = False, True
        super().on_message_complete()

    def _start_waiting(self) -> None:
        self._giving_up = self.loop.call_later(HEAD_S, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None


def _without_upgrade(data: bytes) -> bytes:
    """`data` with another name for a header `Upgrade` of the head that it begins with.

    A server may ignore the wish for another protocol (RFC 9110, 7.8), as of `curl --http2` and Java's client for
    HTTP/2. The parser does not: it takes what follows the head for that protocol, and the request loses its body.
    """
    found = _UPGRADE.search(data, 0, data.find(b"\r\n\r\n") + 1 or len(data))
    return data if found is None else data[: found.start()] + b"\r\nx-upgrd" + data[found.end() :]
