"""The page at `/ui`: static files that load nothing from elsewhere, and are told so to the browser."""

from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

_FOLDER = Path(__file__).parent / "web"
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # the browser asks whether its copy is still the right one
}


def page_routes() -> list[BaseRoute]:
    """`/ui` and the files that it loads; every address in them is relative, so that a proxy may add a prefix."""
    return [Route("/ui", _page), Route("/ui/", _to_page), Mount("/ui", _Files(directory=_FOLDER))]


class _Files(StaticFiles):
    def file_response(self, *arguments: Any, **options: Any) -> Response:
        """The file, with the headers that bind the browser."""
        response = super().file_response(*arguments, **options)
        response.headers.update(_HEADERS)
        return response


async def _page(_: Request) -> Response:
    return FileResponse(_FOLDER / "index.html", headers=_HEADERS)


async def _to_page(_: Request) -> Response:
    return RedirectResponse("../ui")
