"""The HTTP application: which path leads where, and the contract's error body for everything that leads nowhere."""

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

import fastapi_offline
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from .config import Limits
from .errors import ErrorType, Headers, ServiceError
from .gateway import Gateway
from .openapi import openapi_document
from .predict import PredictEndpoint

_ASSETS = "/docs/assets"
_VERSIONS = ("textcnn-service", "litserve", "torch", "tokenizers")


class FastPath:
    """Sends the paths of `endpoints` straight to them, and the others on to the framework."""

    def __init__(self, app: ASGIApp, endpoints: Mapping[str, ASGIApp]) -> None:
        self._app = app
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand one request to its endpoint or on."""
        endpoint = self._endpoints.get(scope["path"]) if scope["type"] == "http" else None
        await (endpoint or self._app)(scope, receive, send)


def install(app: Starlette, gateway: Gateway, limits: Limits, api_key: str | None) -> None:
    """Make `app` speak the contract, and nothing of what it spoke before."""
    app.router.routes[:] = _routes(gateway, limits)
    app.router.redirect_slashes = False
    predict = PredictEndpoint(gateway, limits, api_key)
    app.user_middleware[:] = [Middleware(FastPath, endpoints={"/predict": predict})]
    app.add_exception_handler(HTTPException, _refuse)
    app.add_exception_handler(Exception, _apologise)


def _routes(gateway: Gateway, limits: Limits) -> list[BaseRoute]:
    async def ready(_: Request) -> Response:
        status = "ready" if gateway.ready else "not ready"
        return JSONResponse({"status": status, "workers_ready": len(gateway.hellos)}, 200 if gateway.ready else 503)

    async def info(_: Request) -> Response:
        return JSONResponse(_info(gateway, limits))

    return [
        Route("/", _redirect),
        Route("/health", _health),
        Route("/ready", ready),
        Route("/info", info),
        Route("/openapi.json", _openapi),
        Route("/docs", _docs),
        Mount(_ASSETS, StaticFiles(directory=Path(fastapi_offline.__file__).parent / "static")),
    ]


def _info(gateway: Gateway, limits: Limits) -> dict[str, object]:
    hellos = gateway.hellos
    if not hellos:
        raise HTTPException(503, "workers: at least one must be ready, got none")
    first = hellos[0]
    return {
        "model": first.model,
        "problem_type": first.problem_type,
        "labels": first.labels,
        "limits": vars(limits) | {"max_length": first.max_length},
        "versions": _versions(),
        "workers": [{"pid": hello.pid, "device": hello.device} for hello in hellos],
    }


def _versions() -> dict[str, str]:
    versions = {}
    for name in _VERSIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # run from a source tree
            versions[name] = "unknown"
    return versions


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _redirect(_: Request) -> Response:
    return RedirectResponse("docs")


async def _openapi(_: Request) -> Response:
    return JSONResponse(openapi_document())


async def _docs(_: Request) -> HTMLResponse:
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title="textcnn-service",
        swagger_js_url=f".{_ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f".{_ASSETS}/swagger-ui.css",
        swagger_favicon_url=f".{_ASSETS}/favicon.png",
    )


async def _refuse(request: Request, problem: Exception) -> Response:
    """The contract's body for what the router and the routes refuse."""
    assert isinstance(problem, HTTPException)  # noqa: S101  # what it is registered for
    if problem.status_code == 404:
        error = ServiceError(ErrorType.NOT_FOUND, f"path: no such route, got {request.url.path!r}")
    elif problem.status_code == 405:
        allowed = (problem.headers or {}).get("Allow", "GET")
        error = ServiceError(ErrorType.METHOD_NOT_ALLOWED, f"method: must be {allowed}, got {request.method}")
    else:
        error = ServiceError(ErrorType.OVERLOADED, problem.detail)
    return Response(
        error.body, error.error_type.status, _text(error.headers) | dict(problem.headers or {}), "application/json"
    )


async def _apologise(_: Request, __: Exception) -> Response:
    """500 without a word of the traceback, which goes to the log."""
    error = ServiceError(ErrorType.INTERNAL, "service: it must answer every request, it failed on this one")
    return Response(error.body, error.error_type.status, media_type="application/json")


def _text(headers: Headers) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in headers}
