"""The contract of every route: the application with its sockets and a worker, without LitServe around it."""

import asyncio
import json
import re
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.config import Limits
from service.endpoint import Endpoint, Incoming, Query, Reply
from service.errors import ErrorType, ServiceError
from service.job import Job
from service.routes import ENDPOINTS
from service.schemas import ErrorReply, HealthReply, InfoReply, PredictReply, ReadyReply
from service.wire import Options
from tests.servers import POISON, FakeClassifier, application, run

LIMITS = Limits(max_texts=200, max_body_bytes=10_000, max_batch_size=8)


async def ask(client: httpx.AsyncClient, inputs: Any, **fields: Any) -> PredictReply:
    reply = await client.post("/predict", json={"inputs": inputs, **fields})
    assert reply.status_code == 200, reply.text
    return PredictReply.model_validate_json(reply.content, strict=True)


def error(reply: httpx.Response) -> tuple[int, str]:
    assert reply.headers["content-type"] == "application/json"
    return reply.status_code, ErrorReply.model_validate_json(reply.content).error_type


def test_one_text_and_many_give_one_prediction_each_in_order() -> None:
    async def scenario() -> None:
        async with application(FakeClassifier()) as client:
            assert [item.label for item in (await ask(client, "a")).predictions] == ["a"]
            texts = [str(number) for number in range(200)]
            assert [item.label for item in (await ask(client, texts)).predictions] == texts

    run(scenario())


def test_a_reply_says_what_it_cost_and_who_answered() -> None:
    async def scenario() -> None:
        async with application(FakeClassifier(), LIMITS) as client:
            reply = await client.post("/predict", json={"inputs": ["a"] * 20, "top_k": 1})
            body = PredictReply.model_validate_json(reply.content, strict=True)
            assert body.model.model_dump() == {"name": "fake", "revision": "sha256:00"}
            assert (body.latency.passes, body.latency.batch_size) == (3, 20)
            assert all(item.scores == {"a": 0.75} for item in body.predictions)
            header = dict(re.findall(r"(\w+);dur=([\d.]+)", reply.headers["server-timing"]))
            assert float(header["total"]) == body.latency.total_ms

    run(scenario())


def test_evidence_comes_to_those_who_ask_for_it_alone() -> None:
    async def scenario() -> None:
        async with application(FakeClassifier(), LIMITS) as client:
            asked = ask(client, ["ab", "c"], explain=True), ask(client, "ab", explain=True, explain_label="other")
            explained, of_other, plain = await asyncio.gather(*asked, ask(client, "ab"))
            pieces = [prediction.evidence for prediction in explained.predictions]
            assert [(piece[0].text, piece[0].contribution) for piece in pieces if piece] == [("ab", 1.0), ("c", 1.0)]
            assert [prediction.bias for prediction in explained.predictions] == [0.5, 0.5]
            assert of_other.predictions[0].evidence is not None
            assert of_other.predictions[0].evidence[0].contribution == 2.0
            assert (plain.predictions[0].evidence, plain.predictions[0].bias) == (None, None)

    run(scenario())


def test_a_text_without_evidence_fails_its_own_request_alone() -> None:
    async def scenario() -> None:
        async with application(FakeClassifier(), LIMITS) as client:
            failing = client.post("/predict", json={"inputs": ["a", "riddle"], "explain": True})
            reply, neighbour = await asyncio.gather(failing, ask(client, "riddle"))
            assert error(reply) == (500, "internal")
            assert "inputs[1]: the classifier failed on it" in reply.json()["error"]
            assert neighbour.predictions[0].label == "riddle"

    run(scenario())


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"explain": True, "explain_label": "x"}, "explain_label: must be a label of the model, got 'x'"),
        ({"explain_label": "a"}, "explain_label: goes with explain = true, got 'a' without"),
        ({"explain": 1}, "explain: must be true or false, got 1"),
        ({"explain": True, "explain_label": 3}, "explain_label: must be a string, got 3"),
    ],
)
def test_what_cannot_be_explained_is_refused(fields: dict[str, Any], sentence: str) -> None:
    async def scenario() -> None:
        async with application(FakeClassifier(), LIMITS) as client:
            reply = await client.post("/predict", json={"inputs": "a", **fields})
            assert error(reply) == (422, "validation")
            assert reply.json()["error"] == sentence

    run(scenario())


