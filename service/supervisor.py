"""Watches the processes from the main one: restarts workers, ends the service when nobody speaks HTTP any more."""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

_RESTART_PAUSE_S = 1.0  # between restarts of a worker that dies while it loads
_logger = logging.getLogger(__name__)


class Supervisor:
    """A thread that sleeps until a process dies."""

    def __init__(self, server: Any, announce: Callable[[], None], api_processes: int) -> None:
        self.status = 0  # exit status of the service
        self._server = server
        self._announce = announce
        self._starting = api_processes
        self._api_processes: Sequence[BaseProcess] = []
        self._ready_in, self._ready_out = multiprocessing.Pipe(duplex=False)
        self._stop_in, self._stop_out = multiprocessing.Pipe(duplex=False)

    def api_process_ready(self) -> None:
        """Called in an API process once it answers requests."""
        self._ready_out.send_bytes(b"ready")

    def watch(self, api_processes: Sequence[BaseProcess]) -> None:
        """Start watching; called in the main process once all processes run."""
        self._api_processes = api_processes
        threading.Thread(target=self._watch, name="supervisor", daemon=True).start()

    def stop(self) -> None:
        """Let the API processes drain, all at once; whatever dies from now on is meant to."""
        self._stop_out.send_bytes(b"stop")
        for process in self._api_processes:
            process.terminate()

    def _watch(self) -> None:
        while True:
            workers = self._server.inference_workers
            sentinels = [process.sentinel for process in (*workers, *self._api_processes)]
            ready = wait([self._stop_in, self._ready_in, *sentinels])
            if self._stop_in in ready:
                return
            if self._ready_in in ready:
                self._ready_in.recv_bytes()
                self._starting -= 1
                if not self._starting:
                    self._announce()
            if any(process.sentinel in ready for process in self._api_processes):
                self._give_up()
                return
            for index, worker in enumerate(workers):
                if worker.sentinel in ready:
                    self._restart(index, worker)

    def _restart(self, index: int, worker: BaseProcess) -> None:
        worker.join()
        _logger.warning("worker %d (pid %d) ended with status %s; restarting it", index, worker.pid, worker.exitcode)
        server = self._server
        was_ready = server.workers_setup_status[f"predict_{index}"] == "ready"
        if not was_ready and self._stop_in.poll(_RESTART_PAUSE_S):
            return
        server.inference_workers[index] = server.launch_single_inference_worker(server.lit_api, index)

    def _give_up(self) -> None:
        _logger.error("an API process ended; ending the service")
        self.status = 1
        os.kill(os.getpid(), signal.SIGTERM)
