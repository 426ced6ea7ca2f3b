"""The LitServe server: its processes, from start to a clean end.

LitServe starts the API processes (fork) and ends all. What it leaves open is closed here: a worker that dies while it
loads or later, SIGTERM, a second signal, the death of the main process, hosts and ports of any kind.
"""

import copy
import gc
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from litserve import LitServer
from litserve.loops import inference_worker

from model.errors import InputError

from .channels import ApiChannel, WorkerReports, keep_one_end
from .config import Limits, ServiceArguments
from .dialects.table import endpoints_of
from .drain import Drain
from .endpoint import Service
from .errors import ErrorType, ServiceError
from .exchange import Observer
from .gateway import Rendezvous, make_gateway
from .metrics import Metrics
from .processes import NoManager, kill_children, signals_blocked
from .protocol import BoundedHttpProtocol
from .routes import ENDPOINTS, Keys, install
from .served import Served
from .supervisor import Supervisor
from .swap import Swap
from .worker import ClassifierAPI, Load, SocketLoop, load_classifier

KEEP_ALIVE_S = 75  # longer than the usual proxy keeps an idle connection, so that the proxy is the one to close it
_GC_THRESHOLD = (50_000, 20, 100)  # collections are rare and short; requests leave no cycles behind


class StartUpError(RuntimeError):
    """A worker ended before it was ready."""


