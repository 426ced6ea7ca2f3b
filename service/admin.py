"""`POST /admin/reload`: another checkpoint takes over while the service goes on answering."""

from collections.abc import Awaitable, Callable

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .endpoint import Service
from .errors import ErrorType, ServiceError
from .reading import check_key, check_media_type, read_body
from .schemas import ReloadRequest

Reload = Callable[[str | None], Awaitable[str]]  # why the checkpoint could not take over; nothing when it has
ADMIN_ROUTE = "/admin/reload"


def reload_route(key: str, service: Service, reload: Reload) -> Route:
    """The route that only those who know `key` can use."""

    async def handle(request: Request) -> Response:
        try:
            headers = dict(request.scope["headers"])
            check_key(headers, key.encode())
            body = await read_body(headers, request.receive, service.limits.max_body_bytes)
            if body:
                check_media_type(headers, ["application/json"])
            if sentence := await reload(_parse(body)):
                raise ServiceError(ErrorType.VALIDATION, sentence)
        except ServiceError as error:
            headers_of_reply = {name.decode(): value.decode() for name, value in error.headers}
            return Response(error.body, error.error_type.status, headers_of_reply, "application/json")
        return JSONResponse({"model": service.gateway.hellos[0].model})

    return Route(ADMIN_ROUTE, handle, methods=["POST"])


def _parse(body: bytes) -> str | None:
    if not body:
        return None
    try:
        return ReloadRequest.model_validate_json(body).checkpoint
    except ValidationError:
        message = f'body: must be empty or {{"checkpoint": "folder"}}, got {body[:80].decode(errors="replace")}'
        raise ServiceError(ErrorType.VALIDATION, message) from None
