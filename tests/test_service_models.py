"""Several checkpoints served by name."""

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from model.classifier import TextClassifier
from model.windows import Windows
from service.config import DIALECTS, Limits
from service.gateway import make_gateway
from service.metrics import Metrics
from service.schemas import InfoReply
from service.served import Served
from tests.checkpoints import TEXTS, write_checkpoint
from tests.servers import FakeClassifier, RunningServer, application, eventually, run, server
from tests.test_service_batcher import FakeLink
from tests.test_service_metrics import samples
from tests.test_service_reload import ADMIN, clients, reload


def named(name: str, **options: Any) -> FakeClassifier:
    return FakeClassifier(name=name, revision=f"sha256:{name}", **options)


async def metrics(client: httpx.AsyncClient) -> dict[str, float]:
    return samples((await client.get("/metrics")).text)


def test_each_model_answers_to_its_name_and_passes_never_mix() -> None:
    first, second = named("a"), named("b")
    names = [None, "a", "b"] * 10

    async def scenario() -> None:
        async with application(first, others=[second]) as client:
            bodies = [{"inputs": f"{name} {n}"} | ({"model": name} if name else {}) for n, name in enumerate(names)]
            replies = await asyncio.gather(*(client.post("/predict", json=body) for body in bodies))
            assert [reply.json()["model"]["name"] for reply in replies] == [name or "a" for name in names]
            assert (await client.post("/predict", json={"inputs": "a", "model": None})).json()["model"]["name"] == "a"

    run(scenario())
    assert {text.split()[0] for texts in first.passes for text in texts} == {"None", "a"}
    assert {text.split()[0] for texts in second.passes for text in texts} == {"b"}


def test_an_unknown_model_is_named_and_a_shadow_is_unknown() -> None:
    async def scenario() -> None:
        async with application(named("a"), others=[named("b"), named("c")], shadow="c", dialects=DIALECTS) as client:
            for name in ("x", "c", ""):
                sentence = f"model: must be 'a' or 'b', got {name!r}"
                reply = await client.post("/predict", json={"inputs": "t", "model": name})
                assert reply.status_code == 404
                assert reply.json() == {"error": sentence, "error_type": "not_found"}
                reply = await client.post("/classify", json={"input": "t", "model": name})
                assert (reply.status_code, reply.json()["error"]["message"]) == (404, sentence)
                if name:
                    assert (await client.get(f"/v2/models/{name}")).json()["error"] == sentence
            reply = await client.post("/predict", json={"inputs": "t", "model": 5})
            assert (reply.status_code, reply.json()["error"]) == (422, "model: must be a string, got 5")

    run(scenario())


def test_dialects_that_name_a_model_get_its_labels() -> None:
    second = named("b", labels=["third", "t", "other"])
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["t"]}

    async def scenario() -> None:
        async with application(named("a"), others=[second], dialects=DIALECTS) as client:
            reply = (await client.post("/classify", json={"input": "t", "model": "b"})).json()
            assert (reply["model"], reply["data"][0]["probs"]) == ("b", [0.05, 0.75, 0.2])
            reply = (await client.post("/v2/models/b/infer", json={"inputs": [tensor]})).json()
            assert (reply["model_name"], reply["model_version"]) == ("b", "sha256:b")
            assert reply["outputs"][0]["data"] == pytest.approx([0.05, 0.75, 0.2])
            assert (await client.get("/v2/models/b")).json()["versions"] == ["sha256:b"]
            assert (await client.get("/v2/models/b/ready")).json() == {"ready": True}
            asked = {"inputs": "t", "explain": True, "explain_label": "t"}
            assert (await client.post("/predict", json=asked | {"model": "b"})).status_code == 200
            assert (await client.post("/predict", json=asked)).status_code == 422

    run(scenario())


