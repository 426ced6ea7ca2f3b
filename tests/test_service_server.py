"""The real service: `python -m service` in a process of its own, with LitServe, a checkpoint and HTTP."""

import json
import os
import random
import signal
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from model.classifier import TextClassifier
from model.prediction import Prediction
from service.schemas import ErrorReply, PredictReply
from tests.servers import RunningServer, ended, eventually, group_is_empty, server

pytestmark = pytest.mark.slow

WORDS = "where is my refund ? 退款 呢 i ordered TWO weeks ago & nothing 😀 came é ... naïve ١٢٣ don't \u200b"
JSON = {"content-type": "application/json"}


def make_texts(count: int) -> list[str]:
    """Different texts of 0 to 60 words in several scripts."""
    source, words = random.Random(7), WORDS.split()
    return [f"{' '.join(source.choices(words, k=source.randrange(60)))} {number}" for number in range(count - 2)] + [
        "",
        " ",
    ]


@pytest.fixture(scope="module")
def running(checkpoint: Path) -> Iterator[RunningServer]:
    with server(checkpoint) as started:
        yield started
        assert started.stop() == 0


@pytest.fixture(scope="module")
def classifier(checkpoint: Path) -> TextClassifier:
    return TextClassifier.from_pretrained(checkpoint, "cpu")


def assert_same(replies: Sequence[dict[str, Any]], expected: Sequence[Prediction]) -> None:
    assert len(replies) == len(expected)
    for reply, prediction in zip(replies, expected, strict=True):
        assert prediction.scores
        assert reply["scores"] == pytest.approx(prediction.scores, abs=1e-5)
        assert reply["score"] == pytest.approx(prediction.score, abs=1e-5)
        assert reply["scores"][reply["label"]] == reply["score"]


def ask(connection: HTTPConnection, inputs: str | list[str]) -> list[dict[str, Any]]:
    connection.request("POST", "/predict", json.dumps({"inputs": inputs}), JSON)
    reply = connection.getresponse()
    body = reply.read()
    assert reply.status == 200, body
    PredictReply.model_validate_json(body, strict=True)
    predictions: list[dict[str, Any]] = json.loads(body)["predictions"]
    return predictions


