"""The OpenAPI document of what the service really answers."""

import importlib.metadata
from functools import cache
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from .errors import ErrorType
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

_PREDICT_ERRORS = [kind for kind in ErrorType if kind is not ErrorType.METHOD_NOT_ALLOWED]
_DEADLINE = {"type": "integer", "minimum": 1, "description": "milliseconds; the service's own limit stays in force"}
_RETRY_AFTER = {"Retry-After": {"description": "seconds", "required": True, "schema": {"type": "integer"}}}
_REFERENCE = "#/components/schemas/{model}"


@cache
def openapi_document(with_reload: bool = False) -> dict[str, Any]:
    """OpenAPI 3.1 for every route that programs use; `with_reload` where an admin key is set."""
    models: list[type[BaseModel]] = [PredictRequest, PredictReply, ErrorReply, HealthReply, ReadyReply, InfoReply]
    models += [ReloadRequest, ReloadReply] if with_reload else []
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_REFERENCE)
    return {
        "openapi": "3.1.0",
        "info": {"title": "textcnn-service", "version": _version(), "description": "Text classification over HTTP."},
        "paths": {
            "/predict": {"post": _predict()},
            "/health": {"get": _get("The process lives", HealthReply)},
            "/ready": {"get": _get("Every worker is ready", ReadyReply, {503: ReadyReply})},
            "/info": {"get": _get("Models, limits, versions and workers", InfoReply)},
            "/metrics": {"get": _metrics()},
            **({"/admin/reload": {"post": _reload()}} if with_reload else {}),
        },
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "Bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _predict() -> dict[str, Any]:
    reply = _response("One prediction per input, in order", PredictReply)
    reply["headers"] |= {
        "Server-Timing": {
            "description": "queue, tokenize, inference and total, in milliseconds",
            "required": True,
            "schema": {"type": "string"},
        }
    }
    errors: dict[str, Any] = {str(kind.status): _response(kind.label, ErrorReply) for kind in _PREDICT_ERRORS}
    errors["503"]["headers"] |= _RETRY_AFTER
    return {
        "summary": "Classify one text or many",
        "operationId": "predict",
        "security": [{}, {"ApiKey": []}, {"Bearer": []}],
        "parameters": [_header("X-Request-ID", {"type": "string"}), _header("X-Request-Deadline-Ms", _DEADLINE)],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _schema(PredictRequest)}}},
        "responses": {"200": reply, **errors},
    }


def _reload() -> dict[str, Any]:
    kinds = (
        *(ErrorType.UNAUTHORIZED, ErrorType.NOT_FOUND, ErrorType.TOO_LARGE, ErrorType.UNSUPPORTED_MEDIA_TYPE),
        *(ErrorType.VALIDATION, ErrorType.OVERLOADED),
    )
    errors: dict[str, Any] = {str(kind.status): _response(kind.label, ErrorReply) for kind in kinds}
    errors["503"]["headers"] |= _RETRY_AFTER
    return {
        "summary": "Load another checkpoint, or the present one anew, while the service goes on answering",
        "operationId": "reload",
        "security": [{"ApiKey": []}, {"Bearer": []}],
        "requestBody": {"content": {"application/json": {"schema": _schema(ReloadRequest)}}},
        "responses": {"200": _response("The checkpoint has taken over", ReloadReply), **errors},
    }


def _metrics() -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "summary": "Metrics for Prometheus",
        "responses": {"200": {"description": "Text format", "content": content}},
    }


def _header(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "schema": schema}


def _get(summary: str, model: type[BaseModel], others: dict[int, type[BaseModel]] | None = None) -> dict[str, Any]:
    responses = {"200": _response(summary, model)}
    for status, other in (others or {}).items():
        responses[str(status)] = _response(HTTPStatus(status).phrase, other)
    return {"summary": summary, "responses": responses}


def _response(description: str, model: type[BaseModel]) -> dict[str, Any]:
    identity = {"X-Request-ID": {"required": True, "schema": {"type": "string"}}}
    content = {"application/json": {"schema": _schema(model)}}
    return {"description": description, "headers": identity, "content": content}


def _schema(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _version() -> str:
    try:
        return importlib.metadata.version("textcnn-service")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        return "0"