def test_the_card_and_the_metrics_speak_of_every_model() -> None:
    async def scenario() -> None:
        second = named("b", labels=["x"], precision="bfloat16", windows=Windows(window=4, stride=2, pooling="max"))
        async with application(named("a"), others=[second, named("c")], shadow="c") as client:
            info = InfoReply.model_validate_json((await client.get("/info")).content, strict=True)
            assert (info.model.name, info.labels) == ("a", ["a", "other", "third"])
            assert [(one.name, one.labels[0], one.shadow) for one in info.models] == [
                *(("a", "a", False), ("b", "x", False), ("c", "a", True))
            ]
            assert [one.precision for one in info.models] == ["float32", "bfloat16", "float32"]
            assert [one.windows and vars(one.windows) for one in info.models] == [
                *(None, {"window": 4, "stride": 2, "pooling": "max"}, None)
            ]
            assert [worker.model for worker in info.workers] == ["a", "b", "c"]
            assert (await client.get("/ready")).json() == {"status": "ready", "workers_ready": 3}
            found = await metrics(client)
            assert all(found[f"textcnn_model_info name={name} revision=sha256:{name}"] == 1 for name in "abc")
            assert found["textcnn_shadow_compared_texts_total model=a"] == 0
        async with application(named("a"), others=[named("b")]) as client:
            assert "shadow" not in (await client.get("/metrics")).text

    run(scenario())


def test_new_checkpoints_of_several_models_take_over_together_and_of_one_alone() -> None:
    def link(worker: int, generation: int, size: int) -> Any:
        made = FakeLink({"name": "ab"[worker], "revision": f"sha256:{generation}"})
        made.hello = replace(made.hello, worker=worker, generation=generation, generation_size=size)
        return made

    async def scenario() -> None:
        gateway = make_gateway([Served("nowhere", "a"), Served("nowhere", "b")], 1, Limits(), Metrics())

        def revisions() -> list[str]:
            return [pool.hello.model["revision"][-1] for pool in gateway.pools]

        old = [link(0, 0, 0), link(1, 0, 0)]
        for one in (*old, cancelled := link(1, 1, 2)):
            gateway.joined(one)
        waiting = asyncio.create_task(gateway.pools[0].reached(2))
        await asyncio.sleep(0)
        assert (revisions(), waiting.done()) == (["0", "0"], False)
        gateway.lost(cancelled)  # the other one of its generation could not be loaded
        for one in (link(1, 2, 2), link(0, 2, 2)):
            assert revisions() == ["0", "0"]
            gateway.joined(one)
        assert revisions() == ["2", "2"]
        await waiting
        gateway.joined(link(1, 3, 1))
        assert revisions() == ["2", "3"]
        gateway.joined(late := link(1, 2, 2))
        assert [one.closed for one in (*old, late)] == [True, True, True]
        assert gateway.ready

    run(scenario())


def test_a_reload_is_for_the_model_that_is_named() -> None:
    asked: list[tuple[str | None, int | None]] = []

    async def taken(checkpoint: str | None, place: int | None) -> str:
        asked.append((checkpoint, place))
        return ""

    async def scenario() -> None:
        options: dict[str, Any] = {"others": [named("b"), named("c")], "shadow": "c", "admin_key": "admin"}
        async with application(named("a"), reload=taken, **options) as client:
            client.headers.update(ADMIN)
            for body, name in (({"model": "b", "checkpoint": "f"}, "b"), ({"model": "c"}, "c"), ({}, "a")):
                reply = await client.post("/admin/reload", json=body)
                assert reply.json()["model"]["name"] == name
            assert asked == [("f", 1), (None, 2), (None, None)]
            reply = await client.post("/admin/reload", json={"model": "x"})
            assert (reply.status_code, reply.json()["error"]) == (404, "model: must be 'a' or 'b' or 'c', got 'x'")
            assert len(asked) == 3

    run(scenario())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two checkpoints of different labels, and a third to take the place of the second."""
    root = tmp_path_factory.mktemp("models")
    labels = {"id2label": {0: "x", 1: "y"}, "label2id": {"x": 0, "y": 1}}
    options: dict[str, dict[str, Any]] = {"first": {}, "second": labels, "third": {"num_filters": 8}}
    return {name: write_checkpoint(root / name, **given) for name, given in options.items()}


@pytest.fixture(scope="module")
def running(folders: dict[str, Path]) -> Iterator[RunningServer]:
    """The first checkpoint twice, once as the shadow; each with two workers, known to two API processes."""
    others = [f"b={folders['second']}", f"c={folders['first']}"]
    flags = ("--shadow", "c", "--api_servers", "2", "--workers_per_device", "2", "--max_batch_size", "8")
    with server(f"a={folders['first']}", "--checkpoint", *others, *flags, TEXTCNN_ADMIN_KEY="admin") as started:
        assert started.greeting.startswith("Serving a, b, c (shadow) on ")
        yield started
        assert started.stop() == 0


def workers(running: RunningServer) -> dict[str, list[int]]:
    """The pids of each model's workers."""
    found: dict[str, list[int]] = {name: [] for name in "abc"}
    with running.client() as client:
        for worker in client.get("/info").json()["workers"]:
            found[worker["model"]].append(worker["pid"])
    return found


