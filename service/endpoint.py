"""What every route that classifies has in common, whatever its dialect: `POST /predict` and the others subclass it."""

import asyncio
import logging
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from starlette.types import Receive, Scope, Send

from .config import Limits
from .errors import ClientGoneError, ErrorType, Headers, ServiceError
from .exchange import CLIENT_GONE, Exchange, Observer, choose_request_id
from .gateway import Gateway
from .job import Job
from .metrics import Metrics
from .pool import Pool
from .reading import check_key, check_media_type, deadline, has_hung_up, read_body
from .timing import microseconds
from .wire import Options

_CLOSE = (b"connection", b"close")
JSON_TYPE = (b"content-type", b"application/json")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Service:
    """What the endpoints of one API process share."""

    gateway: Gateway
    limits: Limits
    metrics: Metrics
    api_key: str | None = None
    observers: Sequence[Observer] = ()  # besides the metrics
    cors_origins: Sequence[str] = ()
    dialects: Sequence[str] = ()  # by their names in `dialects.table`

    def replied(self, exchange: Exchange) -> None:
        """Tell everybody that a request has got its reply."""
        self.metrics.replied(exchange)
        for observer in self.observers:
            observer.replied(exchange)


class Incoming(NamedTuple):
    """A request whose body has been read."""

    scope: Scope  # of ASGI; `scope["path_params"]` where the route has parameters
    headers: dict[bytes, bytes]  # names in lower case
    body: bytes


@dataclass(slots=True)
class Query:
    """What a request asks; a dialect may subclass it to carry on what its reply depends on."""

    texts: list[str]
    options: Options
    pool: Pool | None = field(default=None, kw_only=True)  # whose model is asked; None: the first one's


class Reply(NamedTuple):
    """A body and the headers that belong to it."""

    body: bytes
    headers: Headers = (JSON_TYPE,)


class Endpoint:
    """A route that classifies: everything about it but how its bodies look.

    It checks method, key, media type and size of the body, keeps the deadline, names the request, and reports to
    metrics, log and traces. A dialect sets `route` and fills in the two methods that follow; it raises `ServiceError`
    for whatever is wrong with a request:

        class Shout(Endpoint):
            route = "/shout"

            def parse(self, incoming: Incoming) -> Query:
                return Query([incoming.body.decode().lower()], Options(top_k=1))

            def render(self, query: Query, job: Job) -> Reply:
                return Reply(b"[%b]" % b",".join(job.fragments))

    `job.fragments` joined by commas are the predictions of `/predict`, one object a text, in order; `job.latency` and
    `job.hello` say what they cost and who made them. Errors look as in `/predict` unless `render_error` says otherwise.
    List the class in `dialects.table`. A route may have parameters, such as `/models/{name}/infer`, which come in
    `incoming.scope["path_params"]`.
    """

    route: str
    media_types: tuple[str, ...] = ("application/json",)

    def __init__(self, service: Service) -> None:
        self.service = service
        self._api_key = service.api_key.encode() if service.api_key else None

    def parse(self, incoming: Incoming) -> Query:
        """The texts of a request and what is asked of them."""
        raise NotImplementedError

    def render(self, query: Query, job: Job) -> Reply:
        """The body for a finished job."""
        raise NotImplementedError

    @classmethod
    def render_error(cls, error: ServiceError) -> tuple[int, Reply]:
        """Status and body of an error; the OpenAPI document asks it too."""
        return error.error_type.status, Reply(error.body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = dict(scope["headers"])
        exchange = Exchange(choose_request_id(headers), scope["method"], self.route, scope["path"], headers)
        metrics = self.service.metrics
        metrics.add("requests_in_flight", 1.0)
        try:
            await self._answer(exchange, scope, receive, send)
        except ClientGoneError:
            exchange.status = CLIENT_GONE
        finally:
            metrics.add("requests_in_flight", -1.0)
            self.service.replied(exchange)

    async def _answer(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        extra: Headers = ()
        try:
            reply = await self._classify(exchange, scope, receive)
            exchange.status = 200
            extra = ((b"server-timing", exchange.latency.server_timing()),)
        except ServiceError as error:
            exchange.status, reply = self.render_error(error)
            extra = error.headers
        except (ClientGoneError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, its client gets an answer
            exchange.status, reply = self.render_error(apologise(exchange, error))
        if not exchange.latency.total_us:
            exchange.latency.total_us = microseconds(time.monotonic() - exchange.arrived)
        identity = (b"x-request-id", exchange.request_id.encode())
        closing = (_CLOSE,) if self.service.gateway.draining else ()
        await _send(send, exchange.status, reply, (identity, *extra, *closing))

    async def _classify(self, exchange: Exchange, scope: Scope, receive: Receive) -> Reply:
        headers, limits = exchange.headers, self.service.limits
        if scope["method"] != "POST":
            message = f"method: must be POST, got {scope['method']}"
            raise ServiceError(ErrorType.METHOD_NOT_ALLOWED, message, ((b"allow", b"POST"),))
        if self._api_key is not None:
            check_key(headers, self._api_key)
        check_media_type(headers, self.media_types)
        seconds = deadline(headers, limits.timeout_s)
        try:
            async with asyncio.timeout(seconds):
                body = await read_body(headers, receive, limits.max_body_bytes)
                query = self.parse(Incoming(scope, headers, body))
                del body  # its texts may wait for long
                exchange.texts = len(query.texts)
                pool = query.pool or self.service.gateway.answering[0]
                job = await pool.batcher.classify(query.texts, query.options, exchange.arrived, has_hung_up(receive))
        except TimeoutError:
            message = f"deadline: the answer must be ready within {seconds * 1e3:g} ms, it was not"
            raise ServiceError(ErrorType.DEADLINE_EXCEEDED, message) from None
        exchange.latency, exchange.model = job.latency, job.model
        job.latency.total_us = microseconds(time.monotonic() - exchange.arrived)
        reply = self.render(query, job)
        if self.service.gateway.shadow:
            self.service.gateway.shadow.follow(job)
        return reply


def apologise(exchange: Exchange, error: Exception) -> ServiceError:
    """What a client is told of `error`, which goes to the log without its message: that may repeat a text."""
    where = "".join(traceback.format_tb(error.__traceback__))
    _logger.error("request %s failed with %s\n%s", exchange.request_id, type(error).__name__, where)
    return ServiceError(ErrorType.INTERNAL, "service: it must answer every request, it failed on this one")


async def _send(send: Send, status: int, reply: Reply, headers: Headers) -> None:
    length = (b"content-length", str(len(reply.body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length, *reply.headers, *headers]})
    await send({"type": "http.response.body", "body": reply.body})
