"""How an API process ends without losing a request.

It stops being ready, and its replies ask the clients to close their connections; then no new connection begins while
those that have begun are taken; then new ones are refused, and uvicorn waits for the last replies.
"""

import asyncio
import ctypes
import math
import signal
import socket
import struct
import sys
from contextlib import suppress
from typing import Any

from .gateway import Gateway
from .listening import Acceptor

GRACE_S = 0.5  # seconds for load balancers to see that /ready is false, and for clients to hang up
LAST_S = 0.4  # seconds for the last connections to be made, and again for them to send their requests
_SO_ATTACH_FILTER = 26  # Linux, asm-generic/socket.h
# Classic BPF: (code, jump if true, jump if false, constant), on the TCP header; what has the SYN flag is dropped.
_DROP_SYN = ((0x30, 0, 0, 13), (0x45, 1, 0, 2), (0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0))


class Drain:
    """The end of one API process that listens on `listener`."""

    def __init__(self, gateway: Gateway, listener: socket.socket) -> None:
        self._gateway = gateway
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        uvicorn_exit: Any = signal.getsignal(signal.SIGTERM)  # a method of uvicorn's server
        self._uvicorn_exit = uvicorn_exit
        self._acceptor = Acceptor(listener, uvicorn_exit.__self__)

    def on_sigterm(self) -> None:
        """Put the draining before uvicorn's own end; Ctrl-C is left to the main process, which then sends SIGTERM.

        Until then, connections are taken.
        """
        self._acceptor.start()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._loop.add_signal_handler(signal.SIGTERM, self.start)

    def start(self) -> None:
        """Stop being ready, then listening, then altogether."""
        if self._gateway.draining:
            return
        self._gateway.drain()
        # Another API process may be the first to stop listening on the socket that all share.
        self._loop.set_exception_handler(lambda *_: None)
        self._loop.call_later(GRACE_S, self._end_the_queue)

    def _end_the_queue(self) -> None:
        """No connection begins from now on, so that none can be reset between the last one taken and the refusal."""
        ignore_new_connections(self._listener)
        self._loop.call_later(LAST_S, self._stop_listening)

    def _stop_listening(self) -> None:
        """Take who has connected already, then refuse: closing the socket alone would reset those in its queue."""
        self._acceptor.stop()
        self._acceptor.take(math.inf)
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._loop.call_later(LAST_S, self._uvicorn_exit, signal.SIGTERM, None)


def ignore_new_connections(listener: socket.socket) -> None:
    """Let the kernel drop requests to connect, while handshakes that have begun come to their end.

    Who asks meanwhile asks again a second later, as TCP does. Only Linux can do it (socket(7), SO_ATTACH_FILTER);
    elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _DROP_SYN))
    with suppress(OSError):
        listener.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_DROP_SYN), ctypes.addressof(program))
        )
