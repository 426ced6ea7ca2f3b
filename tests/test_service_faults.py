"""Every row of the fault table in service/README.md: what is done to the real service, and what its clients see."""

import os
import shutil
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.faulty import DIE, HANG, RAISE, SLOW, UNPICKLABLE
from tests.servers import RunningServer, ended, eventually, group_is_empty, server

pytestmark = pytest.mark.slow

FLOOD, MOST_WAITING = 100, 60


@contextmanager
def faulty(checkpoint: Path, *flags: str) -> Iterator[RunningServer]:
    with server(checkpoint, *flags, module="tests.faulty") as started:
        yield started


@pytest.fixture(scope="module")
def running(checkpoint: Path) -> Iterator[RunningServer]:
    """One service for all faults that it survives; it must end well after all of them."""
    with faulty(
        checkpoint, "--pass_timeout_s", "0.7", "--timeout_s", "20", "--max_waiting_texts", str(MOST_WAITING)
    ) as started:
        yield started
        assert started.stop() == 0
        assert eventually(lambda: group_is_empty(started.process.pid))


def post(started: RunningServer, inputs: Any, **headers: str) -> httpx.Response:
    with started.client() as client:
        return client.post("/predict", json={"inputs": inputs}, headers=headers)


def labels(reply: httpx.Response) -> list[str]:
    assert reply.status_code == 200, reply.text
    return [prediction["label"] for prediction in reply.json()["predictions"]]


def metric(started: RunningServer, name: str) -> float:
    with started.client() as client:
        lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def is_normal(started: RunningServer) -> bool:
    with started.client() as client:
        ready = client.get("/ready").status_code == 200
        return ready and client.post("/predict", json={"inputs": "a"}).status_code == 200


def assert_normal_again(started: RunningServer, what: str, most_seconds: float = 10) -> None:
    """Ready, and a good request is answered, within `most_seconds`; says after how many (the table's third column)."""
    begin = time.monotonic()
    assert eventually(lambda: is_normal(started), most_seconds), f"no normal service after {what}"
    print(f"{what}: normal service after {time.monotonic() - begin:.2f} s")


def workers(started: RunningServer) -> list[int]:
    with started.client() as client:
        return [worker["pid"] for worker in client.get("/info").json().get("workers", [])]


def api_processes(started: RunningServer) -> list[int]:
    """Forks of the main process: they carry its command line."""
    main, found = started.process.pid, []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(ProcessLookupError, FileNotFoundError):
            same = (folder / "cmdline").read_bytes() == Path(f"/proc/{main}/cmdline").read_bytes()
            if same and os.getpgid(int(folder.name)) == main and int(folder.name) != main:
                found.append(int(folder.name))
    return found


@pytest.mark.parametrize("fault", [RAISE, UNPICKLABLE])
def test_an_exception_in_the_network_fails_the_one_request_that_caused_it(running: RunningServer, fault: str) -> None:
    texts = [*map(str, range(20)), fault, *map(str, range(20, 40))]
    with ThreadPoolExecutor(len(texts) + 1) as pool:
        blocker = pool.submit(post, running, SLOW)  # the others gather behind it
        replies = list(pool.map(lambda text: post(running, text), texts))
    assert labels(blocker.result()) == [SLOW]
    for text, reply in zip(texts, replies, strict=True):
        if text == fault:
            assert (reply.status_code, reply.json()["error_type"]) == (500, "internal")
        else:
            assert labels(reply) == [text]
    assert_normal_again(running, fault)


def test_a_text_that_kills_workers_takes_no_other_request_along(running: RunningServer) -> None:
    restarts = metric(running, "textcnn_worker_restarts_total")
    with ThreadPoolExecutor(12) as pool:
        blocker = pool.submit(post, running, SLOW)
        replies = list(pool.map(lambda text: post(running, text), ["a", "b", DIE, "c"]))
        labels(blocker.result())
    assert [reply.status_code for reply in replies] == [200, 200, 500, 200]
    assert "the worker ended twice" in replies[2].json()["error"]
    assert_normal_again(running, "a text that kills workers")
    assert metric(running, "textcnn_worker_restarts_total") == restarts + 2


