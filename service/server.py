"""The LitServe server: its processes, from start to a clean end.

LitServe starts the workers (spawn) and the API processes (fork) and ends them. What it leaves open is closed here: a
worker that dies while it loads or later, SIGTERM, a second signal, hosts and ports of any kind.
"""

import gc
import multiprocessing
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from litserve import LitServer
from litserve.utils import WorkerSetupStatus

from .batcher import Batcher
from .config import Limits, ServiceArguments
from .drain import Drain
from .gateway import Gateway, Rendezvous
from .routes import install
from .supervisor import Supervisor
from .worker import EXIT_MISTAKE, ClassifierAPI, SocketLoop

KEEP_ALIVE_S = 75  # longer than the usual proxy keeps an idle connection, so that the proxy is the one to close it


class StartUpError(RuntimeError):
    """A worker ended before it was ready."""


class Server(LitServer):  # type: ignore[misc]  # LitServe ships no types
    """Serves one checkpoint on `listener`, and calls `announce` once requests are answered."""

    def __init__(
        self,
        arguments: ServiceArguments,
        limits: Limits,
        device: str,
        listener: socket.socket,
        announce: Callable[[], None],
        api_key: str | None,
    ) -> None:
        self._arguments = arguments
        self._limits = limits
        self._listener = listener
        self._rendezvous = Rendezvous(arguments.api_servers)
        self._supervisor = Supervisor(self, announce, arguments.api_servers)
        self._main_pid = os.getpid()
        self._stopping = False
        kind, _, number = device.partition(":")
        super().__init__(
            ClassifierAPI(arguments.checkpoint, arguments.threads, SocketLoop(self._rendezvous.addresses)),
            accelerator=kind,
            devices=[int(number)] if number else 1,
            workers_per_device=arguments.workers_per_device,
            restart_workers=True,
            disable_openapi_url=True,  # our document replaces it
        )
        self.uvicorn_graceful_timeout = int(limits.timeout_s) + 1  # seconds: every accepted request ends before
        batcher = Batcher(limits.max_batch_size, limits.max_waiting_texts)
        self.gateway = Gateway(batcher, len(self.devices) * arguments.workers_per_device)
        install(self.app, self.gateway, limits, api_key)

    def serve(self) -> int:
        """Serve until SIGINT or SIGTERM; the exit status of the program.

        Raises `StartUpError` when a worker cannot start.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        gc.collect()
        gc.freeze()  # before the forks: the API processes share these pages and never collect them
        try:
            self.run(
                # LitServe allows three hosts and no port below 1024; ours are bound already, and uvicorn takes `fd`.
                fd=self._listener.fileno(),
                num_api_servers=self._arguments.api_servers,
                log_level="error",
                generate_client_file=False,
                access_log=False,
                server_header=False,
                loop="uvloop",
                http="httptools",
                ws="none",
                timeout_keep_alive=KEEP_ALIVE_S,
            )
        except KeyboardInterrupt:
            pass  # stopped while starting
        finally:
            self._supervisor.stop()
            self._rendezvous.close()
            kill_children()
        return self._supervisor.status

    @asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncIterator[None]:
        """What an API process does besides answering; LitServe's own task, which polls its queue, is not needed."""
        async with self.gateway.listening(self._rendezvous.listeners[app.response_queue_id]):
            Drain(self.gateway, self._listener).on_sigterm()
            self._supervisor.api_process_ready()
            yield

    def launch_inference_worker(self, lit_api: Any) -> list[BaseProcess]:
        """Start the workers so that a terminal's Ctrl-C, which every process of the group gets, does not end them."""
        with sigint_blocked():
            return list(super().launch_inference_worker(lit_api))

    def launch_single_inference_worker(self, lit_api: Any, worker_id: int) -> BaseProcess:
        """Start one worker in the place of another that died."""
        with sigint_blocked():
            process: BaseProcess = super().launch_single_inference_worker(lit_api, worker_id)
        return process

    def verify_worker_status(self) -> None:
        """Wait until every worker is ready; LitServe itself waits for one of them, and for ever if it has died."""
        while not all(status == WorkerSetupStatus.READY for status in self.workers_setup_status.values()):
            wait([worker.sentinel for worker in self.inference_workers], timeout=0.05)
            for worker in self.inference_workers:
                if worker.exitcode == EXIT_MISTAKE:
                    raise SystemExit(EXIT_MISTAKE)  # it has said why
                if worker.exitcode is not None:
                    raise StartUpError(f"a worker ended with status {worker.exitcode} before it was ready")

    def _start_worker_monitoring(self, manager: Any, uvicorn_workers: dict[int, BaseProcess]) -> None:
        """Watch the processes without LitServe's polling, which takes 2 s to see a dead worker."""
        self._supervisor.watch(list(uvicorn_workers.values()))

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """The first signal ends the service in order, the second at once."""
        if os.getpid() != self._main_pid:
            return  # a forked process has inherited this handler
        self._supervisor.stop()
        if self._stopping:
            kill_children()
            self._rendezvous.close()
            os._exit(128 + number)
        self._stopping = True
        raise KeyboardInterrupt  # what LitServe shuts down on


@contextmanager
def sigint_blocked() -> Iterator[None]:
    """Processes started inside never get SIGINT."""
    resource_tracker.ensure_running()  # else starting a process starts it first, which unblocks SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def kill_children() -> None:
    """End whatever process is still there."""
    for child in multiprocessing.active_children():
        child.kill()
        child.join()
