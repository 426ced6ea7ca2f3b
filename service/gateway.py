"""An API process' side of the sockets to the workers.

Every API process listens on a Unix socket of its own; every worker connects to all of them once it is ready. A worker
that dies closes its connections, whatever killed it, so that its requests are known at once; the one started in its
place connects anew, and never meets half a message of the old one.
"""

import asyncio
import logging
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from .batcher import Batcher
from .wire import FrameReader, Hello, Task, decode_answer, decode_hello, encode_task, frame

_logger = logging.getLogger(__name__)


class WorkerLink(asyncio.Protocol):
    """The connection of one worker: first its hello, then one answer for each task."""

    hello: Hello
    _transport: asyncio.Transport

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._reader = FrameReader()
        self._greeted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The worker has connected."""
        self._transport = transport  # type: ignore[assignment]  # a stream's transport writes

    def data_received(self, data: bytes) -> None:
        """Take whatever has arrived, whole messages or not."""
        for payload in self._reader.feed(data):
            if self._greeted:
                self._gateway.batcher.answered(self, decode_answer(payload))
            else:
                self._greeted = True
                self.hello = decode_hello(payload)
                self._gateway.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The worker has ended, or is about to."""
        self._gateway.lost(self)

    def send(self, task: Task) -> None:
        """Put `task` on its way."""
        self._transport.write(frame(encode_task(task)))

    def close(self) -> None:
        """Hang up; the worker ends once every API process has."""
        self._transport.close()

    def kill(self) -> None:
        """End the worker at once; its connection is lost then, and another is started in its place."""
        _logger.error("worker %d (pid %d) hangs; killing it", self.hello.worker, self.hello.pid)
        with suppress(ProcessLookupError):
            os.kill(self.hello.pid, signal.SIGKILL)


class Gateway:
    """What the routes of one API process know of the workers.

    The workers of a new checkpoint form a new generation: they wait until all of them have come, then take over.
    """

    def __init__(self, batcher: Batcher, expected_workers: int) -> None:
        self.batcher = batcher
        self.draining = False
        self.generation = 0
        self._expected_workers = expected_workers
        self._coming: list[WorkerLink] = []  # of the next generation
        self._complete = asyncio.Event()  # each generation has its own

    @property
    def hellos(self) -> list[Hello]:
        """The workers that are ready, in their order."""
        return sorted((link.hello for link in self.batcher.links), key=lambda hello: hello.worker)

    @property
    def ready(self) -> bool:
        """Whether every worker has answered a real inference, and the service is not shutting down."""
        return not self.draining and len(self.batcher.links) == self._expected_workers

    @asynccontextmanager
    async def listening(self, listener: socket.socket) -> AsyncIterator[None]:
        """Serve with the workers that connect to `listener`; entered when all have come."""
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(lambda: WorkerLink(self), sock=listener)
        try:
            await self._complete.wait()
            yield
        finally:
            server.close()
            for link in (*self.batcher.links, *self._coming):
                link.close()

    async def reached(self, generation: int) -> None:
        """Wait until the workers of that generation answer."""
        while self.generation < generation:
            await self._complete.wait()

    def joined(self, link: WorkerLink) -> None:
        """A worker is ready."""
        if link.hello.generation == self.generation:
            for other in self.batcher.links:
                if other.hello.worker == link.hello.worker:
                    other.kill()  # the process that workers fork from has died: nobody watches its workers any more
            self.batcher.joined(link)
            if len(self.batcher.links) == self._expected_workers:
                self._complete.set()
        elif link.hello.generation < self.generation:
            link.close()  # it was being restarted while another checkpoint took over
        else:
            self._coming = [other for other in self._coming if other.hello.generation == link.hello.generation]
            self._coming.append(link)
            if len(self._coming) == self._expected_workers:
                self._switch()

    def lost(self, link: WorkerLink) -> None:
        """A worker has ended."""
        if link in self._coming:
            self._coming.remove(link)
        else:
            self.batcher.lost(link)

    def _switch(self) -> None:
        coming, self._coming = self._coming, []
        self.generation = coming[0].hello.generation
        for link in list(self.batcher.links):
            self.batcher.retire(link)
        for link in coming:
            self.batcher.joined(link)
        self._complete.set()
        self._complete = asyncio.Event()


class Rendezvous:
    """The listening sockets of all API processes, made before any process is started."""

    def __init__(self, count: int) -> None:
        # Only the owner may enter this folder, so nobody else can connect.
        self._folder = tempfile.TemporaryDirectory(prefix="textcnn-")
        self.addresses = [str(Path(self._folder.name) / f"api-{index}.socket") for index in range(count)]
        self.listeners = [_listen(address) for address in self.addresses]

    def close(self) -> None:
        """Remove the sockets."""
        for listener in self.listeners:
            listener.close()
        self._folder.cleanup()


def _listen(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(address)
    listener.listen()
    return listener
