"""The load generator counts what a server really answered, however the replies are cut into packets."""

import socket
import threading
from array import array
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.generator import Generator, Outcome, percentile_ms, requests_for

BODY = b"x" * 5000


@contextmanager
def answering(status: bytes, cuts: tuple[int, ...]) -> Iterator[tuple[tuple[str, int], list[bytes]]]:
    """A server whose replies leave in pieces that end at `cuts`; also the requests that it got."""
    reply = b"HTTP/1.1 %b\r\nContent-Length: %d\r\nX: y\r\n\r\n" % (status, len(BODY)) + BODY
    received: list[bytes] = []

    def serve(client: socket.socket) -> None:
        with client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                while request := client.recv(65536):
                    received.append(request)
                    for start, end in zip((0, *cuts), (*cuts, len(reply)), strict=True):
                        client.sendall(reply[start:end])
            except ConnectionError:
                return  # the generator has seen enough

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(client,)))
            threads[-1].start()

    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname(), received
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    for one in threads:
        one.join()


@pytest.mark.parametrize("cuts", [(), (10,), (17, 45, 60), (4000,)])
def test_every_reply_counts_once_whatever_its_pieces(cuts: tuple[int, ...]) -> None:
    with answering(b"200 OK", cuts) as (address, received):
        outcome = Generator(address, requests_for([b"{}"])).closed_loop(3, 0.05)
    assert len(outcome.latencies) == outcome.statuses[200] > 3
    assert 0 <= len(received) - len(outcome.latencies) <= 3, "those on their way at the end"
    assert received[0] == (
        b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    )


def test_the_open_loop_sends_at_its_rate_and_waits_for_every_reply() -> None:
    with answering(b"503 Busy", ()) as (address, received):
        outcome = Generator(address, requests_for([b"{}"])).open_loop(rate=1000, seconds=0.2)
    assert outcome.statuses == {503: len(received)}
    assert len(outcome.refusals) == len(received)
    assert 100 < len(received) < 320, "200 are expected, 14 is their standard deviation"
    assert not outcome.latencies


def test_a_server_that_hangs_up_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: listener.accept()[0].close())
        thread.start()
        with pytest.raises(ConnectionError):
            Generator(listener.getsockname(), requests_for([b"{}"])).closed_loop(1, 5)
        thread.join()


def test_outcomes_pool_and_percentiles_are_ranks() -> None:
    one, other = (Outcome(1.0, array("d", part), array("d"), {200: 50}) for part in (range(1, 51), range(51, 101)))
    one.add(other)
    assert (one.seconds, one.statuses) == (2.0, {200: 100})
    assert one.summary()["requests_per_s"] == 50
    assert percentile_ms(one.latencies, 99) == 100_000
    assert percentile_ms(one.latencies, 50) == 51_000
    assert percentile_ms(array("d"), 50) == 0.0