class SlowClassifier(FakeClassifier):
    """A network and a tokenizer that take the milliseconds that the longest text names, and say truly how long."""

    def classify(self, texts: Any, top_k: int | None = None, explained: Any = None) -> Any:
        predictions, timing = super().classify(texts, top_k, explained)
        moments = [time.perf_counter()]
        for _ in range(2):
            time.sleep(max(map(len, texts)) / 1e3)
            moments.append(time.perf_counter())
        timing.tokenize_ms, timing.inference_ms = ((moments[i + 1] - moments[i]) * 1e3 for i in range(2))
        return predictions, timing


@settings(max_examples=8, deadline=None)
@given(requests=st.lists(st.lists(st.text("x", max_size=3), min_size=1, max_size=20), min_size=1, max_size=10))
def test_the_parts_of_a_requests_time_never_exceed_its_total(requests: list[list[str]]) -> None:
    async def scenario() -> None:
        async with application(SlowClassifier(), LIMITS) as client:
            asked = [client.post("/predict", json={"inputs": texts}) for texts in requests]
            for texts, reply in zip(requests, await asyncio.gather(*asked), strict=True):
                latency = PredictReply.model_validate_json(reply.content, strict=True).latency
                assert latency.queue_ms + latency.tokenize_ms + latency.inference_ms <= latency.total_ms
                assert latency.inference_ms >= max(map(len, texts))
                header = dict(re.findall(r"(\w+);dur=([\d.]+)", reply.headers["server-timing"]))
                assert {name: float(value) for name, value in header.items()} == {
                    name: getattr(latency, f"{name}_ms") for name in ("queue", "tokenize", "inference", "total")
                }

    run(scenario())


def test_who_waits_for_a_pass_is_told_so() -> None:
    proceed = threading.Event()

    async def scenario() -> None:
        async with application(FakeClassifier(lambda texts: [proceed.wait(10)]), LIMITS) as client:
            first = asyncio.create_task(ask(client, "first"))
            while client.gateway.pools[0].batcher.in_flight < 1:
                await asyncio.sleep(0)
            second = asyncio.create_task(ask(client, "second"))
            while client.gateway.pools[0].batcher.in_flight < 2:
                await asyncio.sleep(0)
            await asyncio.sleep(0.02)  # a wait that must show, not one for something to happen
            proceed.set()
            await first
            assert (await second).latency.queue_ms >= 20

    run(scenario())


def test_a_hundred_right_answers_beside_a_poisonous_text() -> None:
    proceed = threading.Event()

    async def scenario() -> None:
        classifier = FakeClassifier(lambda texts: [proceed.wait(10)])
        async with application(classifier, Limits(max_batch_size=128)) as client:
            texts = [*(str(number) for number in range(60)), POISON, *(str(number) for number in range(60, 100))]
            requests = [asyncio.create_task(client.post("/predict", json={"inputs": text})) for text in ["x", *texts]]
            while client.gateway.pools[0].batcher.in_flight < 102:
                await asyncio.sleep(0)
            proceed.set()
            replies = await asyncio.gather(*requests)
            good = [reply for reply in replies if reply.status_code == 200]
            assert len(classifier.passes[1]) == 101, "they must have shared a pass"
            assert len(good) == 101
            assert {reply.json()["predictions"][0]["label"] for reply in good} == {"x", *texts} - {POISON}
            assert [error(reply) for reply in replies if reply.status_code != 200] == [(500, "internal")]

    run(scenario())


