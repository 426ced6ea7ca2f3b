"""The OpenAPI document of what the service really answers."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from .dialects.table import paths_of
from .errors import ErrorType
from .operations import JSON, Paths, classification, get, refusals, response
from .predict import PredictEndpoint
from .schemas import (
    ErrorReply,
    HealthReply,
    InfoReply,
    PredictReply,
    PredictRequest,
    ReadyReply,
    ReloadReply,
    ReloadRequest,
)
from .versions import version

_RELOAD_ERRORS = (
    *(ErrorType.UNAUTHORIZED, ErrorType.NOT_FOUND, ErrorType.TOO_LARGE, ErrorType.UNSUPPORTED_MEDIA_TYPE),
    *(ErrorType.VALIDATION, ErrorType.OVERLOADED),
)
_METRICS = {"description": "Text format", "content": {"text/plain": {"schema": {"type": "string"}}}}


@cache
def openapi_document(dialects: tuple[str, ...] = (), with_reload: bool = False) -> dict[str, Any]:
    """OpenAPI 3.1 for every route that programs use, those of the `dialects` included.

    `with_reload` where an admin key is set.
    """
    paths = _native() | paths_of(dialects) | ({"/admin/reload": {"post": _reload()}} if with_reload else {})
    models = dict.fromkeys(_models(paths))  # each once, in the order of the document
    references, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    schemas: dict[Any, Any] = {model: schema for (model, _), schema in references.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "textcnn-service",
            "version": version("textcnn-service"),
            "description": "Text classification over HTTP.",
        },
        "paths": _referring(paths, schemas),
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "Bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _native() -> Paths:
    predict = classification(PredictEndpoint, "Classify one text or many", PredictRequest, PredictReply, by_name=True)
    return {
        "/predict": {"post": predict | {"operationId": "predict"}},
        "/health": {"get": get("The process lives", HealthReply)},
        "/ready": {"get": get("Every worker is ready", ReadyReply, {503: ReadyReply})},
        "/info": {"get": get("Models, limits, versions and workers", InfoReply)},
        "/metrics": {"get": {"summary": "Metrics for Prometheus", "responses": {"200": _METRICS}}},
    }


def _reload() -> dict[str, Any]:
    return {
        "summary": "Load another checkpoint, or the present one anew, while the service goes on answering",
        "operationId": "reload",
        "security": [{"ApiKey": []}, {"Bearer": []}],
        "requestBody": {"content": {JSON: {"schema": ReloadRequest}}},
        "responses": {"200": response("The checkpoint has taken over", ReloadReply)}
        | refusals(_RELOAD_ERRORS, ErrorReply),
    }


def _models(node: Any) -> Iterator[type[BaseModel]]:
    """The models that stand in a tree of the document."""
    if isinstance(node, type):
        yield node
    elif isinstance(node, Mapping):
        for child in node.values():
            yield from _models(child)
    elif isinstance(node, list):
        for child in node:
            yield from _models(child)


def _referring(node: Any, schemas: Mapping[Any, Any]) -> Any:
    """The tree with a reference in the place of each model."""
    if isinstance(node, type):
        return schemas[node]
    if isinstance(node, Mapping):
        return {name: _referring(child, schemas) for name, child in node.items()}
    return [_referring(child, schemas) for child in node] if isinstance(node, list) else node
