"""Who shares a pass with whom, and what becomes of requests when workers fail."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.batcher import Batcher
from service.errors import ClientGoneError, ErrorType, ServiceError
from service.job import Job
from service.metrics import Metrics
from service.wire import Answer, Hello, Options, Task
from tests.servers import run

MODEL = {"name": "fake", "revision": "sha256:00"}


class FakeLink:
    """Keeps the tasks it is given, and answers when told to."""

    def __init__(self, model: dict[str, str] | None = None) -> None:
        self.hello = Hello(1, 0, 0, 1, "cpu", model or MODEL, [], "single_label_classification", 8)
        self.tasks: list[Task] = []
        self.closed = False
        self.killed = asyncio.Event()

    def send(self, task: Task) -> None:
        self.tasks.append(task)

    def close(self) -> None:
        self.closed = True

    def kill(self) -> None:
        self.killed.set()

    def answer(self, batcher: Batcher, errors: dict[int, tuple[int, str]] | None = None) -> None:
        task = self.tasks[-1]
        texts, fragments, start = task.texts, [], 0
        for count in task.counts:
            fragments.append(",".join(texts[start : start + count]).encode())
            start += count
        started = time.monotonic()
        tokens = [2] * len(fragments)
        batcher.answered(
            self,
            Answer(
                started, "cpu", "perf_counter", 0.001, 0.002, len(texts), 1, tokens, tokens, fragments, errors or {}
            ),
        )


class Bench:
    """A batcher with `links` workers, and the requests sent to it."""

    def __init__(self, max_batch_size: int = 4, max_waiting: int = 1000, links: int = 1, hung_s: float = 60) -> None:
        self.batcher = Batcher(max_batch_size, max_waiting, hung_s, Metrics())
        self.links = [FakeLink() for _ in range(links)]
        for link in self.links:
            self.batcher.joined(link)

    @property
    def link(self) -> FakeLink:
        return self.links[0]

    async def send(self, *texts: str, gone: Callable[[], bool] = lambda: False) -> "asyncio.Task[Job]":
        task = asyncio.create_task(self.batcher.classify(list(texts), Options(), time.monotonic(), gone))
        await asyncio.sleep(0)  # lets it reach the batcher
        return task

    def passes(self) -> list[list[str]]:
        return [task.texts for task in self.link.tasks]

    async def answer_all(self, requests: "Iterable[asyncio.Task[Job]]") -> list[Job]:
        answered = 0
        while answered < len(self.link.tasks):
            answered = len(self.link.tasks)
            self.link.answer(self.batcher)
        return list(await asyncio.gather(*requests))


def answers(job: Job) -> list[str]:
    return b",".join(job.fragments).decode().split(",")


def test_a_lone_request_is_sent_at_once() -> None:
    async def scenario() -> None:
        bench = Bench()
        await bench.send("a")
        assert bench.passes() == [["a"]]

    run(scenario())


def test_requests_that_come_during_a_pass_share_the_next_one() -> None:
    async def scenario() -> None:
        bench = Bench()
        requests = [await bench.send(text) for text in "abcdef"]
        jobs = await bench.answer_all(requests)
        assert bench.passes() == [["a"], ["b", "c", "d", "e"], ["f"]]
        assert [answers(job) for job in jobs] == [[text] for text in "abcdef"]
        assert [job.latency.batch_size for job in jobs] == [1, 4, 4, 4, 4, 1]

    run(scenario())


def test_no_more_characters_wait_than_there_is_memory_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.batcher._WAITING_CHARACTERS", 10)

    async def scenario() -> None:
        bench = Bench()
        first = await bench.send("a" * 20)  # one always fits
        with pytest.raises(ServiceError, match="at most 10 characters may be in flight, 20 are and 1 more came"):
            await (await bench.send("b"))
        await bench.answer_all([first])
        await bench.answer_all([await bench.send("c" * 9), await bench.send("d")])

    run(scenario())


def test_a_request_given_up_while_no_worker_is_there_is_forgotten() -> None:
    async def scenario() -> None:
        bench = Bench(links=0)
        kept, given_up = await bench.send("a"), await bench.send("b", "c")
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        assert [job.texts for job in bench.batcher._waiting] == [["a"]]
        bench.links.append(FakeLink())
        bench.batcher.joined(bench.link)
        await bench.answer_all([kept])
        assert bench.passes() == [["a"]]

    run(scenario())


def test_a_label_that_the_next_model_does_not_have_is_the_requests_mistake() -> None:
    """The request was checked when it came; another checkpoint has taken over since."""

    async def scenario() -> None:
        bench = Bench()
        bench.link.hello = replace(bench.link.hello, labels=["b"])
        blocker = await bench.send("x")
        options = Options(explain=True, explain_label="a")
        refused = asyncio.create_task(bench.batcher.classify(["y"], options, time.monotonic(), lambda: False))
        await asyncio.sleep(0)
        other = await bench.send("z")
        await bench.answer_all([blocker, other])
        with pytest.raises(ServiceError, match="explain_label: must be a label of the model, got 'a'"):
            await refused
        assert bench.passes() == [["x"], ["z"]]

    run(scenario())


def test_no_pass_has_more_characters_than_a_worker_reads_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.batcher._PASS_CHARACTERS", 10)

    async def scenario() -> None:
        bench = Bench()
        requests = [await bench.send("a")]
        requests += [
            await bench.send("b" * 20, "c" * 6, "d" * 4, "e"),
            await bench.send("f"),
            await bench.send("g" * 9),
        ]
        jobs = await bench.answer_all(requests)
        assert bench.passes() == [["a"], ["b" * 20], ["f", "g" * 9], ["c" * 6, "d" * 4], ["e"]]
        assert [answers(job) for job in jobs] == [["a"], ["b" * 20, "c" * 6, "d" * 4, "e"], ["f"], ["g" * 9]]

    run(scenario())


def test_the_worker_gets_its_next_pass_before_the_replies_are_written() -> None:
    async def scenario() -> None:
        bench = Bench()
        first = await bench.send("a")
        await bench.send("b")
        bench.link.answer(bench.batcher)
        assert not first.done()
        assert bench.passes() == [["a"], ["b"]]

    run(scenario())


def test_a_single_text_does_not_wait_for_a_long_list() -> None:
    async def scenario() -> None:
        bench = Bench()
        await bench.send(*["long"] * 100)
        await bench.send("single")
        bench.link.answer(bench.batcher)
        assert "single" in bench.passes()[1]
        assert len(bench.passes()[1]) == 4

    run(scenario())


def test_a_list_goes_through_in_passes_and_says_so() -> None:
    async def scenario() -> None:
        bench = Bench()
        texts = [str(number) for number in range(10)]
        (job,) = await bench.answer_all([await bench.send(*texts)])
        assert [len(texts) for texts in bench.passes()] == [4, 4, 2]
        assert answers(job) == texts
        assert (job.latency.passes, job.latency.batch_size, job.latency.inference_us) == (3, 10, 6)

    run(scenario())


@given(sizes=st.lists(st.integers(1, 20), min_size=1, max_size=12), max_batch_size=st.integers(1, 9))
def test_every_text_is_classified_once_for_its_own_request_in_order(sizes: list[int], max_batch_size: int) -> None:
    async def scenario() -> None:
        bench = Bench(max_batch_size)
        lists = [[f"{request}.{index}" for index in range(size)] for request, size in enumerate(sizes)]
        jobs = await bench.answer_all([await bench.send(*texts) for texts in lists])
        assert [answers(job) for job in jobs] == lists
        assert sum(map(len, bench.passes())) == sum(sizes)
        assert max(map(len, bench.passes())) <= max_batch_size
        assert bench.batcher.in_flight == 0

    run(scenario())


def test_two_workers_take_turns() -> None:
    async def scenario() -> None:
        bench = Bench(links=2)
        for text in "abc":
            await bench.send(text)
        assert [[task.texts for task in link.tasks] for link in bench.links] == [[["a"]], [["b"]]]
        bench.links[1].answer(bench.batcher)
        assert bench.links[1].tasks[-1].texts == ["c"]

    run(scenario())


def test_a_text_that_fails_fails_its_own_request_alone() -> None:
    async def scenario() -> None:
        bench = Bench()
        await bench.send("first")
        bad, good = await bench.send("a", "b"), await bench.send("c")
        bench.link.answer(bench.batcher)
        bench.link.answer(bench.batcher, {0: (1, "it failed")})
        assert answers(await good) == ["c"]
        with pytest.raises(ServiceError, match=r"inputs\[1\]: it failed") as caught:
            await bad
        assert caught.value.error_type is ErrorType.INTERNAL

    run(scenario())


def test_a_request_that_is_given_up_is_not_computed() -> None:
    async def scenario() -> None:
        bench = Bench()
        await bench.send("busy")
        (await bench.send("given up")).cancel()
        await bench.send("next")
        bench.link.answer(bench.batcher)
        assert bench.passes() == [["busy"], ["next"]]

    run(scenario())


def test_a_request_whose_client_has_gone_is_not_computed() -> None:
    async def scenario() -> None:
        bench = Bench()
        await bench.send("busy")
        abandoned = await bench.send("gone", gone=lambda: True)
        await bench.send("next")
        bench.link.answer(bench.batcher)
        assert bench.passes() == [["busy"], ["next"]]
        with pytest.raises(ClientGoneError):
            await abandoned
        assert bench.batcher.in_flight == 1

    run(scenario())


def test_a_worker_that_hangs_is_killed_and_its_request_tried_again() -> None:
    async def scenario() -> None:
        bench = Bench(hung_s=0.01, links=2)
        request = await bench.send("slow")
        await bench.link.killed.wait()
        bench.batcher.lost(bench.link)
        bench.links[1].answer(bench.batcher)
        assert answers(await request) == ["slow"]
        assert not bench.links[1].killed.is_set()

    run(scenario())


def test_a_worker_whose_answer_lies_unread_is_not_killed() -> None:
    async def scenario() -> None:
        bench = Bench(hung_s=0.05)
        request = await bench.send("a")
        time.sleep(0.2)  # this process is held up, far beyond the time of a pass
        asyncio.get_running_loop().call_later(0, bench.link.answer, bench.batcher)
        assert answers(await request) == ["a"]
        await asyncio.sleep(0.1)  # two more looks of the watchdog
        assert not bench.link.killed.is_set()

    run(scenario())


def test_a_retired_worker_ends_its_pass_and_gets_no_other() -> None:
    async def scenario() -> None:
        bench = Bench()
        request = await bench.send("a")
        new = FakeLink({"name": "new", "revision": "sha256:11"})
        bench.batcher.retire(bench.link)
        bench.batcher.joined(new)
        await bench.send("b")
        closed = [bench.link.closed]
        bench.link.answer(bench.batcher)
        assert [*closed, bench.link.closed] == [False, True]
        assert (await request).model == MODEL
        assert [task.texts for task in new.tasks] == [["b"]]

    run(scenario())


def test_one_model_answers_all_of_a_request() -> None:
    async def scenario() -> None:
        bench = Bench()
        request = await bench.send(*"abcdef")
        new = FakeLink({"name": "new", "revision": "sha256:11"})
        bench.batcher.retire(bench.link)
        bench.batcher.joined(new)
        bench.link.answer(bench.batcher)  # a to d, by the old model
        for _ in range(2):
            new.answer(bench.batcher)
        job = await request
        assert [task.texts for task in new.tasks] == [[*"abcd"], [*"ef"]]
        assert (answers(job), job.model) == ([*"abcdef"], new.hello.model)

    run(scenario())


def test_too_much_work_is_refused_at_once() -> None:
    async def scenario() -> None:
        bench = Bench(max_waiting=3)
        await bench.send("a", "b")
        with pytest.raises(ServiceError, match="at most 3 texts may be in flight, 2 are and 2 more came") as caught:
            await bench.batcher.classify(["c", "d"], Options(), 0.0, lambda: False)
        assert caught.value.error_type is ErrorType.OVERLOADED
        assert caught.value.headers == ((b"retry-after", b"1"),)
        assert not (await bench.send("e")).done()

    run(scenario())


def test_a_dead_workers_requests_are_tried_again_each_alone() -> None:
    async def scenario() -> None:
        bench = Bench()
        await bench.send("first")
        requests = [await bench.send(text) for text in "abc"]
        bench.link.answer(bench.batcher)
        bench.batcher.lost(bench.link)
        assert not any(request.done() for request in requests)
        bench.links = [FakeLink()]
        bench.batcher.joined(bench.link)
        await bench.answer_all(requests)
        assert bench.passes() == [["a"], ["b"], ["c"]]

    run(scenario())


def test_a_request_that_kills_two_workers_is_not_tried_on_a_third() -> None:
    async def scenario() -> None:
        bench = Bench(links=3)
        request = await bench.send("killer")
        for link in bench.links[:2]:
            assert [task.texts for task in link.tasks] == [["killer"]]
            bench.batcher.lost(link)
        with pytest.raises(ServiceError, match="ended twice") as caught:
            await request
        assert caught.value.error_type is ErrorType.INTERNAL
        assert bench.links[2].tasks == []

    run(scenario())


def test_a_finished_part_of_a_list_is_not_computed_again_after_a_death() -> None:
    async def scenario() -> None:
        bench = Bench(links=2)
        request = await bench.send(*"abcdef")
        bench.link.answer(bench.batcher)
        assert bench.links[1].tasks[-1].texts == ["e", "f"]
        bench.batcher.lost(bench.links[1])
        assert bench.link.tasks[-1].texts == ["e", "f"]
        bench.link.answer(bench.batcher)
        assert answers(await request) == [*"abcdef"]

    run(scenario())
