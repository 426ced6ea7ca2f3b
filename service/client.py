"""A typed client of `POST /predict`, blocking and asynchronous; needs httpx alone (the extra `client`).

>>> with Client("http://127.0.0.1:8000") as client:  # doctest: +SKIP
...     client.predict("where is my parcel?").predictions[0].label
'track_order'
"""

import asyncio
import json
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, fields
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

_BACKOFF_S = 0.1  # before the second attempt where the service names no time; doubled each time
_LONGEST_PAUSE_S = 10.0

T = TypeVar("T")


@dataclass(frozen=True)
class Prediction:
    """What is known of one text; the fields of another problem type are None."""

    label: str | None = None
    score: float | None = None
    scores: Mapping[str, float] | None = None  # descending
    labels: Sequence[str] | None = None  # multi-label: those above their thresholds
    value: float | None = None  # regression
    abstained: bool | None = None
    bias: float | None = None
    evidence: Sequence[Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Latency:
    """What the request cost inside the service, in milliseconds."""

    device: str
    clock: str
    inference_ms: float
    tokenize_ms: float
    queue_ms: float
    total_ms: float
    batch_size: int
    passes: int


@dataclass(frozen=True)
class Reply:
    """One prediction for each text, in order."""

    predictions: list[Prediction]
    latency: Latency
    model: Mapping[str, str]  # name, revision
    request_id: str


class ClassificationError(Exception):
    """The service refused or failed; `error_type` is one of its closed set."""

    def __init__(self, status: int, error_type: str, message: str, request_id: str) -> None:
        super().__init__(f"{status} {error_type}: {message}")
        self.status = status
        self.error_type = error_type
        self.message = message
        self.request_id = request_id


_Outcome = httpx.Response | httpx.TransportError
_Steps = Generator[httpx.Request | float, _Outcome | None, Reply]  # yields a request to send, or seconds to wait


class _Protocol:
    """What both clients do, without doing it: which request to send, and whether to send it again."""

    def __init__(self, url: str, api_key: str | None, timeout_s: float, retries: int) -> None:
        self._url = url.rstrip("/") + "/predict"
        self._headers = {"Content-Type": "application/json"} | ({"X-API-Key": api_key} if api_key else {})
        self._timeout_s = timeout_s
        if httpx.URL(url).scheme not in ("http", "https"):
            raise ValueError(f"url must begin with http:// or https://, got {url!r}")
        if retries < 0:
            raise ValueError(f"retries must be at least 0, got {retries}")
        self._retries = retries

    def _steps(self, inputs: str | Sequence[str], request_id: str | None, options: Mapping[str, Any]) -> _Steps:
        """Try until there is an answer, no attempt is left, or the time is up."""
        body = {"inputs": inputs if isinstance(inputs, str) else list(inputs)}
        body |= {name: value for name, value in options.items() if value is not None}
        content = _encode(body)
        headers = self._headers | ({"X-Request-ID": request_id} if request_id else {})
        end = time.monotonic() + self._timeout_s
        for attempt in range(self._retries + 1):
            remaining = max(end - time.monotonic(), 1e-3)
            # A little longer than the deadline, so that the service's own answer is heard.
            timeout = {"timeout": httpx.Timeout(remaining + 1).as_dict()}
            headers = headers | {"X-Request-Deadline-Ms": str(max(1, int(remaining * 1e3)))}
            outcome = yield httpx.Request("POST", self._url, content=content, headers=headers, extensions=timeout)
            if isinstance(outcome, httpx.Response) and outcome.status_code != 503:
                break
            pause = _pause(outcome, attempt)
            if attempt == self._retries or time.monotonic() + pause >= end:
                break
            yield pause
        if isinstance(outcome, httpx.TransportError):
            raise outcome
        assert outcome is not None  # noqa: S101  # a request is always answered by its driver
        return _read(outcome)


class Client(_Protocol):
    """Blocking; keeps its connections, and may be used by several threads."""

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        retries: int = 3,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(url, api_key, timeout_s, retries)
        self._http = httpx.Client(transport=transport)

    def predict(
        self, inputs: str | Sequence[str], *, request_id: str | None = None, top_k: int | None = None, **options: Any
    ) -> Reply:
        """Classify a text or several; `options` are further fields of `/predict`.

        Retries what was refused for lack of room (503, after its `Retry-After`) and what got no reply, `retries` times
        within `timeout_s` seconds. Raises `ClassificationError` or `httpx.TransportError`.
        """
        steps = self._steps(inputs, request_id, {"top_k": top_k, **options})
        outcome: _Outcome | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                reply: Reply = end.value
                return reply
            outcome = self._take(step)

    def _take(self, step: httpx.Request | float) -> _Outcome | None:
        if isinstance(step, float):
            time.sleep(step)
            return None
        try:
            return self._http.send(step)
        except httpx.TransportError as error:
            return error

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient(_Protocol):
    """The same for asyncio."""

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        retries: int = 3,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(url, api_key, timeout_s, retries)
        self._http = httpx.AsyncClient(transport=transport)

    async def predict(
        self, inputs: str | Sequence[str], *, request_id: str | None = None, top_k: int | None = None, **options: Any
    ) -> Reply:
        """As `Client.predict`."""
        steps = self._steps(inputs, request_id, {"top_k": top_k, **options})
        outcome: _Outcome | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                reply: Reply = end.value
                return reply
            outcome = await self._take(step)

    async def _take(self, step: httpx.Request | float) -> _Outcome | None:
        if isinstance(step, float):
            await asyncio.sleep(step)
            return None
        try:
            return await self._http.send(step)
        except httpx.TransportError as error:
            return error

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _encode(body: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # a lone surrogate, which the service refuses in its own words
        return json.dumps(body).encode()


def _pause(outcome: _Outcome | None, attempt: int) -> float:
    """Seconds until the next attempt: what `Retry-After` says, or longer each time."""
    given = outcome.headers.get("retry-after", "") if isinstance(outcome, httpx.Response) else ""
    seconds = float(given) if given.isdecimal() else _BACKOFF_S * 2.0**attempt
    return min(seconds, _LONGEST_PAUSE_S)


def _read(response: httpx.Response) -> Reply:
    request_id = response.headers.get("x-request-id", "")
    try:
        body = response.json()
        if response.status_code == 200:
            predictions = [_known(Prediction, item) for item in body["predictions"]]
            return Reply(predictions, _known(Latency, body["latency"]), body["model"], request_id)
        raise ClassificationError(response.status_code, body["error_type"], body["error"], request_id)
    except (ValueError, KeyError, TypeError) as error:  # something between us and the service has answered
        shown = response.text[:200]
        raise ClassificationError(response.status_code, "no_contract", f"got {shown!r}", request_id) from error


def _known(kind: type[T], given: Mapping[str, Any]) -> T:
    """A newer service may say more than this client knows."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]  # the dataclasses above
    return kind(**{name: value for name, value in given.items() if name in names})
