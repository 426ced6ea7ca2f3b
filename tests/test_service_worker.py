"""What a worker answers, over the real socket."""

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.passes import perform
from service.served import Served
from service.wire import FrameReader, Options, Task, decode_answer, decode_hello, encode_task, frame
from service.worker import serve
from tests.servers import POISON, FakeClassifier


def apart(*texts: str) -> Task:
    """Each text is a request of its own."""
    return Task(list(texts), [1] * len(texts), [Options()] * len(texts))


def labels(fragment: bytes) -> list[str]:
    return [prediction["label"] for prediction in json.loads(b"[%b]" % fragment)]


@given(texts=st.lists(st.sampled_from(["a", "b", POISON]), min_size=1, max_size=40))
def test_only_the_texts_that_fail_get_an_error(texts: list[str]) -> None:
    answer = perform(FakeClassifier(), apart(*texts))
    assert set(answer.errors) == {index for index, text in enumerate(texts) if text == POISON}
    for index, text in enumerate(texts):
        assert index in answer.errors or labels(answer.fragments[index]) == [text]


@given(shares=st.lists(st.lists(st.sampled_from(["a", "b", POISON]), min_size=1, max_size=5), min_size=1, max_size=9))
def test_each_share_gets_its_own_texts_in_order_or_the_place_of_its_first_failure(shares: list[list[str]]) -> None:
    texts = [text for share in shares for text in share]
    answer = perform(FakeClassifier(), Task(texts, list(map(len, shares)), [Options()] * len(shares)))
    for index, share in enumerate(shares):
        if POISON in share:
            assert answer.errors[index][0] == share.index(POISON)
        else:
            assert labels(answer.fragments[index]) == share


def test_one_poisonous_text_among_a_hundred_costs_few_passes() -> None:
    classifier = FakeClassifier()
    answer = perform(classifier, apart(*["good"] * 60, POISON, *["good"] * 40))
    assert list(answer.errors) == [60]
    assert len(classifier.passes) <= 15


def test_an_error_names_its_kind_and_repeats_no_content() -> None:
    answer = perform(FakeClassifier(), apart(POISON))
    assert answer.errors == {0: (0, "the classifier failed on it (RuntimeError)")}


def test_a_lost_gpu_ends_the_worker_at_once() -> None:
    def lose(_: Sequence[str]) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    classifier = FakeClassifier(before=lose)
    with pytest.raises(torch.AcceleratorError):
        perform(classifier, apart("a", "b", "c"))
    assert classifier.passes == [["a", "b", "c"]]


def test_top_k_cuts_the_scores_of_its_own_share() -> None:
    options = [Options(1), Options(), Options(10**30)]
    answer = perform(FakeClassifier(), Task(["a", "b", "c"], [1, 1, 1], options))
    assert [len(json.loads(fragment)["scores"]) for fragment in answer.fragments] == [1, 3, 3]


@contextmanager
def worker(classifier: FakeClassifier, connections: int) -> Iterator[list[socket.socket]]:
    pairs = [socket.socketpair() for _ in range(connections)]
    thread = threading.Thread(
        target=serve, args=(classifier, 3, Served("nowhere", generation=5), [theirs for _, theirs in pairs])
    )
    thread.start()
    yield [ours for ours, _ in pairs]
    for ours, _ in pairs:
        ours.close()
    thread.join(10)
    assert not thread.is_alive(), "a worker must end when all API processes have"


def payload(connection: socket.socket, reader: FrameReader) -> bytes:
    while True:
        for found in reader.feed(connection.recv(1000)):
            return found


def test_a_worker_greets_and_serves_every_api_process_and_outlives_one() -> None:
    with worker(FakeClassifier(), 2) as (first, second):
        readers = FrameReader(), FrameReader()
        for connection, reader in zip((first, second), readers, strict=True):
            hello = decode_hello(payload(connection, reader))
            assert (hello.worker, hello.generation, hello.model) == (3, 5, {"name": "fake", "revision": "sha256:00"})
        first.sendall(frame(encode_task(apart("never read"))))
        first.close()
        second.sendall(frame(encode_task(apart("a"))))
        assert json.loads(decode_answer(payload(second, readers[1])).fragments[0])["label"] == "a"


def test_a_task_may_be_larger_than_any_socket_buffer() -> None:
    with worker(FakeClassifier(), 1) as (connection,):
        reader = FrameReader()
        payload(connection, reader)
        connection.sendall(frame(encode_task(apart("x" * 3_000_000, "b"))))
        assert len(decode_answer(payload(connection, reader)).fragments) == 2
