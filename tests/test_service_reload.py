"""Another checkpoint takes over while requests are answered, each by one of the two; a broken one changes nothing."""

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from model.classifier import TextClassifier
from service.config import Limits
from tests.checkpoints import TEXTS, write_checkpoint
from tests.servers import FakeClassifier, RunningServer, application, eventually, group_size, run, server

ADMIN = {"X-API-Key": "admin"}


def test_only_the_admin_key_reloads_and_without_one_there_is_no_such_route() -> None:
    asked: list[tuple[str | None, int | None]] = []

    async def reload(checkpoint: str | None, place: int | None) -> str:
        asked.append((checkpoint, place))
        return "checkpoint 'b': it has no weights" if checkpoint == "b" else ""

    async def scenario() -> None:
        async with application(FakeClassifier(), api_key="user") as client:
            assert (await client.post("/admin/reload", headers=ADMIN)).status_code == 404
        async with application(FakeClassifier(), Limits(), "user", admin_key="admin", reload=reload) as client:
            for headers in ({}, {"X-API-Key": "user"}):
                assert (await client.post("/admin/reload", headers=headers)).json()["error_type"] == "unauthorized"
            assert (await client.get("/admin/reload", headers=ADMIN)).status_code == 405
            for wrong in (
                '{"checkpoint": 5}',
                '{"checkpoint": ""}',
                '{"checkpoint": "hf://a/b"}',
                '{"folder": "a"}',
                "x",
            ):
                headers = ADMIN | {"content-type": "application/json"}
                reply = await client.post("/admin/reload", content=wrong, headers=headers)
                assert (reply.status_code, reply.json()["error_type"]) == (422, "validation")
            assert asked == []
            reply = await client.post("/admin/reload", headers={"Authorization": "Bearer admin"})
            assert reply.json() == {"model": {"name": "fake", "revision": "sha256:00"}}
            reply = await client.post("/admin/reload", json={"checkpoint": "b"}, headers=ADMIN)
            assert (reply.status_code, reply.json()["error"]) == (422, "checkpoint 'b': it has no weights")
            assert asked == [(None, None), ("b", 0)]
            assert "/admin/reload" in (await client.get("/openapi.json")).json()["paths"]

    run(scenario())


