"""How an API process takes new connections: many in a turn of its event loop, of which uvicorn's listening takes one.

A turn of a busy process lasts milliseconds, so that a hundred clients that come at once would wait for a second.
"""

import asyncio
import errno
import socket
from typing import Any

_AT_ONCE = 16  # connections in a turn; the other API processes want some too
_REST_S = 0.1  # after an accept that failed, as for want of descriptors: the queue would wake the loop again at once


class Acceptor:
    """Takes connections from `listener` for uvicorn's `server`, beside its own listening."""

    def __init__(self, listener: socket.socket, server: Any) -> None:
        self._listener = listener
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._watched = listener.dup()  # the loop watches the listener's own descriptor for uvicorn
        self._begun: set[asyncio.Task[Any]] = set()

    def start(self) -> None:
        """Take connections as they come."""
        self._listener.setblocking(False)
        self._loop.add_reader(self._watched, self._take_some)

    def stop(self) -> None:
        """Take no more by itself."""
        self._loop.remove_reader(self._watched)
        self._watched.close()

    def take(self, most: float) -> bool:
        """Take `most` of the connections that wait, or all; False where that failed."""
        try:
            while most > 0:
                connection, _ = self._listener.accept()
                connection.setblocking(False)
                task = self._loop.create_task(self._loop.connect_accepted_socket(self._protocol, connection))
                self._begun.add(task)
                task.add_done_callback(self._begun.discard)
                most -= 1
        except OSError as error:
            return error.errno in (errno.EAGAIN, errno.ECONNABORTED)
        return True

    def _take_some(self) -> None:
        if not self.take(_AT_ONCE):
            self._loop.remove_reader(self._watched)
            self._loop.call_later(_REST_S, self._resume)

    def _resume(self) -> None:
        if self._watched.fileno() >= 0:  # else it has been stopped meanwhile
            self.start()

    def _protocol(self) -> asyncio.Protocol:
        server = self._server
        protocol: asyncio.Protocol = server.config.http_protocol_class(
            config=server.config, server_state=server.server_state, app_state=server.lifespan.state
        )
        return protocol
