"""`POST /predict` as plain ASGI: the route that every text takes goes through no framework layer."""

import hmac
import time

from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from .batcher import Job
from .config import Limits
from .errors import ErrorType, Headers, ServiceError
from .gateway import Gateway
from .schemas import parse_request
from .timing import microseconds

_CLOSE = (b"connection", b"close")
_JSON = (b"content-type", b"application/json")


class ClientGoneError(Exception):
    """The client has hung up before its request was complete."""


class PredictEndpoint:
    """Checks a request, has it classified, and writes the reply."""

    def __init__(self, gateway: Gateway, limits: Limits, api_key: str | None) -> None:
        self._gateway = gateway
        self._limits = limits
        self._api_key = api_key.encode() if api_key else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; errors leave in the contract's body."""
        arrived = time.monotonic()
        try:
            job = await self._classify(scope, receive, arrived)
        except ClientGoneError:
            return
        except ServiceError as error:
            await respond(send, error.error_type.status, error.body, error.headers)
            return
        job.latency.total_us = microseconds(time.monotonic() - arrived)
        timing = (b"server-timing", job.latency.server_timing())
        await respond(send, 200, _reply(job), (timing, _CLOSE) if self._gateway.draining else (timing,))

    async def _classify(self, scope: Scope, receive: Receive, arrived: float) -> Job:
        if scope["method"] != "POST":
            message = f"method: must be POST, got {scope['method']}"
            raise ServiceError(ErrorType.METHOD_NOT_ALLOWED, message, ((b"allow", b"POST"),))
        headers = dict(scope["headers"])
        self._authorize(headers)
        check_media_type(headers)
        body = await read_body(headers, receive, self._limits.max_body_bytes)
        request = parse_request(body, self._limits)
        return await self._gateway.batcher.classify(request.texts, request.top_k, arrived, self._limits.timeout_s)

    def _authorize(self, headers: dict[bytes, bytes]) -> None:
        if self._api_key is None:
            return
        given = headers.get(b"x-api-key") or headers.get(b"authorization", b"").removeprefix(b"Bearer ")
        if not hmac.compare_digest(given, self._api_key):
            message = "X-API-Key or Authorization: Bearer: must be the key of this service, got " + (
                "another one" if given else "none"
            )
            raise ServiceError(ErrorType.UNAUTHORIZED, message, ((b"www-authenticate", b"Bearer"),))


def check_media_type(headers: dict[bytes, bytes]) -> None:
    """Raise `ServiceError` unless the body is declared as JSON, uncompressed."""
    given = headers.get(b"content-type", b"none").decode("latin-1")
    if given.partition(";")[0].strip().lower() != "application/json":
        raise ServiceError(
            ErrorType.UNSUPPORTED_MEDIA_TYPE, f"Content-Type: must be application/json, got {given[:80]}"
        )
    coding = headers.get(b"content-encoding", b"identity").decode("latin-1")
    if coding != "identity":
        raise ServiceError(ErrorType.UNSUPPORTED_MEDIA_TYPE, f"Content-Encoding: must be identity, got {coding[:80]}")


async def read_body(headers: dict[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """The request's body; refuses more than `limit` bytes before reading them."""
    declared = headers.get(b"content-length", b"0")
    if not declared.isdigit() or int(declared) > limit:
        raise _too_large(limit, declared.decode("latin-1")[:20])
    parts = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGoneError
        parts += message.get("body", b"")
        if len(parts) > limit:
            raise _too_large(limit, f"{len(parts)} or more")
        if not message.get("more_body"):
            return bytes(parts)


def _too_large(limit: int, got: str) -> ServiceError:
    return ServiceError(ErrorType.TOO_LARGE, f"body: must be at most {limit} bytes, got {got}")


def _reply(job: Job) -> bytes:
    """The JSON of the contract, put together from what the worker has serialised."""
    predictions = b",".join(job.fragments)
    return b'{"predictions":[%b],"latency":%b,"model":%b}' % (predictions, job.latency.json(), to_json(job.model))


async def respond(send: Send, status: int, body: bytes, headers: Headers = ()) -> None:
    """Send one JSON reply."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [_JSON, length, *headers]})
    await send({"type": "http.response.body", "body": body})
