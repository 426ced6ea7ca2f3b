"""Operations of the OpenAPI document; where the schema of a body belongs they hold its pydantic model."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from .endpoint import Endpoint
from .errors import ErrorType, ServiceError
from .schemas import ErrorReply

Paths = dict[str, dict[str, Any]]  # operations by path and method

JSON = "application/json"
BYTES: dict[str, Any] = {"type": "string", "format": "binary"}
_IDENTITY = {"X-Request-ID": {"required": True, "schema": {"type": "string"}}}
_SERVER_TIMING = {
    "Server-Timing": {
        "description": "queue, tokenize, inference and total, in milliseconds",
        "required": True,
        "schema": {"type": "string"},
    }
}
_RETRY_AFTER = {"Retry-After": {"description": "seconds", "required": True, "schema": {"type": "integer"}}}
_DEADLINE = {"type": "integer", "minimum": 1, "description": "milliseconds; the service's own limit stays in force"}
_CLASSIFYING = [kind for kind in ErrorType if kind is not ErrorType.METHOD_NOT_ALLOWED]


def classification(
    endpoint: type[Endpoint], summary: str, request: Any, reply: Any, error: Any = ErrorReply, *, by_name: bool = False
) -> dict[str, Any]:
    """A `POST` that classifies; `by_name` where requests name the model that is to answer."""
    kinds = [kind for kind in _CLASSIFYING if by_name or kind is not ErrorType.NOT_FOUND]
    found = response("One prediction per text, in order", reply)
    found["headers"] |= _SERVER_TIMING
    return {
        "summary": summary,
        "security": [{}, {"ApiKey": []}, {"Bearer": []}],
        "parameters": [header("X-Request-ID", {"type": "string"}), header("X-Request-Deadline-Ms", _DEADLINE)],
        "requestBody": {"required": True, "content": {JSON: {"schema": request}}},
        "responses": {"200": found, **refusals(kinds, error, endpoint)},
    }


def refusals(kinds: Iterable[ErrorType], error: Any, endpoint: type[Endpoint] = Endpoint) -> dict[str, Any]:
    """Responses by status for these kinds of errors, as `endpoint` renders them."""
    responses: dict[str, Any] = {}
    for kind in kinds:
        problem = ServiceError(kind, "")
        status = str(endpoint.render_error(problem)[0])
        described = f"{responses[status]['description']}, {kind.label}" if status in responses else kind.label
        responses[status] = response(described, error)
        if problem.headers:
            responses[status]["headers"] |= _RETRY_AFTER
    return responses


def get(summary: str, reply: Any, others: dict[int, Any] | None = None) -> dict[str, Any]:
    """A `GET` that needs no key; `others` are the replies of other statuses than 200."""
    responses = {"200": response(summary, reply)}
    for status, other in (others or {}).items():
        responses[str(status)] = response(HTTPStatus(status).phrase, other)
    return {"summary": summary, "responses": responses}


def response(description: str, body: Any) -> dict[str, Any]:
    """A reply in JSON."""
    return {"description": description, "headers": dict(_IDENTITY), "content": {JSON: {"schema": body}}}


def header(name: str, schema: dict[str, Any], place: str = "header") -> dict[str, Any]:
    """A parameter, which only a path must have."""
    return {"name": name, "in": place, "required": place == "path", "schema": schema}