CASES: list[tuple[str, str, dict[str, Any], tuple[int, str]]] = [
    ("POST", "/predict", {"content": "x", "headers": {"content-type": "application/json"}}, (400, "invalid_json")),
    ("POST", "/predict", {"json": {"inputs": []}}, (422, "validation")),
    ("POST", "/predict", {"json": {"inputs": ["a"] * 201}}, (422, "validation")),
    ("POST", "/predict", {"json": {"inputs": POISON}}, (500, "internal")),
    ("POST", "/predict", {"json": {"inputs": "a" * 10_000}}, (413, "too_large")),
    ("POST", "/predict", {"content": "{}", "headers": {"content-type": "text/plain"}}, (415, "unsupported_media_type")),
    ("POST", "/predict", {"content": "{}"}, (415, "unsupported_media_type")),
    ("POST", "/predict", {"json": {}, "headers": {"content-encoding": "gzip"}}, (415, "unsupported_media_type")),
    ("GET", "/predict", {}, (405, "method_not_allowed")),
    ("PUT", "/predict", {"json": {"inputs": "a"}}, (405, "method_not_allowed")),
    ("POST", "/health", {}, (405, "method_not_allowed")),
    ("GET", "/nothing", {}, (404, "not_found")),
    ("GET", "/predict/", {}, (404, "not_found")),
    ("GET", "/health/", {}, (404, "not_found")),
    ("POST", "/", {}, (405, "method_not_allowed")),
    ("GET", "/docs/assets/../../config.py", {}, (404, "not_found")),
]


@pytest.mark.parametrize(("method", "path", "options", "expected"), CASES)
def test_an_error_has_its_status_and_body_and_the_service_goes_on(
    method: str, path: str, options: dict[str, Any], expected: tuple[int, str]
) -> None:
    async def scenario() -> None:
        async with application(FakeClassifier(), LIMITS) as client:
            reply = await client.request(method, path, **options)
            assert error(reply) == expected
            if expected[0] == 405:
                assert reply.headers["allow"]
            assert (await ask(client, "good")).predictions[0].label == "good"

    run(scenario())


def test_a_body_that_tells_it_is_too_large_is_not_read() -> None:
    parts_read: list[int] = []

    async def unread() -> AsyncIterator[bytes]:
        parts_read.append(1)
        yield b"{}"

    async def scenario() -> None:
        async with application(FakeClassifier(), LIMITS) as client:
            headers = {"content-type": "application/json", "content-length": "10001"}
            assert error(await client.post("/predict", content=unread(), headers=headers)) == (413, "too_large")
            assert not parts_read

    run(scenario())


def test_a_body_that_does_not_tell_its_size_is_limited_too() -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b" " * 1000

    async def scenario() -> None:
        async with application(FakeClassifier(), LIMITS) as client:
            headers = {"content-type": "application/json"}
            reply = await client.post("/predict", content=endless(), headers=headers)
            assert error(reply) == (413, "too_large")

    run(scenario())


def test_a_key_is_needed_where_one_is_set_and_only_to_classify() -> None:
    async def scenario() -> None:
        async with application(FakeClassifier(), api_key="secret") as client:
            wrong: list[dict[bytes, bytes]] = [{}, {b"x-api-key": b"no"}, {b"authorization": b"Bearer no"}]
            wrong.append({b"authorization": b"secret"})
            for headers in (*wrong, {b"x-api-key": "sécret".encode()}):
                reply = await client.post("/predict", json={"inputs": "a"}, headers=headers)
                assert error(reply) == (401, "unauthorized")
                assert "secret" not in reply.text
            for headers in ({b"x-api-key": b"secret"}, {b"authorization": b"bearer secret"}):
                assert (await client.post("/predict", json={"inputs": "a"}, headers=headers)).status_code == 200
                assert (await client.get("/info", headers=headers)).json()["examples"] == ["try me"]
            card = (await client.get("/info")).json()
            assert (card["examples"], card["models"][0]["examples"]) == ([], [])
            for path in ("/health", "/ready", "/info", "/ui", "/docs", "/openapi.json"):
                assert (await client.get(path)).status_code == 200

    run(scenario())


