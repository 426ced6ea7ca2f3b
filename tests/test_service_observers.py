"""Access log and traces say what the reply said, and never what the texts were."""

import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from model.errors import InputError
from service.log import AccessLog
from service.tracing import Traces, endpoint_is_configured
from tests.servers import FakeClassifier, application, run

SECRET = "the secret text of a client"


class TimedClassifier(FakeClassifier):
    """Says that its passes cost something."""

    def classify(self, texts: Any, top_k: int | None = None, explained: Any = None) -> Any:
        predictions, timing = super().classify(texts, top_k, explained)
        timing.tokenize_ms, timing.inference_ms = 0.0, 0.001
        return predictions, timing


def test_a_line_of_the_access_log_has_the_figures_of_the_reply(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    log = AccessLog()

    async def scenario() -> None:
        async with application(FakeClassifier(), observers=[log]) as client:
            reply = await client.post("/predict", json={"inputs": [SECRET] * 2}, headers={"X-Request-ID": "mine"})
            await client.post("/predict", content=SECRET, headers={"X-Request-ID": "two words"})
            await client.get("/nowhere")
            log.close()
            good, bad, lost = (json.loads(line) for line in capfdbinary.readouterr().out.splitlines())
            assert reply.headers["x-request-id"] == good["request_id"] == "mine"
            for name in ("queue_ms", "tokenize_ms", "inference_ms", "total_ms", "batch_size"):
                assert good[name] == reply.json()["latency"][name]
            assert (good["status"], good["path"], good["texts"]) == (200, "/predict", 2)
            assert good["revision"] == "sha256:00"
            assert (bad["status"], lost["status"], lost["path"]) == (415, 404, "/nowhere")
            assert len(bad["request_id"]) == 32, "an identity that could break a log is replaced"
            assert SECRET not in str((good, bad, lost))

    run(scenario())


@pytest.mark.parametrize("is_gone", [True, False])
def test_nobody_waits_for_whoever_reads_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_gone: bool
) -> None:
    monkeypatch.setattr("service.log._MOST_WAITING", 50)
    monkeypatch.setattr("service.log._CLOSING_S", 60)
    reading, writing = (os.fdopen(end, mode) for end, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
    log = AccessLog(writing.fileno())
    if is_gone:
        reading.close()

    async def scenario() -> None:
        async with application(FakeClassifier(), observers=[log]) as client:
            while "the access log is not complete" not in caplog.text:
                assert (await client.get("/health")).status_code == 200

    run(scenario())
    assert len(caplog.records) == 1
    if is_gone:
        writing.close()
    else:
        with reading, ThreadPoolExecutor(1) as beside:
            lines = beside.submit(reading.readlines)
            log.close()
            writing.close()
        assert len(lines.result()) >= 50
        assert all(json.loads(line)["path"] == "/health" for line in lines.result())


@pytest.mark.parametrize("given", ["", "two words", "é", "x" * 129])
def test_an_identity_that_a_log_could_not_hold_is_replaced(given: str) -> None:
    async def scenario() -> None:
        async with application(FakeClassifier()) as client:
            for path in ("/predict", "/health"):
                reply = await client.get(path, headers={b"x-request-id": given.encode()})
                assert reply.headers["x-request-id"] not in ("", given)

    run(scenario())


@contextmanager
def collector() -> Iterator[tuple[str, list[Span]]]:
    """An OTLP endpoint and the spans that it has got."""
    spans: list[Span] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    spans.extend(scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/traces", spans
        server.shutdown()
        thread.join()


def test_a_trace_continues_the_clients_and_splits_the_time_of_the_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    async def scenario(traces: Traces) -> dict[str, Any]:
        async with application(TimedClassifier(), observers=[traces]) as client:
            reply = await client.post("/predict", json={"inputs": SECRET}, headers={"traceparent": parent})
            await client.get("/health")
            latency: dict[str, Any] = reply.json()["latency"]
            return latency

    with collector() as (url, spans):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", url)
        assert endpoint_is_configured()
        traces = Traces()
        latency = run(scenario(traces))
        traces.close()
    root = next(span for span in spans if span.name == "POST /predict")
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == tuple(parent.split("-")[1:3])
    stages = {span.name: span for span in spans if span.parent_span_id == root.span_id}
    assert set(stages) == {"queue", "tokenize", "inference"}
    assert len(spans) == 4, "probes are not traced"
    for name, span in (("total", root), *stages.items()):
        assert (span.end_time_unix_nano - span.start_time_unix_nano) == round(latency[f"{name}_ms"] * 1e6)
        assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= root.end_time_unix_nano
    assert SECRET not in str(spans)


def test_traces_that_cannot_be_sent_are_a_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.tracing.importlib.util.find_spec", lambda _: None)
    assert not endpoint_is_configured()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    with pytest.raises(InputError, match="traces need: pip install"):
        endpoint_is_configured()