def test_a_worker_that_hangs_is_replaced_and_its_neighbours_are_answered(running: RunningServer) -> None:
    (before,) = workers(running)
    with ThreadPoolExecutor(12) as pool:
        hanging = pool.submit(post, running, HANG)
        replies = list(pool.map(lambda text: post(running, text), ["a", "b", "c"]))
    assert [labels(reply) for reply in replies] == [["a"], ["b"], ["c"]]
    assert (hanging.result().status_code, hanging.result().json()["error_type"]) == (500, "internal")
    assert_normal_again(running, "a text that hangs workers")
    assert workers(running) != [before]


def test_a_worker_that_was_stopped_counts_as_hung(running: RunningServer) -> None:
    (pid,) = workers(running)
    os.kill(pid, signal.SIGSTOP)
    assert labels(post(running, "a")) == ["a"]
    assert_normal_again(running, "SIGSTOP to the worker, once it is found out")
    assert workers(running) != [pid]


def test_a_request_whose_worker_hangs_is_told_so_at_its_deadline(running: RunningServer) -> None:
    reply = post(running, HANG, **{"X-Request-Deadline-Ms": "100"})
    assert (reply.status_code, reply.json()["error_type"]) == (504, "deadline_exceeded")
    assert "within 100 ms" in reply.json()["error"]
    assert_normal_again(running, "a hung worker at its client's deadline")


def raw_request(text: str) -> bytes:
    body = b'{"inputs": "%b"}' % text.encode()
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


@contextmanager
def behind_a_slow_pass(started: RunningServer) -> Iterator[None]:
    """What is sent inside waits until the end."""
    with ThreadPoolExecutor(1) as pool:
        blocker = pool.submit(post, started, SLOW)
        assert eventually(lambda: metric(started, "textcnn_requests_in_flight") == 1)
        yield
        labels(blocker.result())


@pytest.mark.parametrize("text", ["nobody wants to know", "何" * 99_000], ids=len)  # uvicorn stops reading above 64 kB
def test_a_client_that_hangs_up_is_not_computed(running: RunningServer, text: str) -> None:
    hung_up = 'textcnn_requests_total{route="/predict",status="499"'
    passed, gone = metric(running, "textcnn_pass_texts_sum"), metric(running, hung_up)
    with behind_a_slow_pass(running):
        for _ in range(5):
            with socket.create_connection(running.address, 30) as client:
                client.sendall(raw_request(text))
    assert eventually(lambda: metric(running, hung_up) == gone + 5)
    assert metric(running, "textcnn_pass_texts_sum") == passed + 1, "only the slow one was computed"


def test_a_client_that_sends_slowly_keeps_nobody_waiting_and_is_told_at_its_deadline(running: RunningServer) -> None:
    with socket.create_connection(running.address, 30) as slow:
        slow.sendall(
            b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 15\r\n"
            b"X-Request-Deadline-Ms: 300\r\n\r\n{"
        )
        assert labels(post(running, "a")) == ["a"]
        assert slow.recv(1000).startswith(b"HTTP/1.1 504")


def test_a_flood_is_answered_or_refused_and_the_probes_go_on(running: RunningServer) -> None:
    """More clients than may wait, behind a slow pass: those beyond are refused at once, the others answered."""
    with ExitStack() as stack:
        with behind_a_slow_pass(running):
            flood = [stack.enter_context(socket.create_connection(running.address, 30)) for _ in range(FLOOD)]
            for client in flood:
                client.sendall(raw_request("a"))
            with running.client() as prober:
                assert prober.get("/health").status_code == 200
        heads = [client.recv(10_000) for client in flood]
    statuses = Counter(head.split(b" ", 2)[1] for head in heads)
    assert set(statuses) == {b"200", b"503"}
    assert statuses[b"503"] >= FLOOD - MOST_WAITING
    refused = next(head for head in heads if b" 503 " in head)
    assert b"retry-after: 1\r\n" in refused
    assert_normal_again(running, "a flood")


