"""Watches the processes from the main one: restarts workers, swaps checkpoints, ends the service when it must."""

import logging
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from pydantic_core import from_json

from .channels import ApiChannel, ReloadOutcome, Report
from .metrics import Metrics
from .processes import signals_blocked
from .swap import Swap

_RESTART_PAUSE_S = 1.0  # between restarts of a worker that dies while it loads
_logger = logging.getLogger(__name__)


class Supervisor:
    """A thread that sleeps until a process dies, speaks, or is told to."""

    def __init__(self, server: Any, channels: Sequence[ApiChannel], metrics: Metrics, announce: Callable[[], None]):
        self.status = 0  # exit status of the service
        self._server = server
        self._channels = {channel.main_end: channel for channel in channels}
        self._metrics = metrics
        self._announce = announce
        self._starting = len(channels)
        self._api_processes: Sequence[BaseProcess] = []
        self._ready_workers: set[int] = set()  # pids
        self._due: dict[BaseProcess, float] = {}  # workers that have ended, and when (monotonic) another starts
        self._swap: Swap | None = None
        self._reload_again = False  # asked for while a swap is under way, which may have read the folders before
        self._orders_in, self._orders_out = multiprocessing.Pipe(duplex=False)

    def watch(self, api_processes: Sequence[BaseProcess]) -> None:
        """Start watching; called in the main process once all processes run."""
        self._api_processes = api_processes
        self._ready_workers.update(worker.pid for worker in self._server.inference_workers)
        with signals_blocked():  # by the thread as well: one that took a signal would leave the main thread asleep
            threading.Thread(target=self._watch, name="supervisor", daemon=True).start()

    def stop(self) -> None:
        """Let the API processes drain, all at once; whatever dies from now on is meant to."""
        self._orders_out.send_bytes(b"stop")
        for process in self._api_processes:
            process.terminate()

    def reload(self) -> None:
        """Load all checkpoint folders anew; called by a signal's handler."""
        self._orders_out.send_bytes(b"reload")

    def _watch(self) -> None:
        stopped = False
        while not stopped:
            try:
                stopped = self._step()
            except Exception:
                _logger.exception("the watch over the workers has failed")  # nobody would replace one from now on
                self._give_up("the watch over the workers has failed")
                stopped = True
        self._reload_again = False
        if self._swap:
            self._swap.cancel()
            self._end_swap(ReloadOutcome(sentence="the service is shutting down"))

    def _step(self) -> bool:
        """Deal with what has happened; True when there is nothing to watch any more."""
        reports = self._server.reports
        swapping = self._swap.workers.values() if self._swap else ()
        sentinels = [process.sentinel for process in (*self._living(), *swapping, *self._api_processes)]
        ready = wait([self._orders_in, reports.reader, *self._channels, *sentinels], self._until_a_start())
        order = self._orders_in.recv_bytes() if self._orders_in in ready else b""
        stopping = order == b"stop"
        if order == b"reload":
            self._reload_all()
        while reports.reader.poll():  # all of them: what a worker said stands before its end
            self._take_report()
        for end in [end for end in ready if isinstance(end, Connection) and end in self._channels]:
            self._hear(end)
        if not stopping and any(process.sentinel in ready for process in self._api_processes):
            self._give_up("an API process ended")
            return True
        if self._swap and (ended := [worker for worker in self._swap.workers.values() if worker.sentinel in ready]):
            self._end_swap(self._swap.fail(ended[0]))
        for worker in self._living():
            if worker.sentinel in ready:
                self._bury(worker)
        if stopping:  # requests that wait for a worker still get their answer
            self._due = dict.fromkeys(self._due, 0.0)
        self._start_those_due()
        return stopping

    def _hear(self, end: Connection) -> None:
        """Take a message of an API process."""
        try:
            message = from_json(end.recv_bytes())
        except (EOFError, OSError):
            del self._channels[end]  # its sentinel says the same
            return
        if "reload" in message:
            checkpoint, place = message["reload"]
            self._begin_swap(checkpoint, place, self._channels[end])
            return
        self._starting -= 1
        if not self._starting:
            self._announce()

    def _take_report(self) -> None:
        report = self._server.reports.read()
        if report.status == "ready":
            self._ready_workers.add(report.pid)
        if self._swap is None and report.sentence:
            self._load_what_is_there(report)
        elif self._swap and self._swap.take(report):
            self._server.commit(self._swap)
            self._end_swap(ReloadOutcome(generation=self._swap.generation))

    def _load_what_is_there(self, report: Report) -> None:
        """Where a dead worker's checkpoint is there no more, all workers of its model get the one that is."""
        for index, worker in enumerate(self._server.inference_workers):
            if worker.pid == report.pid:
                _logger.warning("%s: %s; loading what is there for all of its model", worker.name, report.sentence)
                self._begin_swap(None, self._server.place_of(index), None)

    def _reload_all(self) -> None:
        if self._swap:
            self._reload_again = True
        else:
            self._begin_swap(None, None, None)

    def _begin_swap(self, checkpoint: str | None, place: int | None, asker: ApiChannel | None) -> None:
        if self._swap:
            if asker:
                asker.answer(ReloadOutcome(busy=True))
            return
        try:
            self._swap = Swap(self._server, self._server.successors(checkpoint, place), asker)
        except (EOFError, OSError) as error:  # the process that workers fork from is dying, as when a worker is due
            self._tell(asker, ReloadOutcome(sentence=f"no worker can be started now ({error!r})"))

    def _end_swap(self, outcome: ReloadOutcome) -> None:
        swap, self._swap = self._swap, None
        self._tell(swap.asker if swap else None, outcome)
        if self._reload_again:
            self._reload_again = False
            self._reload_all()

    def _tell(self, asker: ApiChannel | None, outcome: ReloadOutcome) -> None:
        """Count how a reload went, and say it to whoever asked for it."""
        self._metrics.add("failed_reloads_total" if outcome.sentence else "reloads_total")
        if outcome.sentence:
            _logger.error("the checkpoint was not changed: %s", outcome.sentence)
        if asker:
            asker.answer(outcome)

    def _living(self) -> list[BaseProcess]:
        """The workers that have not ended as far as is known."""
        return [worker for worker in self._server.inference_workers if worker not in self._due]

    def _bury(self, worker: BaseProcess) -> None:
        """Have another worker started in the place of one that has ended: at once, if it was ready before."""
        worker.join()
        _logger.warning("%s (pid %d) ended with status %s; restarting it", worker.name, worker.pid, worker.exitcode)
        pause = 0.0 if worker.pid in self._ready_workers else _RESTART_PAUSE_S
        self._due[worker] = time.monotonic() + pause

    def _until_a_start(self) -> float | None:
        """Seconds until the next worker is due; None while none is."""
        return max(0.0, min(self._due.values()) - time.monotonic()) if self._due else None

    def _start_those_due(self) -> None:
        workers, now = self._server.inference_workers, time.monotonic()
        self._due = {worker: due for worker, due in self._due.items() if worker in workers}  # a swap replaces some
        for index, worker in enumerate(workers):
            if self._due.get(worker, math.inf) > now:
                continue
            try:
                workers[index] = self._server.launch_single_inference_worker(self._server.lit_api, index)
            except (OSError, EOFError) as error:  # the process that workers fork from is dying; another takes its place
                _logger.warning("%s cannot be restarted yet (%r)", worker.name, error)
                self._due[worker] = now + _RESTART_PAUSE_S
            else:
                del self._due[worker]
                self._metrics.add("worker_restarts_total")

    def _give_up(self, reason: str) -> None:
        _logger.error("%s; ending the service", reason)
        self.status = 1
        os.kill(os.getpid(), signal.SIGTERM)
