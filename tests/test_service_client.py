"""The typed client against the application itself, and against services that refuse, fail or vanish."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from service.client import AsyncClient, ClassificationError, Client, Reply
from tests.servers import POISON, FakeClassifier, application, run

URL = "http://service"
ANSWER = {
    "predictions": [{"label": "a", "score": 0.5, "scores": {"a": 0.5}, "a field of the future": 1}],
    "latency": {
        **{"device": "cpu", "clock": "perf_counter", "inference_ms": 1.0, "tokenize_ms": 1.0},
        **{"queue_ms": 1.0, "total_ms": 3.0, "batch_size": 1, "passes": 1},
    },
    "model": {"name": "m", "revision": "sha256:00"},
}
BUSY = {"error": "inputs: too many", "error_type": "overloaded"}
Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the clients wanted to wait; they do not."""
    wanted: list[float] = []

    async def note(seconds: float) -> None:
        wanted.append(seconds)

    monkeypatch.setattr("service.client.time.sleep", wanted.append)
    monkeypatch.setattr("service.client.asyncio.sleep", note)
    return wanted


def test_mistakes_of_the_caller_are_told() -> None:
    with pytest.raises(ValueError, match=r"url must begin with http:// or https://, got 'localhost:8000'"):
        Client("localhost:8000")
    with pytest.raises(ValueError, match="retries must be at least 0, got -1"):
        Client(URL, retries=-1)
    asked: list[bytes] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        asked.append(request.content)
        return httpx.Response(422, json={"error": "body: a lone surrogate", "error_type": "validation"})

    with (
        Client(URL, transport=httpx.MockTransport(refuse)) as client,
        pytest.raises(ClassificationError, match="lone surrogate"),
    ):
        client.predict("\ud800")
    assert b"\\ud800" in asked[0]


def ask_both(handler: Callable[[], Handler], **options: Any) -> list[Reply | Exception]:
    """What the blocking and the asynchronous client make of the same service."""
    outcomes: list[Reply | Exception] = []

    async def ask() -> Reply:
        async with AsyncClient(URL, "key", transport=httpx.MockTransport(handler()), **options) as client:
            return await client.predict("a", request_id="id-1", top_k=1)

    with Client(URL, "key", transport=httpx.MockTransport(handler()), **options) as client:
        calls: list[Callable[[], Reply]] = [
            lambda: client.predict("a", request_id="id-1", top_k=1),
            lambda: asyncio.run(ask()),
        ]
        for call in calls:
            try:
                outcomes.append(call())
            except (ClassificationError, httpx.TransportError) as error:
                outcomes.append(error)
    return outcomes


def replies(*answers: httpx.Response | Exception) -> Callable[[], Handler]:
    def begin() -> Handler:
        coming = iter(answers)

        def handle(request: httpx.Request) -> httpx.Response:
            assert request.headers["x-api-key"] == "key"
            assert request.headers["x-request-id"] == "id-1"
            assert 0 < int(request.headers["x-request-deadline-ms"]) <= 30_000
            assert request.read() == b'{"inputs":"a","top_k":1}'
            answer = next(coming)
            if isinstance(answer, Exception):
                raise answer
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

        return handle

    return begin


def test_a_reply_is_typed_and_may_say_more_than_the_client_knows(pauses: list[float]) -> None:
    for reply in ask_both(replies(httpx.Response(200, json=ANSWER, headers={"x-request-id": "id-1"}))):
        assert isinstance(reply, Reply)
        assert (reply.predictions[0].label, reply.latency.total_ms, reply.request_id) == ("a", 3.0, "id-1")
    assert pauses == []


def test_what_is_refused_or_lost_is_tried_again_when_the_service_says(pauses: list[float]) -> None:
    busy = httpx.Response(503, json=BUSY, headers={"retry-after": "2"})
    lost = httpx.ConnectError("nobody listens")
    for reply in ask_both(replies(busy, lost, httpx.Response(200, json=ANSWER))):
        assert isinstance(reply, Reply)
    assert pauses == [2.0, 0.2] * 2


def test_patience_ends_with_the_attempts_and_with_the_time(pauses: list[float]) -> None:
    busy = httpx.Response(503, json=BUSY, headers={"retry-after": "1"})
    for error in ask_both(replies(busy, busy), retries=1):
        assert isinstance(error, ClassificationError)
        assert (error.status, error.error_type, error.message) == (503, "overloaded", "inputs: too many")
    assert pauses == [1.0, 1.0]
    for error in ask_both(replies(busy), timeout_s=0.5):
        assert isinstance(error, ClassificationError)
    assert pauses == [1.0, 1.0], "a pause beyond the deadline is not made"
    for error in ask_both(replies(httpx.ReadError("gone")), retries=0):
        assert isinstance(error, httpx.ReadError)


@pytest.mark.parametrize("body", [b"<html>Bad Gateway</html>", b"[]", b'{"predictions": [{}]}'])
def test_an_answer_of_somebody_else_is_an_error_that_shows_it(body: bytes, pauses: list[float]) -> None:
    for error in ask_both(replies(httpx.Response(200, content=body))):
        assert isinstance(error, ClassificationError)
        assert error.error_type == "no_contract"


def test_a_mistake_is_not_tried_again(pauses: list[float]) -> None:
    wrong = httpx.Response(422, json={"error": "top_k: no", "error_type": "validation"})
    for error in ask_both(replies(wrong)):
        assert isinstance(error, ClassificationError)
        assert error.status == 422


def test_the_client_speaks_the_contract_of_the_service() -> None:
    async def scenario() -> None:
        async with application(FakeClassifier()) as inside, AsyncClient(URL, transport=inside._transport) as client:
            reply = await client.predict(["a", "b"], top_k=1)
            assert [item.label for item in reply.predictions] == ["a", "b"]
            assert reply.predictions[0].scores == {"a": 0.75}
            assert reply.latency.queue_ms <= reply.latency.total_ms
            assert len(reply.request_id) == 32
            with pytest.raises(ClassificationError, match=r"500 internal: inputs\[0\]: the classifier failed"):
                await client.predict(POISON)

    run(scenario())


def test_one_client_serves_several_threads(pauses: list[float]) -> None:
    answering = httpx.MockTransport(lambda _: httpx.Response(200, json=ANSWER))
    with Client(URL, "key", transport=answering) as client:
        found: list[Reply] = []
        threads = [threading.Thread(target=lambda: found.append(client.predict("a"))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
