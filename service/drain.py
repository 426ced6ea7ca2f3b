"""How an API process ends without losing a request.

It stops being ready, and its replies ask the clients to close their connections; then it takes the connections that the
kernel has accepted meanwhile and refuses new ones; then uvicorn waits for the last replies.
"""

import asyncio
import signal
import socket
from contextlib import suppress
from typing import Any

from .gateway import Gateway

GRACE_S = 0.5  # seconds for load balancers to see that /ready is false, and for clients to hang up
LAST_S = 0.2  # seconds for the last connections to send their requests


class Drain:
    """The end of one API process that listens on `listener`."""

    def __init__(self, gateway: Gateway, listener: socket.socket) -> None:
        self._gateway = gateway
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._late: set[asyncio.Task[Any]] = set()
        self._uvicorn_exit: Any = signal.getsignal(signal.SIGTERM)  # a method of uvicorn's server

    def on_sigterm(self) -> None:
        """Put the draining before uvicorn's own end; Ctrl-C is left to the main process, which then sends SIGTERM."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._loop.add_signal_handler(signal.SIGTERM, self.start)

    def start(self) -> None:
        """Stop being ready, then listening, then altogether."""
        if self._gateway.draining:
            return
        self._gateway.draining = self._gateway.batcher.closing = True
        # Another API process may be the first to stop listening on the socket that all share.
        self._loop.set_exception_handler(lambda *_: None)
        self._loop.call_later(GRACE_S, self._stop_listening)

    def _stop_listening(self) -> None:
        """Take who has connected already, then refuse: closing the socket alone would reset those in its queue."""
        with suppress(OSError):  # BlockingIOError when the queue is empty
            while True:
                connection, _ = self._listener.accept()
                connection.setblocking(False)
                self._late.add(self._loop.create_task(self._loop.connect_accepted_socket(self._protocol, connection)))
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._loop.call_later(LAST_S, self._uvicorn_exit, signal.SIGTERM, None)

    def _protocol(self) -> asyncio.Protocol:
        """uvicorn's, for a connection that its own listening missed."""
        server = self._uvicorn_exit.__self__
        protocol: asyncio.Protocol = server.config.http_protocol_class(
            config=server.config, server_state=server.server_state, app_state=server.lifespan.state
        )
        return protocol
