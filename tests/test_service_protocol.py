"""Heads of requests that are long or late, against uvicorn with the service's protocol."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from service.config import bind
from service.protocol import MOST_HEAD_BYTES, BoundedHttpProtocol
from tests.servers import run

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n"


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Say how many bytes the body has."""
    length, more = 0, True
    while more:
        message = await receive()
        length, more = length + len(message.get("body", b"")), message.get("more_body", False)
        assert b"x-upgrd" not in message.get("body", b"")
    body = b"%d" % length
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    with bind("127.0.0.1", 0) as listener:
        config = uvicorn.Config(answer, lifespan="off", log_level="critical", http=BoundedHttpProtocol)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server._serve([listener]))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        yield reader, writer
        writer.close()
        server.should_exit = True
        await serving


def test_requests_of_any_shape_are_answered_on_one_connection() -> None:
    async def scenario() -> None:
        async with connected() as (reader, writer):
            body = b"x" * 3 * MOST_HEAD_BYTES
            long = REQUEST % (b"A: %b\r\n" % (b"a" * 50_000))
            for request, length in (
                (REQUEST % b"", b"0"),
                (long, b"0"),
                (REQUEST % (b"Content-Length: %d\r\n" % len(body)) + body, b"%d" % len(body)),
                (long, b"0"),
            ):
                for start in range(0, len(request), 20_000):
                    writer.write(request[start : start + 20_000])
                    await writer.drain()
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
                assert await reader.readexactly(len(length)) == length

    run(scenario())


def test_many_small_requests_in_one_piece_are_no_long_head() -> None:
    request, times = REQUEST % (b"A: %b\r\n" % (b"a" * 900)), 300

    async def scenario() -> None:
        async with connected() as (reader, writer):
            writer.write(request * times)
            for _ in range(times):
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
                assert await reader.readexactly(1) == b"0"

    run(scenario())


def test_the_wish_for_another_protocol_is_ignored() -> None:
    """As of `curl --http2` and Java's client, which send their first requests so."""
    body = b"\r\nUpgrade: all of it" * 20_000  # in many pieces, none of which is a head
    wish = b"Connection: Upgrade, HTTP2-Settings\r\nUpGrade: h2c\r\nHTTP2-Settings: AA\r\nContent-Length: %d\r\n"

    async def scenario() -> None:
        async with connected() as (reader, writer):
            for _ in range(2):
                writer.write(REQUEST % (wish % len(body)) + body)
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
                assert await reader.readexactly(6) == b"%d" % len(body)

    run(scenario())


def test_what_comes_with_the_end_of_a_body_is_no_long_head() -> None:
    body = b"x" * 3 * MOST_HEAD_BYTES
    begun = REQUEST[:20]

    async def scenario() -> None:
        async with connected() as (reader, writer):
            writer.write(REQUEST % (b"Content-Length: %d\r\n" % len(body)) + body + begun)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
            assert await reader.readexactly(6) == b"%d" % len(body)
            writer.write((REQUEST % b"")[len(begun) :])
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")

    run(scenario())


@pytest.mark.parametrize("line", [b"A: a\r\n", b"a"])  # many headers, or one that never ends
def test_a_head_without_end_is_refused(line: bytes) -> None:
    async def scenario() -> None:
        async with connected() as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nB: ")
            writer.write(line * (MOST_HEAD_BYTES // len(line)))  # no more: what is not read resets the connection
            reply = await reader.read()
            assert reply.startswith(b"HTTP/1.1 400 Bad Request")
            assert reply.endswith(b"Header: must be at most 65536 bytes, got more.")

    run(scenario())


@pytest.mark.parametrize("sent", [b"", b"GET / HT", REQUEST % b"" + b"GET / HT"])
def test_a_head_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr("service.protocol.HEAD_S", 0.05)

    async def scenario() -> None:
        async with connected() as (reader, writer):
            writer.write(sent)
            reply = await reader.read()  # until the service hangs up
            assert reply.count(b"HTTP/1.1 200 OK") == sent.count(b"Host")

    run(scenario())
