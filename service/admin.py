"""`POST /admin/reload`: another checkpoint takes over while the service goes on answering."""

from collections.abc import Awaitable, Callable

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from model.hub import SCHEME

from .endpoint import Service
from .errors import ErrorType, ServiceError
from .gateway import find
from .reading import check_key, check_media_type, read_body
from .schemas import ReloadRequest

Reload = Callable[[str | None, int | None], Awaitable[str]]  # of a folder and the place of a model; why it could not
ADMIN_ROUTE = "/admin/reload"


def reload_route(key: str, service: Service, reload: Reload) -> Route:
    """The route that only those who know `key` can use."""

    async def handle(request: Request) -> Response:
        headers = dict(request.scope["headers"])
        check_key(headers, key.encode())
        body = await read_body(headers, request.receive, service.limits.max_body_bytes)
        if body:
            check_media_type(headers, ["application/json"])
        asked = _parse(body)
        if asked.checkpoint is not None and asked.checkpoint.startswith(SCHEME):
            rule = "must be a folder on the server; what comes from a hub is fetched at the start alone"
            raise ServiceError(ErrorType.VALIDATION, f"checkpoint: {rule}, got {asked.checkpoint!r}")
        pools = service.gateway.pools
        place = None if asked.checkpoint is None else 0  # one folder is for one model
        if asked.model is not None:
            place = pools.index(find(pools, asked.model))
        if sentence := await reload(asked.checkpoint, place):
            raise ServiceError(ErrorType.VALIDATION, sentence)
        return JSONResponse({"model": pools[place or 0].hello.model})

    return Route(ADMIN_ROUTE, handle, methods=["POST"])


def _parse(body: bytes) -> ReloadRequest:
    if not body:
        return ReloadRequest()
    try:
        return ReloadRequest.model_validate_json(body)
    except ValidationError:
        shown = body[:80].decode(errors="replace")
        message = f'body: must be empty or {{"model": "name", "checkpoint": "folder"}}, each optional, got {shown}'
        raise ServiceError(ErrorType.VALIDATION, message) from None
