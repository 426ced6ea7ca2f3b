"""Which dialects there are, by the names that `--dialects` takes."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from starlette.routing import Route

from service.endpoint import Endpoint, Service
from service.operations import Paths

from . import huggingface, kserve, tei, vllm


class Dialect(NamedTuple):
    """What a dialect adds to the service."""

    endpoint: type[Endpoint]  # what classifies
    paths: Callable[[], Paths]  # what OpenAPI says of all its routes
    extra_routes: Callable[[Service], list[Route]] = lambda _: []  # those that classify nothing


DIALECTS: dict[str, Dialect] = {
    "hf": Dialect(huggingface.HuggingFace, huggingface.paths),
    "tei": Dialect(tei.TextEmbeddingsInference, tei.paths, tei.extra_routes),
    "vllm": Dialect(vllm.Vllm, vllm.paths, vllm.extra_routes),
    "kserve": Dialect(kserve.KServe, kserve.paths, kserve.extra_routes),
}


def endpoints_of(names: Sequence[str]) -> list[type[Endpoint]]:
    """The classes of these dialects."""
    return [DIALECTS[name].endpoint for name in names]


def extra_routes(service: Service) -> list[Route]:
    """Routes beside the endpoints of the dialects that `service` speaks."""
    return [route for name in service.dialects for route in DIALECTS[name].extra_routes(service)]


def paths_of(names: Sequence[str]) -> Paths:
    """What OpenAPI says of these dialects."""
    return {path: operations for name in names for path, operations in DIALECTS[name].paths().items()}
