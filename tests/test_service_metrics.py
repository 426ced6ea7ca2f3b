"""Metrics add up over processes, and Prometheus' own parser reads them."""

import multiprocessing

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from service.config import DIALECTS
from service.dialects.table import endpoints_of
from service.errors import ErrorType, ServiceError
from service.exchange import Exchange
from service.metrics import STATUSES, Metrics
from service.routes import ENDPOINTS
from service.timing import Latency
from tests.servers import FakeClassifier, application, run


def samples(text: str) -> dict[str, float]:
    """Every sample by name and labels."""
    return {
        sample.name + "".join(f" {key}={value}" for key, value in sample.labels.items()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def answered(total_us: int, status: int = 200, texts: int = 1) -> Exchange:
    latency = Latency("cpu", "perf_counter", total_us // 4, total_us // 4, total_us // 4, total_us, texts, 1)
    return Exchange("id", "POST", "/predict", "/predict", {}, 0.0, status, texts, latency)


@given(totals=st.lists(st.integers(0, 60_000_000), min_size=1, max_size=30), processes=st.integers(1, 4))
def test_the_rows_of_all_processes_add_up(totals: list[int], processes: int) -> None:
    metrics = Metrics(["/predict"], processes)
    for index, total in enumerate(totals):
        metrics.use_row(index % processes)
        metrics.replied(answered(total, texts=2))
        metrics.passed(2)
    found = samples(metrics.exposition())
    assert found["textcnn_requests_total route=/predict status=200"] == len(totals)
    assert found["textcnn_texts_total"] == 2 * len(totals)
    assert found["textcnn_request_seconds_count"] == found["textcnn_request_seconds_bucket le=+Inf"] == len(totals)
    assert abs(found["textcnn_request_seconds_sum"] - sum(totals) / 1e6) < 1e-6
    for bound in (0.0001, 0.005, 1.0):
        within = sum(total <= bound * 1e6 for total in totals)
        assert found[f"textcnn_request_seconds_bucket le={bound}"] == within
    assert found["textcnn_pass_texts_bucket le=1"] == 0
    assert found["textcnn_pass_texts_bucket le=2"] == len(totals)


def test_no_count_is_too_large_to_be_exact() -> None:
    metrics = Metrics(["/predict"])
    for _ in range(3):
        metrics.replied(answered(5))
    metrics.add("texts_total", 2.0**40)
    metrics._cells[metrics._requests["/predict", 200]] += 12_345_678
    found = samples(metrics.exposition())
    assert found["textcnn_requests_total route=/predict status=200"] == 12_345_681
    assert found["textcnn_texts_total"] == 2**40 + 3


def test_forked_processes_write_to_the_same_memory() -> None:
    metrics = Metrics(["/predict"], 3)

    def work(row: int) -> None:
        metrics.use_row(row)
        for _ in range(100):
            metrics.replied(answered(1000))

    processes = [multiprocessing.get_context("fork").Process(target=work, args=(row,)) for row in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert samples(metrics.exposition())["textcnn_requests_total route=/predict status=200"] == 200


def test_refused_requests_are_counted_and_enter_no_histogram() -> None:
    metrics = Metrics(["/predict"])
    for status in (400, 503, 504, 499):
        metrics.replied(answered(5, status))
    found = samples(metrics.exposition())
    assert all(found[f"textcnn_requests_total route=/predict status={status}"] == 1 for status in (400, 503, 504, 499))
    assert found["textcnn_request_seconds_count"] == found["textcnn_texts_total"] == 0


def test_a_scrape_tells_what_the_replies_told() -> None:
    async def scenario() -> None:
        async with application(FakeClassifier()) as client:
            replies = [await client.post("/predict", json={"inputs": ["a"] * size}) for size in (1, 3)]
            await client.post("/predict", json={"inputs": []})
            await client.get("/nowhere")
            reply = await client.get("/metrics")
            assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
            found = samples(reply.text)
            totals = [reply.json()["latency"]["total_ms"] for reply in replies]
            assert abs(found["textcnn_request_seconds_sum"] - sum(totals) / 1e3) < 1e-9
            assert found["textcnn_requests_total route=/predict status=422"] == 1
            assert found["textcnn_requests_total route=other status=404"] == 1
            assert found["textcnn_texts_total"] == 4
            assert found["textcnn_requests_in_flight"] == 0
            assert found["textcnn_workers_ready"] == 1
            assert found["textcnn_model_info name=fake revision=sha256:00"] == 1

    run(scenario())


def test_every_status_of_a_dialect_is_counted() -> None:
    kinds = (*ENDPOINTS, *endpoints_of(DIALECTS))
    statuses = {kind.render_error(ServiceError(error, "field: rule"))[0] for kind in kinds for error in ErrorType}
    assert statuses >= {424, 429}
    assert statuses <= set(STATUSES)
