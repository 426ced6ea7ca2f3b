"""OpenTelemetry traces (the extra `telemetry`), when an OTLP endpoint is configured in the environment.

Spans are drawn from the timing of a finished request, so that a request pays for nothing but their making; a thread
sends them in batches. Where a request took several passes, its stages stand one after the other with their sums.
"""

import importlib.util
import os
import threading
import time
from typing import TYPE_CHECKING

from model.errors import InputError

from .exchange import OTHER_ROUTE, Exchange

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

_LAST_S = 2.0  # seconds for the last spans: the end of the service does not wait for a collector
_PROPAGATED = ("traceparent", "tracestate")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def endpoint_is_configured() -> bool:
    """Whether traces are wanted; raises `InputError` if they are and the extra is not installed."""
    given = next((name for name in _ENDPOINTS if os.environ.get(name)), None)
    if given and importlib.util.find_spec("opentelemetry.exporter") is None:
        raise InputError(f"{given} is set, but traces need: pip install 'textcnn-service[telemetry]'")
    return given is not None


class Traces:
    """One trace a request that classifies, with the spans `queue`, `tokenize` and `inference`."""

    def __init__(self) -> None:
        self._provider: TracerProvider | None = None
        self._tracer: Tracer | None = None

    def replied(self, exchange: Exchange) -> None:
        """Record the spans of `exchange`, which has just ended."""
        if exchange.route == OTHER_ROUTE:
            return
        from opentelemetry.trace import SpanKind, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        tracer = self._tracer or self._start()
        latency, end = exchange.latency, time.time_ns()
        begin = end - latency.total_us * 1000
        carrier = {name: exchange.headers.get(name.encode(), b"").decode("latin-1") for name in _PROPAGATED}
        span = tracer.start_span(
            f"{exchange.method} {exchange.route}",
            TraceContextTextMapPropagator().extract({name: value for name, value in carrier.items() if value}),
            SpanKind.SERVER,
            {
                "http.request.method": exchange.method,
                "http.route": exchange.route,
                "http.response.status_code": exchange.status,
                "textcnn.request_id": exchange.request_id,
                "textcnn.texts": exchange.texts,
                "textcnn.batch_size": latency.batch_size,
                "textcnn.model": exchange.model.get("name", ""),
                "textcnn.revision": exchange.model.get("revision", ""),
            },
            start_time=begin,
        )
        inside, at = set_span_in_context(span), begin
        stages = (("queue", latency.queue_us), ("tokenize", latency.tokenize_us), ("inference", latency.inference_us))
        for name, microseconds in stages if latency.passes else ():
            stage = tracer.start_span(name, inside, start_time=at)
            at += microseconds * 1000
            stage.end(at)
        span.end(end)

    def close(self) -> None:
        """Send what has not been sent, unless the collector takes too long over it."""
        if self._provider is not None:
            sending = threading.Thread(target=self._provider.shutdown, daemon=True)
            sending.start()
            sending.join(_LAST_S)

    def _start(self) -> "Tracer":
        """Begin in the process that replies: the sending thread would not survive a fork."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        name = os.environ.get("OTEL_SERVICE_NAME", "textcnn-service")
        self._provider = TracerProvider(resource=Resource.create({"service.name": name}), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("textcnn")
        return self._tracer
