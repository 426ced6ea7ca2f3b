"""The HTTP application: which path leads where, and the contract's error body for everything that leads nowhere."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastapi_offline
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route, compile_path
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .admin import Reload, reload_route
from .card import gauges, info
from .dialects.table import endpoints_of, extra_routes
from .endpoint import Endpoint, Service, apologise
from .errors import ClientGoneError, ErrorType, Headers, ServiceError
from .exchange import CLIENT_GONE, OTHER_ROUTE, Exchange, choose_request_id
from .metrics import CONTENT_TYPE
from .openapi import openapi_document
from .operations import JSON
from .page import page_routes
from .predict import PredictEndpoint
from .reading import has_key
from .timing import microseconds

_ASSETS = "/docs/assets"


@dataclass(frozen=True)
class Keys:
    """Secrets from the environment; without `admin` nobody can reload, without `api` everybody can classify."""

    api: str | None = None
    admin: str | None = None


class FastPath:
    """Sends what `endpoints` answer straight to them, and the others on to the framework, named and observed too."""

    def __init__(self, app: ASGIApp, endpoints: Sequence[Endpoint], service: Service) -> None:
        self._app = app
        self._fixed = {endpoint.route: endpoint for endpoint in endpoints}
        self._patterns = [(compile_path(route)[0], one) for route, one in self._fixed.items() if "{" in route]
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand one request to its endpoint or on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif endpoint := self._fixed.get(scope["path"]) or self._match(scope):
            await endpoint(scope, receive, send)
        else:
            await self._hand_on(scope, receive, send)

    def _match(self, scope: Scope) -> Endpoint | None:
        """The endpoint whose route has parameters that fit the path."""
        for pattern, endpoint in self._patterns:
            if found := pattern.match(scope["path"]):
                scope["path_params"] = found.groupdict()
                return endpoint
        return None

    async def _hand_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        exchange = Exchange(choose_request_id(headers), scope["method"], OTHER_ROUTE, scope["path"], headers)

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", exchange.request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, named)
        except ClientGoneError:
            exchange.status = CLIENT_GONE
        except Exception as error:
            if exchange.status:  # a reply has begun
                raise
            apology = apologise(exchange, error)
            await Response(apology.body, apology.error_type.status, media_type=JSON)(scope, receive, named)
        finally:
            exchange.latency.total_us = microseconds(time.monotonic() - exchange.arrived)
            self._service.replied(exchange)


ENDPOINTS: list[type[Endpoint]] = [PredictEndpoint]  # always there; `--dialects` adds others


def install(app: Starlette, service: Service, keys: Keys, reload: Reload) -> None:
    """Make `app` speak the contract, and nothing of what it spoke before."""
    app.router.routes[:] = _routes(service, openapi_document(tuple(service.dialects), bool(keys.admin)))
    if keys.admin:
        app.router.routes.append(reload_route(keys.admin, service, reload))
    app.router.redirect_slashes = False
    endpoints = [kind(service) for kind in (*ENDPOINTS, *endpoints_of(service.dialects))]
    app.user_middleware[:] = [Middleware(FastPath, endpoints=endpoints, service=service)]
    if service.cors_origins:
        browsers = Middleware(
            CORSMiddleware,
            allow_origins=service.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["Server-Timing", "X-Request-ID", "Retry-After"],
        )
        app.user_middleware.insert(0, browsers)
    app.add_exception_handler(HTTPException, _refuse)
    app.add_exception_handler(ServiceError, _explain)


def _routes(service: Service, document: dict[str, Any]) -> list[BaseRoute]:
    gateway = service.gateway

    async def ready(_: Request) -> Response:
        status = "ready" if gateway.ready else "not ready"
        return JSONResponse({"status": status, "workers_ready": len(gateway.hellos)}, 200 if gateway.ready else 503)

    async def card(request: Request) -> Response:
        trusted = not service.api_key or has_key(dict(request.scope["headers"]), service.api_key.encode())
        return JSONResponse(info(gateway, service.limits, trusted))

    async def metrics(_: Request) -> Response:
        return Response(service.metrics.exposition() + gauges(gateway), media_type=CONTENT_TYPE)

    async def openapi(_: Request) -> Response:
        return JSONResponse(document)

    return [
        Route("/", _redirect),
        Route("/health", _health),
        Route("/ready", ready),
        Route("/info", card),
        Route("/metrics", metrics),
        Route("/openapi.json", openapi),
        Route("/docs", _docs),
        *page_routes(),
        *extra_routes(service),
        Mount(_ASSETS, StaticFiles(directory=Path(fastapi_offline.__file__).parent / "static")),
    ]


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _redirect(_: Request) -> Response:
    return RedirectResponse("ui")


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
    else:  # a 405: neither the router nor a route raises anything else
        allowed = (problem.headers or {}).get("Allow", "GET")
        error = ServiceError(ErrorType.METHOD_NOT_ALLOWED, f"method: must be {allowed}, got {request.method}")
    return Response(error.body, error.error_type.status, _text(error.headers) | dict(problem.headers or {}), JSON)


async def _explain(_: Request, problem: Exception) -> Response:
    """The contract's body for what a route found wrong."""
    assert isinstance(problem, ServiceError)  # noqa: S101  # what it is registered for
    return Response(problem.body, problem.error_type.status, _text(problem.headers), JSON)


def _text(headers: Headers) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in headers}
