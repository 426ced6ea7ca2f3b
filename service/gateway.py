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
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from model.errors import InputError

from .batcher import Batcher
from .config import Limits
from .errors import ErrorType, ServiceError
from .metrics import Metrics
from .parsing import shorten
from .pool import Pool
from .served import Served
from .shadow import WAITING_PASSES, Shadow
from .wire import FrameReader, Hello, Task, decode_answer, decode_hello, encode_task, frame

_logger = logging.getLogger(__name__)


class WorkerLink(asyncio.Protocol):
    """The connection of one worker: first its hello, then one answer for each task."""

    hello: Hello
    _transport: asyncio.Transport

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._reader = FrameReader()
        self._pool: Pool | None = None  # until it has said hello

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The worker has connected."""
        self._transport = transport  # type: ignore[assignment]  # a stream's transport writes

    def data_received(self, data: bytes) -> None:
        """Take whatever has arrived, whole messages or not."""
        for payload in self._reader.feed(data):
            if self._pool:
                self._pool.batcher.answered(self, decode_answer(payload))
            else:
                self.hello = decode_hello(payload)
                self._pool = self._gateway.pool_of(self.hello.worker)
                self._gateway.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The worker has ended, or is about to."""
        if self._pool:
            self._gateway.lost(self)

    def send(self, task: Task) -> None:
        """Put `task` on its way."""
        self._transport.write(frame(encode_task(task)))

    def close(self) -> None:
        """Hang up; the worker ends once every API process has."""
        self._transport.close()

    def kill(self) -> None:
        """End the worker at once; its connection is lost then, and another is started in its place."""
        _logger.error("killing worker %d (pid %d), which hangs or has been replaced", self.hello.worker, self.hello.pid)
        with suppress(ProcessLookupError):
            os.kill(self.hello.pid, signal.SIGKILL)


class Gateway:
    """What the routes of one API process know of the workers: a pool for each checkpoint, in their order.

    The workers of new checkpoints, of one model or of all, form a new generation: they wait until all of them have
    come, then take over.
    """

    def __init__(self, pools: Sequence[Pool], shadow: Shadow | None = None) -> None:
        self.pools = pools
        self.shadow = shadow
        self.answering = [pool for pool in pools if shadow is None or pool is not shadow.pool]
        self.draining = False
        self._coming: list[WorkerLink] = []  # of the next generation

    @property
    def hellos(self) -> list[Hello]:
        """The workers that are ready, in their order."""
        return [hello for pool in self.pools for hello in pool.hellos]

    @property
    def ready(self) -> bool:
        """Whether every worker that answers is ready, and the service is not shutting down."""
        return not self.draining and all(pool.ready for pool in self.answering)

    def pool(self, name: str | None) -> Pool:
        """Who answers for the model `name`, without a name the first one; raises `ServiceError` for an unknown one."""
        return self.answering[0] if name is None else find(self.answering, name)

    def pool_of(self, worker: int) -> Pool:
        """Whose worker that is: the pools have equally many, one pool's after the other's."""
        return self.pools[worker // self.pools[0].expected_workers]

    def joined(self, link: WorkerLink) -> None:
        """A worker is ready."""
        hello, pool = link.hello, self.pool_of(link.hello.worker)
        if hello.generation == pool.generation:
            pool.joined(link)
        elif hello.generation < pool.generation:
            link.close()  # it was being restarted while another checkpoint took over
        else:
            self._coming = [other for other in self._coming if other.hello.generation == hello.generation]
            self._coming.append(link)
            if len(self._coming) == hello.generation_size:
                self._switch()

    def lost(self, link: WorkerLink) -> None:
        """A worker has ended."""
        if link in self._coming:
            self._coming.remove(link)
        else:
            self.pool_of(link.hello.worker).batcher.lost(link)

    def _switch(self) -> None:
        coming, self._coming = self._coming, []
        for pool in self.pools:
            if links := [link for link in coming if self.pool_of(link.hello.worker) is pool]:
                pool.switch(links)

    def drain(self) -> None:
        """Be ready no more; no worker will come."""
        self.draining = True
        for pool in self.pools:
            pool.batcher.closing = True

    @asynccontextmanager
    async def listening(self, listener: socket.socket) -> AsyncIterator[None]:
        """Serve with the workers that connect to `listener`; entered when all have come."""
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(lambda: WorkerLink(self), sock=listener)
        try:
            for pool in self.pools:
                await pool.complete.wait()
            yield
        finally:
            server.close()
            for link in (*(link for pool in self.pools for link in pool.batcher.links), *self._coming):
                link.close()


def make_gateway(served: Sequence[Served], workers: int, limits: Limits, metrics: Metrics) -> Gateway:
    """A gateway to so many `workers` for each checkpoint."""
    pools, shadow = [], None
    for one in served:
        room = WAITING_PASSES * limits.max_batch_size if one.shadow else limits.max_waiting_texts
        counted = Metrics() if one.shadow else metrics  # its passes are no part of what requests have cost
        pools.append(Pool(Batcher(limits.max_batch_size, room, limits.pass_timeout_s, counted), workers))
        if one.shadow:
            shadow = Shadow(pools[-1], metrics)
    return Gateway(pools, shadow)


def find(pools: Sequence[Pool], name: str) -> Pool:
    """The pool whose model has that name; raises `ServiceError` if none has."""
    names = [pool.hello.model["name"] for pool in pools]
    if name not in names:
        raise ServiceError(
            ErrorType.NOT_FOUND, f"model: must be {' or '.join(map(repr, names))}, got {shorten(name)!r}"
        )
    return pools[names.index(name)]


class Rendezvous:
    """The listening sockets of all API processes, made before any process is started."""

    def __init__(self, count: int) -> None:
        # Only the owner may enter this folder, so nobody else can connect.
        self._folder = tempfile.TemporaryDirectory(prefix="textcnn-", ignore_cleanup_errors=True)
        self.folder = self._folder.name
        self.addresses = [str(Path(self.folder) / f"api-{index}.socket") for index in range(count)]
        self.listeners = [_listen(address) for address in self.addresses]

    @property
    def is_there(self) -> bool:
        """Whether a worker can find the sockets: a cleaner of temporary folders may have taken them."""
        return all(map(os.path.exists, self.addresses))

    def close(self) -> None:
        """Remove the sockets."""
        for listener in self.listeners:
            listener.close()
        self._folder.cleanup()


def _listen(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(address)
    except OSError as error:
        raise InputError(f"TMPDIR must be a folder for sockets, whose paths are short: {address!r}: {error}") from None
    listener.listen()
    return listener