def test_a_failure_of_our_own_is_an_answer_and_no_text_reaches_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: object, query: Query, job: Job) -> Reply:
        raise KeyError(query.texts[0])

    async def scenario() -> None:
        async with application(FakeClassifier()) as client:
            monkeypatch.setattr("service.predict.PredictEndpoint.render", fail)
            reply = await client.post("/predict", json={"inputs": "secret"}, headers={"x-request-id": "id-7"})
            assert error(reply) == (500, "internal")
            assert reply.headers["x-request-id"] == "id-7"
            monkeypatch.setattr("service.routes.info", fail)
            reply = await client.get("/info", headers={"x-request-id": "id-8"})
            assert error(reply) == (500, "internal")
            assert reply.headers["x-request-id"] == "id-8"
            counted = (await client.get("/metrics")).text
            assert 'textcnn_requests_total{route="other",status="500"} 1' in counted
            monkeypatch.undo()
            assert (await ask(client, "good")).predictions[0].label == "good"

    run(scenario())
    assert "request id-7 failed with KeyError" in caplog.text
    assert "request id-8 failed with AttributeError" in caplog.text
    assert "in fail" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(("given", "status"), [("0", 422), ("-5", 422), ("soon", 422), ("1e3", 422), ("30", 504)])
def test_a_deadline_is_kept_and_a_senseless_one_refused(given: str, status: int) -> None:
    proceed = threading.Event()

    async def scenario() -> None:
        classifier = FakeClassifier(lambda texts: [proceed.wait(10)])
        async with application(classifier, LIMITS) as client:
            reply = await client.post("/predict", json={"inputs": "a"}, headers={"X-Request-Deadline-Ms": given})
            proceed.set()
            assert reply.status_code == status
            assert ("within 30 ms" if status == 504 else f"from 1 on, got {given}") in reply.json()["error"]
            assert (await ask(client, "good")).predictions[0].label == "good"

    run(scenario())


def test_browsers_of_other_origins_may_ask_only_where_they_are_let() -> None:
    origin = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}

    async def scenario() -> None:
        async with application(FakeClassifier()) as client:
            reply = await client.post("/predict", json={"inputs": "a"}, headers=origin)
            assert "access-control-allow-origin" not in reply.headers
        async with application(FakeClassifier(), cors_origins=["https://app.example"]) as client:
            headers = origin | {"Access-Control-Request-Headers": "content-type, x-api-key"}
            assert (await client.options("/predict", headers=headers)).status_code == 200
            for path in ("/predict", "/info"):
                reply = await client.request("POST" if path == "/predict" else "GET", path, headers=origin)
                assert reply.headers["access-control-allow-origin"] == "https://app.example"
            reply = await client.get("/info", headers=origin | {"Origin": "https://other.example"})
            assert "access-control-allow-origin" not in reply.headers

    run(scenario())


class Shout(Endpoint):
    """A dialect as small as can be."""

    route = "/shout/{loudness}/now"
    media_types = ("text/plain",)

    def parse(self, incoming: Incoming) -> Query:
        if incoming.scope["path_params"]["loudness"] != "loud":
            raise ServiceError(ErrorType.NOT_FOUND, "loudness: must be loud")
        return Query([incoming.body.decode()], Options(top_k=1))

    def render(self, query: Query, job: Job) -> Reply:
        label = json.loads(job.fragments[0])["label"]
        return Reply(label.upper().encode(), ((b"content-type", b"text/plain"),))

    @classmethod
    def render_error(cls, error: ServiceError) -> tuple[int, Reply]:
        return error.error_type.status, Reply(error.message.upper().encode())


def test_a_dialect_has_all_that_predict_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.routes.ENDPOINTS", [*ENDPOINTS, Shout])
    monkeypatch.setattr("tests.servers.ENDPOINTS", [*ENDPOINTS, Shout])
    plain = {"content-type": "text/plain"}

    async def scenario() -> None:
        async with application(FakeClassifier(), api_key="key") as client:
            assert (await client.post("/shout/loud/now", content="a", headers=plain)).status_code == 401
            headers = plain | {"x-api-key": "key"}
            reply = await client.post("/shout/loud/now", content="hello", headers=headers)
            assert (reply.status_code, reply.text, reply.headers["content-type"]) == (200, "HELLO", "text/plain")
            assert "server-timing" in reply.headers
            reply = await client.post("/shout/low/now", content="hello", headers=headers)
            assert (reply.status_code, reply.text) == (404, "LOUDNESS: MUST BE LOUD")
            assert (await client.get("/shout/loud/now")).status_code == 405
            assert (await client.post("/shout/loud", content="hello", headers=headers)).status_code == 404
            metrics = (await client.get("/metrics")).text
            assert 'textcnn_requests_total{route="/shout/{loudness}/now",status="200"} 1\n' in metrics

    run(scenario())


