"""The loading of checkpoints beside those that serve, seen from the main process."""

from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from .channels import ApiChannel, ReloadOutcome, Report
from .served import Served


class Swap:
    """A new generation of workers; the old one serves until all the new ones have answered a real inference.

    Raises `OSError` or `EOFError` where one of them cannot be started; those before it are ended.
    """

    def __init__(self, server: Any, successors: dict[int, Served], asker: ApiChannel | None) -> None:
        self.successors = successors  # by the place of the model that each is for
        self.generation = next(iter(successors.values())).generation
        self.asker = asker
        self._served = {index: one for place, one in successors.items() for index in server.workers_of(place)}
        self.workers: dict[int, BaseProcess] = {}
        try:
            for index, one in self._served.items():
                self.workers[index] = server.start_worker(index, one)
        except (EOFError, OSError):
            self.cancel()
            raise
        self._ready: set[int | None] = set()
        self._sentences: dict[int | None, str] = {}

    def take(self, report: Report) -> bool:
        """Take a worker's report; True when it was the last one that this waited for."""
        if report.status == "ready":
            self._ready.add(report.pid)
        else:
            self._sentences[report.pid] = report.sentence
        return all(worker.pid in self._ready for worker in self.workers.values())

    def fail(self, worker: BaseProcess) -> ReloadOutcome:
        """End the others of a generation of which one has ended; why it failed."""
        worker.join()
        self.cancel()
        reason = self._sentences.get(worker.pid) or f"a worker ended with status {worker.exitcode} before it was ready"
        folder = next(self._served[index].folder for index, one in self.workers.items() if one is worker)
        return ReloadOutcome(sentence=f"checkpoint {Path(folder).name!r}: {reason}")

    def cancel(self) -> None:
        """End what has been started."""
        for worker in self.workers.values():
            worker.kill()
            worker.join()