@pytest.mark.parametrize("fault", ["load dies", "load raises"])
def test_a_worker_that_cannot_start_ends_the_service_with_a_sentence(checkpoint: Path, fault: str) -> None:
    result = ended(
        "--checkpoint", str(checkpoint), "--port", "0", "--device", "cpu", module="tests.faulty", FAULT=fault
    )
    assert (result.returncode, result.stdout) == (1, "")
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: a worker ended with status ")
    assert last.endswith(" before it was ready")


def test_the_death_of_the_main_process_loses_no_request_and_frees_the_port(checkpoint: Path) -> None:
    flags = ("--api_servers", "2", "--workers_per_device", "2")
    with faulty(checkpoint, *flags) as started, ExitStack() as stack:
        waiting = [stack.enter_context(socket.create_connection(started.address, 30)) for _ in range(8)]
        for client in waiting:
            client.sendall(raw_request(SLOW))
        assert eventually(lambda: metric(started, "textcnn_requests_in_flight") > 0)
        started.process.kill()
        for client in waiting:
            assert client.recv(10_000).startswith(b"HTTP/1.1 200 OK")
        started.process.wait()
        assert eventually(lambda: group_is_empty(started.process.pid)), "orphans are left"
        socket.create_server(started.address).close()


def test_the_death_of_the_process_that_workers_fork_from_replaces_them(checkpoint: Path) -> None:
    with faulty(checkpoint) as started:
        (worker,) = workers(started)
        parent = int(Path(f"/proc/{worker}/stat").read_text().rsplit(")", 1)[1].split()[1])
        os.kill(parent, signal.SIGKILL)
        assert eventually(lambda: workers(started) not in ([], [worker]), 40), "it imports torch again"
        assert eventually(lambda: not Path(f"/proc/{worker}").exists()), "the old worker is left"
        assert_normal_again(started, "SIGKILL to the process that workers fork from")
        assert started.stop() == 0


def test_the_death_of_an_api_process_ends_the_service(checkpoint: Path) -> None:
    with faulty(checkpoint) as started:
        (api,) = api_processes(started)
        os.kill(api, signal.SIGKILL)
        assert started.process.wait(20) == 1
        assert eventually(lambda: group_is_empty(started.process.pid))


def test_the_loss_of_the_folder_of_sockets_ends_the_service_when_a_worker_is_due(checkpoint: Path) -> None:
    """As by a cleaner of temporary folders: no worker could be reached any more."""
    with faulty(checkpoint) as started:
        sockets = psutil.Process(started.process.pid).net_connections("unix")
        (folder,) = {Path(one.laddr).parent for one in sockets if one.laddr.endswith(".socket")}
        shutil.rmtree(folder)
        assert labels(post(started, "a")) == ["a"]
        os.kill(workers(started)[0], signal.SIGKILL)
        assert started.process.wait(30) == 1
        assert eventually(lambda: group_is_empty(started.process.pid))


def test_a_request_whose_worker_has_just_died_is_answered_before_the_end(checkpoint: Path) -> None:
    """The main process learns of the death and of its own end at the same time."""
    with faulty(checkpoint) as started, ThreadPoolExecutor(1) as pool:
        (pid,) = workers(started)
        started.process.send_signal(signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)
        request = pool.submit(post, started, "a")
        assert eventually(lambda: metric(started, "textcnn_requests_in_flight") == 1)
        started.process.send_signal(signal.SIGTERM)
        started.process.send_signal(signal.SIGCONT)
        assert labels(request.result()) == ["a"]
        assert started.process.wait(20) == 0
        assert eventually(lambda: group_is_empty(started.process.pid))


def test_a_killed_worker_is_replaced_and_no_request_lost(checkpoint: Path) -> None:
    """The real classifier, whose libraries take seconds to import: the process that workers fork from has them."""
    with server(checkpoint) as started, ThreadPoolExecutor(8) as pool:
        (pid,) = workers(started)
        requests = [pool.submit(post, started, "where is my parcel") for _ in range(50)]
        os.kill(pid, signal.SIGKILL)
        assert_normal_again(started, "SIGKILL to the worker")
        assert {request.result().status_code for request in requests} == {200}
        assert workers(started) != [pid]