def test_a_client_that_hangs_up_while_it_asks_for_a_reload_is_gone() -> None:
    async def scenario() -> None:
        async def reload(checkpoint: str | None, place: int | None) -> str:
            raise AssertionError("nobody waits for it")

        async def receive() -> dict[str, object]:
            return {"type": "http.disconnect"}

        async def send(message: dict[str, object]) -> None:
            raise AssertionError(message)

        async with application(FakeClassifier(), admin_key="admin", reload=reload) as client:
            scope = {
                **{"type": "http", "method": "POST", "path": "/admin/reload", "query_string": b"", "root_path": ""},
                "headers": [
                    (b"x-api-key", b"admin"),
                    (b"content-length", b"5"),
                    (b"content-type", b"application/json"),
                ],
            }
            transport: Any = client._transport
            await transport.app(scope, receive, send)
            text = (await client.get("/metrics")).text
        assert 'route="other",status="499"} 1' in text

    run(scenario())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two checkpoints of the same labels, and one whose weights are cut off."""
    root = tmp_path_factory.mktemp("reload")
    found = {name: write_checkpoint(root / name, num_filters=filters) for name, filters in (("old", 6), ("new", 8))}
    found["broken"] = Path(shutil.copytree(found["old"], root / "broken"))
    weights = found["broken"] / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    return found


@contextmanager
def clients(running: RunningServer, count: int = 4) -> Iterator[list[dict[str, Any]]]:
    """Bodies of the replies to clients that ask all the time; every one must be a success."""
    replies: list[dict[str, Any]] = []
    stop = threading.Event()

    def work() -> None:
        with running.client() as client:
            while not stop.is_set():
                reply = client.post("/predict", json={"inputs": TEXTS})
                assert reply.status_code == 200, reply.text
                replies.append(reply.json())

    with ThreadPoolExecutor(count) as pool:
        workers = [pool.submit(work) for _ in range(count)]
        try:
            yield replies
        finally:
            stop.set()
        for worker in workers:
            worker.result()


def revision(running: RunningServer) -> str:
    with running.client() as client:
        found: str = client.get("/info").json()["model"]["revision"]
    return found


def reload(running: RunningServer, folder: Path | None) -> httpx.Response:
    with running.client(headers=ADMIN) as client:
        return client.post("/admin/reload", json={"checkpoint": str(folder)} if folder else {})


@pytest.mark.slow
def test_a_swap_under_load_loses_no_request_and_mixes_no_answers(folders: dict[str, Path], tmp_path: Path) -> None:
    served = tmp_path / "served"
    served.symlink_to(folders["old"])
    expected = {
        classifier.revision: [prediction.score for prediction in classifier(TEXTS)]
        for classifier in (TextClassifier.from_pretrained(folders[name], "cpu") for name in ("old", "new"))
    }
    old, new = expected
    # Passes of 4 texts: the 6 of a request take two, and the swap may come between them.
    flags = ("--api_servers", "2", "--workers_per_device", "2", "--max_batch_size", "4")
    with server(served, *flags, TEXTCNN_ADMIN_KEY="admin") as running, clients(running) as replies:
        assert eventually(lambda: len(replies) > 20)
        served.unlink()
        served.symlink_to(folders["new"])
        running.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: {reply["model"]["revision"] for reply in list(replies)} == {old, new}, 30)
        assert eventually(lambda: revision(running) == new)

        refused = reload(running, folders["broken"])
        assert (refused.status_code, refused.json()["error_type"]) == (422, "validation")
        assert "model.safetensors" in refused.json()["error"]
        assert revision(running) == new

        assert reload(running, folders["old"]).json()["model"]["revision"] == old
        begin = len(replies)
        assert eventually(lambda: {reply["model"]["revision"] for reply in replies[begin + 50 :]} == {old})
        with running.client() as client:
            metrics = client.get("/metrics").text
        assert "textcnn_reloads_total 2\n" in metrics
        assert "textcnn_failed_reloads_total 1\n" in metrics
        assert "textcnn_worker_restarts_total 0\n" in metrics
        assert running.process.poll() is None
    for reply in replies:
        scores = [prediction["score"] for prediction in reply["predictions"]]
        assert scores == pytest.approx(expected[reply["model"]["revision"]], abs=1e-5)


def kill_a_worker(running: RunningServer) -> None:
    """Another one is ready in its place when this returns."""
    with running.client() as client:
        before = {worker["pid"] for worker in client.get("/info").json()["workers"]}
        os.kill(min(before), signal.SIGKILL)
        assert eventually(lambda: min(before) not in pids(client) and len(pids(client)) == len(before), 30)


def pids(client: httpx.Client) -> set[int]:
    return {worker["pid"] for worker in client.get("/info").json()["workers"]}


@pytest.mark.slow
def test_a_worker_that_takes_a_dead_ones_place_never_brings_another_revision(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    """A link that has moved waits for the reload; where its folder has gone, all workers get what is there."""
    folder, served = Path(shutil.copytree(folders["old"], tmp_path / "first")), tmp_path / "served"
    served.symlink_to(folder)
    old, new = (TextClassifier.from_pretrained(folders[name], "cpu").revision for name in ("old", "new"))
    with server(served, "--workers_per_device", "2") as running, clients(running) as replies:
        served.unlink()
        served.symlink_to(folders["new"])
        kill_a_worker(running)
        begin = len(replies)
        assert eventually(lambda: len(replies) > begin + 50)
        assert {reply["model"]["revision"] for reply in replies} == {old}

        shutil.rmtree(folder)
        kill_a_worker(running)
        assert eventually(lambda: revision(running) == new)
        begin = len(replies)
        assert eventually(lambda: len(replies) > begin + 50)
        assert {reply["model"]["revision"] for reply in replies[begin + 8 :]} == {new}


@pytest.mark.slow
def test_a_signal_during_a_reload_is_not_forgotten(folders: dict[str, Path], tmp_path: Path) -> None:
    served = tmp_path / "served"
    served.symlink_to(folders["old"])
    new = TextClassifier.from_pretrained(folders["new"], "cpu").revision
    with server(served) as running:
        before = group_size(running.process.pid)
        running.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: group_size(running.process.pid) > before)  # the worker that loads the old one
        served.unlink()
        served.symlink_to(folders["new"])
        running.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: revision(running) == new, 30)