def ask_together(running: RunningServer, clients: int, texts: list[str]) -> list[dict[str, Any]]:
    """The predictions of `texts`, each sent in a request of its own by one of `clients` connections."""

    def work(first: int) -> list[dict[str, Any]]:
        with running.connection() as connection:
            return [prediction for text in texts[first::clients] for prediction in ask(connection, text)]

    with ThreadPoolExecutor(clients) as pool:
        shares = list(pool.map(work, range(clients)))
    return [shares[index % clients][index // clients] for index in range(len(texts))]


def test_texts_sent_in_any_way_get_the_scores_of_the_classifier_in_process(
    running: RunningServer, classifier: TextClassifier
) -> None:
    texts = make_texts(2000)
    expected = classifier(texts)
    with running.connection() as connection:
        assert_same([prediction for text in texts for prediction in ask(connection, text)], expected)
        lists = [texts[start : start + size] for start, size in ((0, 1), (1, 199), (200, 1024), (1224, 776))]
        assert_same([prediction for inputs in lists for prediction in ask(connection, inputs)], expected)
    assert_same(ask_together(running, 16, texts), expected)


REFUSED = [
    (b"this is no JSON", JSON, 400, "invalid_json"),
    (b'{"inputs": "\xff\xfe"}', JSON, 400, "invalid_json"),
    (b'{"inputs": 5}', JSON, 422, "validation"),
    (b'{"inputs": []}', JSON, 422, "validation"),
    (b'{"inputs": [[]]}', JSON, 422, "validation"),
    (rb'{"inputs": "\ud800"}', JSON, 422, "validation"),
    (b'{"inputs": "a", "tok_k": 1}', JSON, 422, "validation"),
    (b" " * 20_000_000, JSON, 413, "too_large"),
    (b'{"inputs": "a"}', {"content-type": "text/plain"}, 415, "unsupported_media_type"),
]


@pytest.mark.parametrize(("body", "headers", "status", "error_type"), REFUSED)
def test_a_bad_request_is_refused_and_the_next_good_one_answered(
    running: RunningServer, body: bytes, headers: dict[str, str], status: int, error_type: str
) -> None:
    with running.client() as client:
        reply = client.post("/predict", content=body, headers=headers)
        assert reply.status_code == status
        assert ErrorReply.model_validate_json(reply.content).error_type == error_type
        good = client.post("/predict", json={"inputs": "where is my refund?"})
        assert good.status_code == 200


def test_the_card_names_the_processes_that_run(running: RunningServer, checkpoint: Path) -> None:
    with running.client() as client:
        info = client.get("/info").json()
        assert info["model"]["name"] == checkpoint.resolve().name
        assert info["model"]["revision"].startswith("sha256:")
        (worker,) = info["workers"]
        assert Path(f"/proc/{worker['pid']}").exists()
        assert worker["folded_bytes"] == TextClassifier.from_pretrained(checkpoint, "cpu").folded_bytes > 0
        assert f"Serving {checkpoint.resolve().name} on {running.url} (cpu)\n" == running.greeting
        assert client.get("/ready").json() == {"status": "ready", "workers_ready": 1}


def test_two_api_processes_and_two_workers_answer_as_one(checkpoint: Path, classifier: TextClassifier) -> None:
    texts = make_texts(200)
    flags = ("--api_servers", "2", "--workers_per_device", "2", "--folding", "off")
    with server(checkpoint, *flags) as started:
        assert_same(ask_together(started, 8, texts), classifier(texts))
        with started.client() as client:
            assert [worker["folded_bytes"] for worker in client.get("/info").json()["workers"]] == [0, 0]
        assert started.stop() == 0
        assert eventually(lambda: group_is_empty(started.process.pid))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_loses_no_request(checkpoint: Path, number: signal.Signals) -> None:
    """Clients that reconnect when told to close meet answers until nobody listens any more."""
    with server(checkpoint) as started, ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(_until_refused, started) for _ in range(8)]
        with started.connection() as connection:
            ask(connection, ["busy"] * 200)
        # As a terminal does it: Ctrl-C goes to every process of the group.
        os.killpg(started.process.pid, number) if number == signal.SIGINT else started.process.send_signal(number)
        assert started.process.wait(10) == 0
        assert sum(client.result(10) for client in clients) > 0
        assert eventually(lambda: group_is_empty(started.process.pid)), "orphans are left"
        assert started.process.stdout
        assert started.process.stdout.read() == ""
        port = int(started.url.rsplit(":", 1)[1])
        socket.create_server(("127.0.0.1", port)).close()


def _until_refused(started: RunningServer) -> int:
    """Requests answered before the service stopped listening; any other end is a failure."""
    answered = 0
    while True:
        with started.connection() as connection:
            try:
                connection.connect()
            except ConnectionRefusedError:
                return answered
            connection.auto_open = 0  # a reply that asks to close is the end of this connection
            for _ in range(answered % 3 + 1):  # some connections are used again
                ask(connection, "where is my refund?")
                answered += 1
                if connection.sock is None:
                    break


@contextmanager
def request_in_flight(started: RunningServer) -> Iterator[socket.socket]:
    """A request whose body has not come yet, after the service was told to end and listens no more."""
    with socket.create_connection(started.address, 30) as slow, started.connection() as other:
        slow.sendall(
            b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n"
        )
        ask(other, "when this one is answered, the slow request has reached the service")
        started.process.send_signal(signal.SIGTERM)
        assert eventually(lambda: not accepts(started))
        yield slow


def test_a_request_in_flight_is_answered_before_the_end(checkpoint: Path) -> None:
    with server(checkpoint) as started, request_in_flight(started) as slow:
        slow.sendall(b'{"inputs": "a"}')
        reply = slow.makefile("rb").read()
        assert reply.startswith(b"HTTP/1.1 200 OK")
        assert b"connection: close" in reply
        assert started.process.wait(10) == 0


def test_a_second_signal_waits_for_nobody(checkpoint: Path) -> None:
    with server(checkpoint) as started, request_in_flight(started):
        assert started.stop(signal.SIGTERM) == 128 + signal.SIGTERM
        assert eventually(lambda: group_is_empty(started.process.pid))


def accepts(started: RunningServer) -> bool:
    try:
        socket.create_connection(started.address).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_port_in_use_is_one_sentence(running: RunningServer, checkpoint: Path) -> None:
    port = str(running.address[1])
    result = ended("--checkpoint", str(checkpoint), "--port", port)
    sentence = f"error: port {port} on 127.0.0.1 is in use; stop what listens there or give another --port\n"
    assert (result.returncode, result.stdout, result.stderr) == (2, "", sentence)


def test_a_checkpoint_cut_off_is_one_sentence_from_the_worker(checkpoint: Path, tmp_path: Path) -> None:
    for file in checkpoint.iterdir():
        content = file.read_bytes()
        (tmp_path / file.name).write_bytes(content[: len(content) // 2] if file.suffix == ".safetensors" else content)
    result = ended("--checkpoint", str(tmp_path), "--port", "0", "--device", "cpu")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert "model.safetensors" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_killed_worker_is_replaced_and_its_requests_answered(running: RunningServer) -> None:
    texts = make_texts(400)
    with running.client() as client, ThreadPoolExecutor(1) as pool:
        (before,) = client.get("/info").json()["workers"]
        requests = pool.submit(ask_together, running, 8, texts)
        os.kill(before["pid"], signal.SIGKILL)
        assert len(requests.result(60)) == len(texts)
        assert eventually(lambda: client.get("/ready").status_code == 200)
        (after,) = client.get("/info").json()["workers"]
        assert after["pid"] != before["pid"]
