"""Several checkpoints served by name, and one of them as a shadow that scores what the others have answered."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.classifier import TextClassifier
from model.errors import InputError
from service.config import DIALECTS, Limits
from service.gateway import make_gateway
from service.metrics import Metrics
from service.schemas import InfoReply
from service.served import Served, read_served
from service.shadow import WAITING_PASSES, agree
from tests.checkpoints import TEXTS, write_checkpoint
from tests.servers import Client, FakeClassifier, FakePrediction, RunningServer, application, eventually, run, server
from tests.test_service_batcher import FakeLink
from tests.test_service_metrics import samples
from tests.test_service_reload import ADMIN, clients, reload


def folder(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    return path


def test_a_folder_alone_follows_its_name_and_several_keep_theirs(tmp_path: Path) -> None:
    one, other = folder(tmp_path / "one"), folder(tmp_path / "rate=0.1")
    (alone,) = read_served([str(one)])
    assert (alone.folder, alone.name, alone.shown) == (str(one), None, "one")
    (named,) = read_served([f"a={one}"])
    assert (named.folder, named.name) == (str(one), "a")
    (with_sign,) = read_served([str(other)])
    assert (with_sign.folder, with_sign.shown) == (str(other), "rate=0.1")
    several = read_served([f"a={one}", str(one), f"new-2.b={other}"], "one")
    assert [(entry.name, entry.folder, entry.shadow) for entry in several] == [
        ("a", str(one), False),
        ("one", str(one), True),
        ("new-2.b", str(other), False),
    ]


@pytest.mark.parametrize(
    ("entries", "shadow", "sentence"),
    [
        (["a={}", "a={}"], None, "checkpoint names must differ, got 'a' twice"),
        (["{}", "{}"], None, "checkpoint names must differ, got 'one' twice"),
        (["a={}", "b={}/nowhere"], None, "checkpoint folder does not exist: .*nowhere"),
        (["a="], None, "checkpoint folder does not exist: ''"),
        (["{}"], "one", "shadow must be the name of a checkpoint after the first, which answers, got 'one'"),
        (["a={}", "b={}"], "a", "shadow must be the name .* got 'a'"),
        (["a={}", "b={}"], "c", "shadow must be the name .* got 'c'"),
    ],
)
def test_names_that_cannot_be(entries: list[str], shadow: str | None, sentence: str, tmp_path: Path) -> None:
    one = folder(tmp_path / "one")
    with pytest.raises(InputError, match=sentence):
        read_served([entry.format(one) for entry in entries], shadow)


def named(name: str, **options: Any) -> FakeClassifier:
    return FakeClassifier(name=name, revision=f"sha256:{name}", **options)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


async def metrics(client: httpx.AsyncClient) -> dict[str, float]:
    return samples((await client.get("/metrics")).text)


async def compared(client: Client, texts: int) -> dict[str, float]:
    """The metrics once the shadow has been through so many texts, scored or dropped."""
    while True:
        found = await metrics(client)
        done = (f"textcnn_shadow_{what}_texts_total model={name}" for what in ("compared", "dropped") for name in "ab")
        if sum(found.get(series, 0) for series in done) >= texts:
            return found
        await asyncio.sleep(0)  # the requests themselves let nobody else go ahead


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
        async with application(named("a"), others=[named("b", labels=["x"]), named("c")], shadow="c") as client:
            info = InfoReply.model_validate_json((await client.get("/info")).content, strict=True)
            assert (info.model.name, info.labels) == ("a", ["a", "other", "third"])
            assert [(one.name, one.labels[0], one.shadow) for one in info.models] == [
                *(("a", "a", False), ("b", "x", False), ("c", "a", True))
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
    names = [f"a={folders['first']}", f"b={folders['second']}", f"c={folders['first']}"]
    flags = ("--shadow", "c", "--api_servers", "2", "--workers_per_device", "2", "--max_batch_size", "8")
    with server(folders["first"], "--checkpoint", *names, *flags, TEXTCNN_ADMIN_KEY="admin") as started:
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
