"""Which dialects there are, by the names that `--dialects` takes."""

from collections.abc import Callable, Sequence

from starlette.routing import Route

from service.endpoint import Endpoint, Service

from . import huggingface, kserve, tei, vllm

Extra = Callable[[Service], list[Route]]  # routes that classify nothing

DIALECTS: dict[str, tuple[type[Endpoint], Extra]] = {
    "hf": (huggingface.HuggingFace, lambda _: []),
    "tei": (tei.TextEmbeddingsInference, tei.extra_routes),
    "vllm": (vllm.Vllm, lambda _: []),
    "kserve": (kserve.KServe, kserve.extra_routes),
}


def endpoints_of(names: Sequence[str]) -> list[type[Endpoint]]:
    """The classes of these dialects."""
    return [DIALECTS[name][0] for name in names]


def extra_routes(service: Service) -> list[Route]:
    """Routes beside the endpoints of the dialects that `service` speaks."""
    return [route for name in service.dialects for route in DIALECTS[name][1](service)]
