"""Messages survive the socket, however the kernel cuts them."""

from hypothesis import given
from hypothesis import strategies as st

from service.wire import (
    Answer,
    FrameReader,
    Hello,
    Options,
    Task,
    decode_answer,
    decode_hello,
    decode_task,
    encode_answer,
    encode_hello,
    encode_task,
    frame,
)

unicode_texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(payloads=st.lists(st.binary(max_size=300)), cuts=st.lists(st.integers(1, 50), min_size=1))
def test_a_reader_gives_back_every_payload_whatever_the_chunks(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(frame(payload) for payload in payloads)
    reader, position = FrameReader(), 0
    received: list[bytes] = []
    while position < len(stream):
        size = cuts[position % len(cuts)]
        received += reader.feed(stream[position : position + size])
        position += size
    assert received == payloads


def test_a_reader_gives_a_payload_as_soon_as_it_is_complete() -> None:
    reader = FrameReader()
    stream = frame(b"one") + frame(b"two")
    assert list(reader.feed(stream[:-1])) == [b"one"]
    assert list(reader.feed(stream[-1:])) == [b"two"]


options = st.builds(Options, st.none() | st.integers(1, 10**30))


@given(texts=st.lists(unicode_texts), shares=st.lists(st.tuples(st.integers(1, 9), options)))
def test_a_task_survives(texts: list[str], shares: list[tuple[int, Options]]) -> None:
    task = Task(texts, [count for count, _ in shares], [given for _, given in shares])
    assert decode_task(encode_task(task)) == task


errors = st.dictionaries(st.integers(0, 9), st.tuples(st.integers(0, 99), unicode_texts))


@given(fragments=st.lists(st.binary(max_size=50)), errors=errors)
def test_an_answer_survives(fragments: list[bytes], errors: dict[int, tuple[int, str]]) -> None:
    tokens = [3] * len(fragments)
    answer = Answer(12345.678901234, "cuda:0", "cuda_events", 0.051, 0.118, 8, 1, tokens, tokens, fragments, errors)
    assert decode_answer(encode_answer(answer)) == answer


def test_a_hello_survives() -> None:
    model = {"name": "quickstart", "revision": "sha256:00"}
    hello = Hello(7, 0, 2, 4, "cpu", model, ["退款", "other"], "single_label_classification", 64)
    assert decode_hello(encode_hello(hello)) == hello