def test_the_probes_and_the_card_of_the_service() -> None:
    async def scenario() -> None:
        async with application(FakeClassifier(), LIMITS) as client:
            assert HealthReply.model_validate_json((await client.get("/health")).content).status == "ok"
            ready = ReadyReply.model_validate_json((await client.get("/ready")).content)
            assert (ready.status, ready.workers_ready) == ("ready", 1)
            info = InfoReply.model_validate_json((await client.get("/info")).content, strict=True)
            assert info.limits.max_texts == 200
            assert info.limits.max_length == 8
            assert info.labels == ["a", "other", "third"]
            assert [worker.device for worker in info.workers] == ["cpu"]
            assert (await client.get("/")).headers["location"] == "ui"

    run(scenario())


def test_the_documentation_loads_nothing_from_elsewhere() -> None:
    async def scenario() -> None:
        async with application(FakeClassifier()) as client:
            page = (await client.get("/docs")).text
            assert "//" not in re.sub(r"// .*", "", page)
            for asset in re.findall(r'(?:src|href)="\./([^"]+)"', page):
                assert (await client.get(f"/{asset}")).status_code == 200
            assert "openapi.json" in page

    run(scenario())


NATIVE = {"/predict", "/health", "/ready", "/info", "/metrics"}
OF_DIALECT = {
    "hf": {"/hf"},
    "tei": {"/tei/predict", "/tei/info"},
    "vllm": {"/classify", "/v1/models"},
    "kserve": {
        *("/v2", "/v2/health/live", "/v2/health/ready"),
        *("/v2/models/{name}", "/v2/models/{name}/ready", "/v2/models/{name}/infer"),
    },
}


@pytest.mark.parametrize("spoken", [*((name,) for name in OF_DIALECT), tuple(OF_DIALECT)])
def test_openapi_has_the_routes_that_are_spoken_and_no_others(spoken: tuple[str, ...]) -> None:
    async def scenario() -> None:
        async with application(FakeClassifier(), dialects=spoken) as client:
            paths = (await client.get("/openapi.json")).json()["paths"]
            assert set(paths) == NATIVE.union(*(OF_DIALECT[name] for name in spoken))
            for path, method in ((path, "post" if "post" in item else "get") for path, item in paths.items()):
                reply = await client.request(method, path.replace("{name}", "fake"))
                assert str(reply.status_code) in paths[path][method]["responses"], path
            for path in set().union(*OF_DIALECT.values()) - set(paths):
                assert (await client.get(path.replace("{name}", "fake"))).status_code == 404, path

    run(scenario())


def test_openapi_knows_every_status_that_a_route_can_answer() -> None:
    async def scenario() -> None:
        async with application(FakeClassifier()) as client:
            document = (await client.get("/openapi.json")).json()
            assert set(document["paths"]) == NATIVE
            statuses = set(document["paths"]["/predict"]["post"]["responses"])
            assert statuses == {"200", "400", "401", "404", "413", "415", "422", "500", "503", "504"}
            references = re.findall(r'"\$ref": ?"#/components/schemas/(\w+)"', json.dumps(document))
            assert set(references) <= set(document["components"]["schemas"])
            request = document["components"]["schemas"]["PredictRequest"]
            assert request["additionalProperties"] is False
            assert {"type": "integer", "minimum": 1} in request["properties"]["top_k"]["anyOf"]

    run(scenario())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)
bodies = st.binary(max_size=100) | json_values.map(json.dumps).map(str.encode)


@settings(max_examples=30)
@given(
    batch=st.lists(bodies | st.fixed_dictionaries({"inputs": json_values}).map(json.dumps).map(str.encode), max_size=20)
)
def test_no_body_makes_the_service_fail(batch: list[bytes]) -> None:
    async def scenario() -> None:
        async with application(FakeClassifier(), LIMITS) as client:
            headers = {"content-type": "application/json"}
            for body in batch:
                reply = await client.post("/predict", content=body, headers=headers)
                assert reply.status_code in (200, 400, 413, 422)
                assert reply.status_code == 200 or error(reply)
            assert (await ask(client, "good")).predictions[0].label == "good"

    run(scenario())
