"""The watch over the workers; what it does for a whole service is in test_service_faults and test_service_reload."""

import multiprocessing
import os
import signal
from multiprocessing.process import BaseProcess
from types import SimpleNamespace

import pytest

from service.channels import ReloadOutcome, WorkerReports
from service.metrics import Metrics
from service.served import Served
from service.supervisor import Supervisor


def process() -> BaseProcess:
    """One that ends at once."""
    started = multiprocessing.get_context("fork").Process(target=len, args=((),))
    started.start()
    started.join()
    return started


def test_a_worker_that_cannot_load_does_not_keep_another_from_being_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.supervisor._RESTART_PAUSE_S", 1e6)
    started: list[int] = []

    def launch(_: object, index: int) -> BaseProcess:
        started.append(index)
        return process()

    crashing, working = process(), process()
    server = SimpleNamespace(
        inference_workers=[crashing], reports=WorkerReports(), lit_api=None, launch_single_inference_worker=launch
    )
    metrics = Metrics()
    supervisor = Supervisor(server, [], metrics, lambda: None)
    supervisor._ready_workers.add(working.pid or 0)
    supervisor._step()  # the first was never ready: it rests
    assert started == []
    server.inference_workers.append(working)
    supervisor._step()  # the second was, and ends meanwhile
    assert started == [1]
    assert "textcnn_worker_restarts_total 1" in metrics.exposition()
    server.inference_workers[0] = process()  # another checkpoint takes the place of the first
    supervisor._step()
    assert crashing not in supervisor._due


def test_the_first_death_of_a_worker_costs_no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that the service has started with have been ready, though others have read their reports."""
    monkeypatch.setattr("service.supervisor._RESTART_PAUSE_S", 1e6)
    monkeypatch.setattr("service.supervisor.threading.Thread", lambda **_: SimpleNamespace(start=lambda: None))
    started: list[int] = []

    def launch(_: object, index: int) -> BaseProcess:
        started.append(index)
        return process()

    server = SimpleNamespace(
        inference_workers=[process()], reports=WorkerReports(), lit_api=None, launch_single_inference_worker=launch
    )
    supervisor = Supervisor(server, [], Metrics(), lambda: None)
    supervisor.watch([])
    supervisor._step()
    assert started == [0]


def test_a_worker_that_cannot_be_started_yet_is_started_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that workers fork from may be dying, which ends them too."""
    monkeypatch.setattr("service.supervisor._RESTART_PAUSE_S", 0.0)
    attempts: list[int] = []

    def launch(_: object, index: int) -> BaseProcess:
        attempts.append(index)
        if len(attempts) == 1:
            raise ConnectionRefusedError
        if len(attempts) == 2:
            raise EOFError
        return process()

    server = SimpleNamespace(
        inference_workers=[process()], reports=WorkerReports(), lit_api=None, launch_single_inference_worker=launch
    )
    metrics = Metrics()
    supervisor = Supervisor(server, [], metrics, lambda: None)
    for _ in range(3):
        supervisor._step()
    assert attempts == [0, 0, 0]
    assert "textcnn_worker_restarts_total 1" in metrics.exposition()


def test_a_reload_whose_workers_cannot_be_started_fails_alone() -> None:
    """The process that workers fork from may die of the very memory that a second generation takes."""
    started: list[BaseProcess] = []

    def start(index: int, _: Served) -> BaseProcess:
        if index:
            raise EOFError
        started.append(multiprocessing.get_context("fork").Process(target=signal.pause, daemon=True))
        started[0].start()
        return started[0]

    served = Served("folder")
    server = SimpleNamespace(
        inference_workers=[],
        reports=WorkerReports(),
        start_worker=start,
        successors=lambda checkpoint, place: {0: served},
        workers_of=lambda place: range(2),
    )
    metrics, outcomes = Metrics(), list[ReloadOutcome]()
    supervisor = Supervisor(server, [], metrics, lambda: None)
    supervisor._begin_swap(None, None, SimpleNamespace(answer=outcomes.append))  # type: ignore[arg-type]
    assert [outcome.sentence for outcome in outcomes] == ["no worker can be started now (EOFError())"]
    assert started[0].exitcode == -signal.SIGKILL
    assert supervisor._swap is None
    assert "textcnn_failed_reloads_total 1" in metrics.exposition()


def test_a_watch_that_fails_ends_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than let it run on with nobody to replace a dead worker."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr("service.supervisor.os.kill", lambda *signal: sent.append(signal))
    supervisor = Supervisor(SimpleNamespace(), [], Metrics(), lambda: None)  # a server without anything to watch
    supervisor._watch()
    assert (supervisor.status, sent) == (1, [(os.getpid(), signal.SIGTERM)])
