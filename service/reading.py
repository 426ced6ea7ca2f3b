"""Reading a request: what its headers allow, then its body."""

import hmac
from collections.abc import Callable, Sequence
from typing import Any

from starlette.types import Receive

from .errors import ClientGoneError, ErrorType, ServiceError

_DIGITS = 12  # of a number in a header


def check_key(headers: dict[bytes, bytes], key: bytes) -> None:
    """Raise `ServiceError` unless the request carries `key`; the comparison takes as long for any other."""
    given = headers.get(b"x-api-key") or _bearer(headers.get(b"authorization", b""))
    if not hmac.compare_digest(given, key):
        message = "X-API-Key or Authorization: Bearer: must be the key of this service, got " + (
            "another one" if given else "none"
        )
        raise ServiceError(ErrorType.UNAUTHORIZED, message, ((b"www-authenticate", b"Bearer"),))


def has_key(headers: dict[bytes, bytes], key: bytes) -> bool:
    """Whether the request carries `key`."""
    try:
        check_key(headers, key)
    except ServiceError:
        return False
    return True


def _bearer(authorization: bytes) -> bytes:
    scheme, _, token = authorization.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def check_media_type(headers: dict[bytes, bytes], allowed: Sequence[str]) -> None:
    """Raise `ServiceError` unless the body is declared as one of `allowed`, uncompressed."""
    given = headers.get(b"content-type", b"none").decode("latin-1")
    if given.partition(";")[0].strip().lower() not in allowed:
        raise ServiceError(
            ErrorType.UNSUPPORTED_MEDIA_TYPE, f"Content-Type: must be {' or '.join(allowed)}, got {given[:80]}"
        )
    coding = headers.get(b"content-encoding", b"identity").decode("latin-1")
    if coding != "identity":
        raise ServiceError(ErrorType.UNSUPPORTED_MEDIA_TYPE, f"Content-Encoding: must be identity, got {coding[:80]}")


def deadline(headers: dict[bytes, bytes], timeout_s: float) -> float:
    """Seconds that a request may take: `timeout_s`, or less where `X-Request-Deadline-Ms` asks for less."""
    given = headers.get(b"x-request-deadline-ms")
    if given is None:
        return timeout_s
    if not given.isdigit() or len(given) > _DIGITS or not int(given):
        shown = given.decode("latin-1")[:20]
        raise ServiceError(
            ErrorType.VALIDATION, f"X-Request-Deadline-Ms: must be whole milliseconds from 1 on, got {shown}"
        )
    return min(timeout_s, int(given) / 1e3)


async def read_body(headers: dict[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """The request's body; refuses more than `limit` bytes before reading them."""
    declared = headers.get(b"content-length", b"0")
    if not declared.isdigit() or len(declared) > _DIGITS or int(declared) > limit:
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


def has_hung_up(receive: Receive) -> Callable[[], bool]:
    """Asks uvicorn's cycle behind `receive` whether its client has gone: listening would cost a task a request.

    To be called once the body has been read: uvicorn stops reading a large one's connection, and would miss its end.
    """
    cycle: Any = getattr(receive, "__self__", None)
    if hasattr(cycle, "flow"):
        cycle.flow.resume_reading()
    return lambda: getattr(cycle, "disconnected", False)
