"""The OpenAPI document of what the service really answers."""

import importlib.metadata
from functools import cache
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from .errors import ErrorType
from .schemas import ErrorReply, HealthReply, InfoReply, PredictReply, PredictRequest, ReadyReply

_PREDICT_ERRORS = [kind for kind in ErrorType if kind not in (ErrorType.NOT_FOUND, ErrorType.METHOD_NOT_ALLOWED)]
_REFERENCE = "#/components/schemas/{model}"


@cache
def openapi_document() -> dict[str, Any]:
    """OpenAPI 3.1 for every route that answers in JSON."""
    models: list[type[BaseModel]] = [PredictRequest, PredictReply, ErrorReply, HealthReply, ReadyReply, InfoReply]
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_REFERENCE)
    return {
        "openapi": "3.1.0",
        "info": {"title": "textcnn-service", "version": _version(), "description": "Text classification over HTTP."},
        "paths": {
            "/predict": {"post": _predict()},
            "/health": {"get": _get("The process lives", HealthReply)},
            "/ready": {"get": _get("Every worker is ready", ReadyReply, {503: ReadyReply})},
            "/info": {"get": _get("Model, limits, versions and workers", InfoReply, {503: ErrorReply})},
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
    reply["headers"] = {
        "Server-Timing": {
            "description": "queue, tokenize, inference and total, in milliseconds",
            "required": True,
            "schema": {"type": "string"},
        }
    }
    errors: dict[str, Any] = {str(kind.status): _response(kind.label, ErrorReply) for kind in _PREDICT_ERRORS}
    errors["503"]["headers"] = {
        "Retry-After": {"description": "seconds", "required": True, "schema": {"type": "integer"}}
    }
    return {
        "summary": "Classify one text or many",
        "operationId": "predict",
        "security": [{}, {"ApiKey": []}, {"Bearer": []}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _schema(PredictRequest)}}},
        "responses": {"200": reply, **errors},
    }


def _get(summary: str, model: type[BaseModel], others: dict[int, type[BaseModel]] | None = None) -> dict[str, Any]:
    responses = {"200": _response(summary, model)}
    for status, other in (others or {}).items():
        responses[str(status)] = _response(HTTPStatus(status).phrase, other)
    return {"summary": summary, "responses": responses}


def _response(description: str, model: type[BaseModel]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _schema(model)}}}


def _schema(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _version() -> str:
    try:
        return importlib.metadata.version("textcnn-service")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        return "0"