def count(running: RunningServer, what: str, model: str = "a") -> float:
    with running.client() as client:
        return samples(client.get("/metrics").text)[f"textcnn_shadow_{what}_texts_total model={model}"]


@pytest.mark.slow
def test_the_real_service_answers_with_the_model_that_is_named(
    running: RunningServer, folders: dict[str, Path]
) -> None:
    with running.client() as client:
        for name, folder in ((None, "first"), ("a", "first"), ("b", "second")):
            expected = TextClassifier.from_pretrained(folders[folder], "cpu")
            reply = client.post("/predict", json={"inputs": TEXTS} | ({"model": name} if name else {})).json()
            assert reply["model"] == {"name": name or "a", "revision": expected.revision}
            for found, prediction in zip(reply["predictions"], expected(TEXTS), strict=True):
                assert found["scores"] == pytest.approx(prediction.scores, abs=1e-5)
        for name in ("c", "first"):
            reply = client.post("/predict", json={"inputs": TEXTS, "model": name})
            assert (reply.status_code, reply.json()["error_type"]) == (404, "not_found")
    assert [len(pids) for pids in workers(running).values()] == [2, 2, 2]


@pytest.mark.slow
def test_the_same_checkpoint_as_a_shadow_agrees_and_its_death_hurts_nobody(running: RunningServer) -> None:
    before = workers(running)
    with clients(running) as replies:
        assert eventually(lambda: count(running, "compared") > 100)
        for pid in before["c"]:
            os.kill(pid, signal.SIGKILL)
        with running.client() as client:
            assert client.get("/ready").status_code == 200
        assert eventually(lambda: not {*before["c"]} & {*workers(running)["c"]} and len(workers(running)["c"]) == 2, 30)
        reached = count(running, "compared")
        assert eventually(lambda: count(running, "compared") > reached + 100)
    assert {reply["model"]["name"] for reply in replies} == {"a"}  # and every one of them was a success
    after = workers(running)
    assert (after["a"], after["b"]) == (before["a"], before["b"])
    done = len(replies) * len(TEXTS)
    assert eventually(lambda: count(running, "compared") + count(running, "dropped") >= done)
    assert count(running, "agreeing") == count(running, "compared") > 0
    assert count(running, "agreeing", "b") == 0


@pytest.mark.slow
def test_a_reload_of_one_model_leaves_the_others_alone(running: RunningServer, folders: dict[str, Path]) -> None:
    new = TextClassifier.from_pretrained(folders["third"], "cpu").revision
    before = workers(running)
    with clients(running) as replies, running.client(headers=ADMIN) as client:
        asked = {"model": "b", "checkpoint": str(folders["third"])}
        assert client.post("/admin/reload", json=asked).json() == {"model": {"name": "b", "revision": new}}
        body = {"inputs": TEXTS, "model": "b"}
        assert eventually(lambda: client.post("/predict", json=body).json()["model"]["revision"] == new)
        after = workers(running)
        assert (after["a"], after["c"]) == (before["a"], before["c"])
        assert not {*after["b"]} & {*before["b"]}

        refused = client.post("/admin/reload", json=asked | {"checkpoint": "nowhere"})
        assert (refused.status_code, refused.json()["error_type"]) == (422, "validation")
        assert workers(running) == after

        os.kill(after["b"][0], signal.SIGKILL)  # the next one loads what took over
        assert eventually(lambda: after["b"][0] not in workers(running)["b"] and len(workers(running)["b"]) == 2)
        assert {one["revision"] for one in client.get("/info").json()["models"] if one["name"] == "b"} == {new}

        assert reload(running, None).json()["model"]["name"] == "a"  # all anew
        assert eventually(lambda: all(not {*workers(running)[name]} & {*after[name]} for name in "abc"))
    assert {reply["model"]["name"] for reply in replies} == {"a"}
