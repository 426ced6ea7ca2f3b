"""The loading of a checkpoint beside the one that serves, seen from the main process."""

from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from .channels import ApiChannel, ReloadOutcome, Report


class Swap:
    """A new generation of workers; the old one serves until all the new ones have answered a real inference."""

    def __init__(self, server: Any, checkpoint: str | None, asker: ApiChannel | None) -> None:
        self.checkpoint = checkpoint or server.lit_api.checkpoint
        self.generation = server.next_generation()
        self.asker = asker
        self.workers: list[BaseProcess] = [
            server.start_worker(index, self.checkpoint, self.generation)
            for index in range(len(server.inference_workers))
        ]
        self._ready: set[int | None] = set()
        self._sentences: dict[int | None, str] = {}

    def take(self, report: Report) -> bool:
        """Take a worker's report; True when it was the last one that this waited for."""
        if report.status == "ready":
            self._ready.add(report.pid)
        else:
            self._sentences[report.pid] = report.sentence
        return all(worker.pid in self._ready for worker in self.workers)

    def fail(self, worker: BaseProcess) -> ReloadOutcome:
        """End the others of a generation of which one has ended; why it failed."""
        worker.join()
        self.cancel()
        reason = self._sentences.get(worker.pid) or f"a worker ended with status {worker.exitcode} before it was ready"
        return ReloadOutcome(sentence=f"checkpoint {Path(self.checkpoint).name!r}: {reason}")

    def cancel(self) -> None:
        """End what has been started."""
        for worker in self.workers:
            worker.kill()
            worker.join()