class Server(LitServer):  # type: ignore[misc]  # LitServe ships no types
    """Serves checkpoints on `listener`, each with workers on `devices`; calls `announce` once requests are answered."""

    def __init__(
        self,
        served: Sequence[Served],
        arguments: ServiceArguments,
        limits: Limits,
        devices: Sequence[str],
        listener: socket.socket,
        announce: Callable[[], None],
        keys: Keys,
        observers: Sequence[Observer] = (),
        load: Load = load_classifier,
    ) -> None:
        self._arguments = arguments
        self._listener = listener
        self._rendezvous = Rendezvous(arguments.api_servers)
        self._channels = [ApiChannel() for _ in range(arguments.api_servers)]
        self._served = [one.pinned() for one in served]
        self._worker_devices = [device for device in devices for _ in range(arguments.workers_per_device)]  # of each
        self._observers = observers
        self._main_pid = os.getpid()
        self._stopping = False
        self._newest_generation = 0
        self.reports = WorkerReports()
        loop = SocketLoop(self._rendezvous.addresses)
        super().__init__(
            ClassifierAPI(self._served[0], arguments.threads, loop, self.reports.sink, load),
            accelerator="cpu",  # LitServe's idea of devices is not used: it cannot leave some out
            disable_openapi_url=True,  # our document replaces it
        )
        self.uvicorn_graceful_timeout = int(limits.timeout_s) + 1  # seconds: every accepted request ends before
        routes = [kind.route for kind in (*ENDPOINTS, *endpoints_of(arguments.dialects))]
        shadowed = [one.shown for one in served if not one.shadow] if any(one.shadow for one in served) else []
        self.metrics = Metrics(routes, arguments.api_servers + 1, shadowed)
        self.metrics.use_row(arguments.api_servers)  # the API processes have those before
        self._supervisor = Supervisor(self, self._channels, self.metrics, announce)
        self.gateway = make_gateway(served, len(self._worker_devices), limits, self.metrics)
        service = Service(
            self.gateway, limits, self.metrics, keys.api, observers, arguments.cors_origins, arguments.dialects
        )
        install(self.app, service, keys, self._reload)

    def serve(self) -> int:
        """Serve until SIGINT or SIGTERM; the exit status of the program.

        Raises `StartUpError` when a worker cannot start.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._hang_up)
        gc.set_threshold(*_GC_THRESHOLD)
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
                http=BoundedHttpProtocol,
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
        index = app.response_queue_id
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the main process reloads
        self.metrics.use_row(index)
        self._channel = keep_one_end(self._channels, index)
        async with self.gateway.listening(self._rendezvous.listeners[index]):
            drain = Drain(self.gateway, self._listener)
            drain.on_sigterm()
            self._channel.open_in_api_process(drain.start)
            yield
        for observer in self._observers:
            observer.close()

    async def _reload(self, checkpoint: str | None, place: int | None) -> str:
        """In an API process: why `checkpoint` could not take over; nothing when it has."""
        if self.gateway.draining:  # nobody listens any more
            raise ServiceError(ErrorType.OVERLOADED, "service: it must be up, it is shutting down")
        outcome = await self._channel.reload(checkpoint, place)
        if outcome.busy:
            raise ServiceError(
                ErrorType.OVERLOADED, "checkpoint: one can be loaded at a time, another one is being loaded"
            )
        if not outcome.sentence:
            for pool in self.gateway.pools if place is None else [self.gateway.pools[place]]:
                await pool.reached(outcome.generation)
        return outcome.sentence

    def start_worker(self, index: int, served: Served) -> BaseProcess:
        """Start a worker; it forks from a process that has imported torch already, which saves it seconds.

        Raises `StartUpError` where it could reach nobody, nor could any worker after it.
        """
        if not self._rendezvous.is_there:
            raise StartUpError(
                f"the sockets of the service must stay where they are, {self._rendezvous.folder} is gone"
            )
        api = copy.copy(self.lit_api)
        api.served = served
        device = self._worker_devices[index % len(self._worker_devices)]
        process = multiprocessing.get_context("forkserver").Process(
            target=inference_worker,
            args=(api, device, index, None, None, self.reports.sink, self._callback_runner, False),
            name=f"worker-{index}",
        )
        with signals_blocked():
            process.start()
        return process

    def launch_inference_worker(self, lit_api: Any) -> list[BaseProcess]:
        """Start all workers."""
        multiprocessing.set_forkserver_preload(["torch", "model.classifier", "service.worker"])
        count = len(self._served) * len(self._worker_devices)
        return [self.launch_single_inference_worker(lit_api, index) for index in range(count)]

    def launch_single_inference_worker(self, lit_api: Any, worker_id: int) -> BaseProcess:
        """Start one worker, maybe in the place of another that died."""
        return self.start_worker(worker_id, self._served[self.place_of(worker_id)])

    def place_of(self, worker_id: int) -> int:
        """Of the model that a worker classifies with."""
        return worker_id // len(self._worker_devices)

    def workers_of(self, place: int) -> range:
        """The numbers of the workers of one model."""
        count = len(self._worker_devices)
        return range(place * count, (place + 1) * count)

    def successors(self, checkpoint: str | None, place: int | None) -> dict[int, Served]:
        """What a reload loads, by the places of the models, all of them if `place` is None.

        They form a generation of workers with a number of its own; one that fails to load uses its number up.
        """
        self._newest_generation += 1
        places = range(len(self._served)) if place is None else [place]
        size = len(places) * len(self._worker_devices)
        present = {one: self._served[one] for one in places}
        return {
            one: replace(
                served, folder=checkpoint or served.folder, generation=self._newest_generation, generation_size=size
            ).pinned()
            for one, served in present.items()
        }

    def commit(self, swap: Swap) -> None:
        """Checkpoints have taken over: their workers are watched from now on; those before end by themselves."""
        for place, served in swap.successors.items():
            self._served[place] = served
        for index, worker in swap.workers.items():
            self.inference_workers[index] = worker

    def verify_worker_status(self) -> None:
        """Wait until every worker is ready; LitServe itself waits for one of them, and for ever if it has died."""
        waiting = {worker.pid for worker in self.inference_workers}
        while waiting:
            wait([self.reports.reader, *(worker.sentinel for worker in self.inference_workers)])
            while self.reports.reader.poll():
                report = self.reports.read()
                if report.sentence:
                    raise InputError(report.sentence)
                waiting -= {report.pid} if report.status == "ready" else set()
            for worker in self.inference_workers:
                if worker.exitcode is not None:
                    raise StartUpError(f"a worker ended with status {worker.exitcode} before it was ready")

    def _init_manager(self, num_api_servers: int) -> NoManager:
        """LitServe's queues live in a process of their own, which would hold the port if the main process died."""
        self._transport = NoManager()
        self._shutdown_event = threading.Event()
        return self._transport

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

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        """Load the checkpoints anew."""
        if os.getpid() == self._main_pid:
            self._supervisor.reload()
