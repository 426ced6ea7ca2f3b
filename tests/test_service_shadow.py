"""A model that scores what the others have answered, and never answers."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config import Limits
from service.shadow import WAITING_PASSES, agree
from tests.servers import Client, FakeClassifier, FakePrediction, application, run
from tests.test_service_models import metrics, named

PAUSE_S = 0.01  # between two looks: who looks without end keeps the interpreter from the threads that answer


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(PAUSE_S)


async def compared(client: Client, texts: int) -> dict[str, float]:
    """The metrics once the shadow has been through so many texts, scored or dropped."""
    while True:
        found = await metrics(client)
        done = (f"textcnn_shadow_{what}_texts_total model={name}" for what in ("compared", "dropped") for name in "ab")
        if sum(found.get(series, 0) for series in done) >= texts:
            return found
        await asyncio.sleep(PAUSE_S)


class Contrary(FakeClassifier):
    """Labels texts that begin with "no" otherwise than `FakeClassifier`."""

    def classify(self, texts: Any, top_k: int | None = None, explained: Any = None) -> Any:
        found, timing = super().classify(texts, top_k, explained)
        timing.inference_ms = 0.5
        return [FakePrediction("nay" if one.text.startswith("no") else one.text) for one in found], timing


def test_the_shadow_is_compared_and_never_answers() -> None:
    async def scenario() -> None:
        async with application(named("a"), others=[named("b"), Contrary(name="c")], shadow="c") as client:
            replies = [
                await client.post("/predict", json={"inputs": ["yes", "no 1"], "top_k": 1}),
                await client.post("/predict", json={"inputs": ["no 2"], "explain": True, "model": "b"}),
            ]
            await client.post("/predict", json={"inputs": []})
            assert [item["label"] for reply in replies for item in reply.json()["predictions"]] == [
                *("yes", "no 1", "no 2")
            ]
            found = await compared(client, 3)
            for name, texts, agreeing in (("a", 2, 1), ("b", 1, 0)):
                assert found[f"textcnn_shadow_compared_texts_total model={name}"] == texts
                assert found[f"textcnn_shadow_agreeing_texts_total model={name}"] == agreeing
                assert found[f"textcnn_shadow_dropped_texts_total model={name}"] == 0
            assert found["textcnn_shadow_inference_seconds_count"] == 2
            assert found["textcnn_shadow_inference_seconds_sum"] == pytest.approx(1e-3)
            assert found["textcnn_shadow_request_seconds_sum"] > 0
            # What requests have cost is told without it.
            assert found["textcnn_pass_texts_count"] == 2
            assert found["textcnn_inference_seconds_sum"] == 0

    run(scenario())


def test_a_busy_shadow_drops_and_delays_nobody() -> None:
    proceed = threading.Event()
    slow = named("c", before=lambda texts: [proceed.wait(10)])

    async def scenario() -> None:
        async with application(named("a"), Limits(max_batch_size=1), others=[slow], shadow="c") as client:
            for number in range(WAITING_PASSES + 3):
                assert (await client.post("/predict", json={"inputs": str(number)})).status_code == 200
            await asyncio.sleep(0)  # the last reply has been written: its turn has come
            shadow = client.gateway.pools[1].batcher
            assert shadow.in_flight == WAITING_PASSES
            assert (await metrics(client))["textcnn_shadow_dropped_texts_total model=a"] == 3
            proceed.set()
            found = await compared(client, WAITING_PASSES + 3)
            assert found["textcnn_shadow_agreeing_texts_total model=a"] == WAITING_PASSES
            assert shadow.in_flight == 0

    run(scenario())


def test_a_shadow_that_fails_is_counted_and_hurts_nobody() -> None:
    def fail(texts: Any) -> None:
        raise RuntimeError("a network may fail")

    async def scenario() -> None:
        async with application(named("a"), others=[named("c", before=fail)], shadow="c") as client:
            assert (await client.post("/predict", json={"inputs": ["t", "u"]})).status_code == 200
            found = await compared(client, 2)
            assert found["textcnn_shadow_dropped_texts_total model=a"] == 2
            shadow = client.gateway.pools[1]
            shadow.batcher.links[0].close()  # as if it had died
            await until(lambda: not shadow.ready)
            assert (await client.get("/ready")).status_code == 200
            assert (await client.post("/predict", json={"inputs": "t"})).status_code == 200
            assert len((await client.get("/info")).json()["models"]) == 2

    run(scenario())


@given(label=st.sampled_from("xy"), labels=st.lists(st.sampled_from("xyz"), unique=True))
def test_predictions_agree_by_what_they_say_whatever_the_scores(label: str, labels: list[str]) -> None:
    single, multi = {"label": label, "score": 0.5}, {"label": label, "labels": labels}
    assert agree(single, {"label": label, "score": 0.9})
    assert not agree(single, {"label": "z", "score": 0.5})
    assert agree(multi, {"label": "z", "labels": labels[::-1]})
    assert not agree(multi, {"label": label, "labels": [*labels, "w"]})
    assert not agree(single, multi)
    assert agree({"value": -100.0}, {"value": -100.9})
    assert not agree({"value": -100.0}, {"value": -102.0})
    assert not agree({"value": 1.0}, single)
