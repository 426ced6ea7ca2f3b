"""KServe's open inference protocol v2, its binary tensor extension included, which Triton's clients use by default."""

import math
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.endpoint import Endpoint, Incoming, Query, Reply, Service
from service.job import Job
from service.operations import BYTES, Paths, classification, get, header
from service.parsing import shorten
from service.schemas import ErrorReply
from service.wire import Options

from .common import check_texts, invalid, read, scores_of
from .kserve_bodies import (
    OUTPUTS,
    KServeLive,
    KServeModel,
    KServeReady,
    KServeReply,
    KServeRequest,
    KServeServer,
    as_bytes,
    texts_of,
)

_SIZE = b"inference-header-content-length"
_OCTETS = "application/octet-stream"
_INPUT = {"name": "text", "datatype": "BYTES", "shape": [-1]}


@dataclass(slots=True)
class _Query(Query):
    id: str | None
    binary: dict[str, bool]  # for each output that is asked for, whether as bytes behind the JSON


class KServe(Endpoint):
    """Tensor `text` BYTES [N] to `scores` FP32 [N, C], in the order of the labels, and `label` BYTES [N]."""

    route = "/v2/models/{name}/infer"
    media_types = ("application/json", _OCTETS, "none")  # Triton's client names none

    def parse(self, incoming: Incoming) -> Query:
        """The texts of the one input, from the JSON or from the bytes behind it."""
        pool = self.service.gateway.pool(incoming.scope["path_params"]["name"])
        size = _json_size(incoming)
        request = read(KServeRequest, incoming.body[:size])
        given = [(tensor.name, tensor.datatype) for tensor in request.inputs]
        if given != [("text", "BYTES")]:
            shown = ", ".join(f'"{name}" of {kind}' for name, kind in given) or "none"
            raise invalid(f'inputs: must be one tensor named "text" of datatype BYTES, got {shorten(shown)}')
        texts = texts_of(request.inputs[0], incoming.body[size:])
        if math.prod(request.inputs[0].shape) != len(texts):
            raise invalid(f"shape: must hold {len(texts)} texts, got {request.inputs[0].shape}")
        check_texts(texts, self.service.limits, "text")
        return _Query(texts, Options(), request.id, _chosen(request), pool=pool)

    def render(self, query: Query, job: Job) -> Reply:
        """The tensors asked for, as JSON or as bytes behind it."""
        assert isinstance(query, _Query)  # noqa: S101  # what `parse` returns
        rows, labels = scores_of(job), job.hello.labels
        outputs, tail = [], b""
        for name, binary in query.binary.items():
            tensor: dict[str, Any] = {"name": name, "datatype": OUTPUTS[name], "shape": [len(rows)]}
            if name == "scores":
                tensor["shape"].append(len(labels))
                data: list[Any] = [row[label] for row in rows for label in labels]  # (N * C,)
            else:
                data = [next(iter(row)) for row in rows]
            if binary:
                content = as_bytes(name, data)
                tensor["parameters"] = {"binary_data_size": len(content)}
                tail += content
            else:
                tensor["data"] = data
            outputs.append(tensor)
        answer = {"model_name": job.model["name"], "model_version": job.model["revision"], "outputs": outputs}
        head = to_json(answer | ({"id": query.id} if query.id else {}))
        if not tail:
            return Reply(head)
        kind = (b"content-type", _OCTETS.encode())
        return Reply(head + tail, (kind, (_SIZE, str(len(head)).encode())))


def _json_size(incoming: Incoming) -> int:
    """Bytes of the JSON that the body begins with."""
    size = incoming.headers.get(_SIZE, b"%d" % len(incoming.body))
    if not size.isdigit() or len(size) > 12 or int(size) > len(incoming.body):
        rule, shown = f"must be at most the body's {len(incoming.body)} bytes", size.decode("latin-1")[:20]
        raise invalid(f"Inference-Header-Content-Length: {rule}, got {shown}")
    return int(size)


def _chosen(request: KServeRequest) -> dict[str, bool]:
    """The outputs asked for, all if none is, and whether each is to be binary."""
    default = bool(request.parameters.get("binary_data_output", False))
    if not request.outputs:
        return dict.fromkeys(OUTPUTS, default)
    for output in request.outputs:
        if output.name not in OUTPUTS:
            raise invalid(f'outputs: must be among "scores" and "label", got {output.name[:80]!r}')
    return {output.name: bool(output.parameters.get("binary_data", default)) for output in request.outputs}


def extra_routes(service: Service) -> list[Route]:
    """Health and metadata of the server and of its model."""

    async def server(_: Request) -> Response:
        return JSONResponse({"name": "textcnn-service", "version": "2", "extensions": ["binary_tensor_data"]})

    async def live(_: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(_: Request) -> Response:
        return _ready(service.gateway.ready)

    async def model_ready(request: Request) -> Response:
        pool = service.gateway.pool(request.path_params["name"])
        return _ready(pool.ready and not service.gateway.draining)

    async def model(request: Request) -> Response:
        hello = service.gateway.pool(request.path_params["name"]).hello
        scores = {"name": "scores", "datatype": "FP32", "shape": [-1, len(hello.labels)]}
        label = {"name": "label", "datatype": "BYTES", "shape": [-1]}
        head = {"name": hello.model["name"], "versions": [hello.model["revision"]], "platform": "textcnn"}
        return JSONResponse(head | {"inputs": [_INPUT], "outputs": [scores, label]})

    return [
        Route("/v2", server),
        Route("/v2/health/live", live),
        Route("/v2/health/ready", ready),
        Route("/v2/models/{name}", model),
        Route("/v2/models/{name}/ready", model_ready),
    ]


def _ready(ready: bool) -> Response:
    return JSONResponse({"ready": ready}, 200 if ready else 503)


def paths() -> Paths:
    """What OpenAPI says of it."""
    infer = classification(KServe, "Classify by KServe's protocol v2", KServeRequest, KServeReply, by_name=True)
    size = {"type": "integer", "minimum": 0, "description": "bytes of the JSON that the body begins with"}
    infer["parameters"].append(header("Inference-Header-Content-Length", size))
    infer["requestBody"]["content"][_OCTETS] = {"schema": BYTES}
    infer["responses"]["200"]["content"][_OCTETS] = {"schema": BYTES}
    name = {"parameters": [header("name", {"type": "string"}, "path")]}
    not_ready, unknown = {503: KServeReady}, {404: ErrorReply}
    return {
        "/v2": {"get": get("The server and its extensions", KServeServer)},
        "/v2/health/live": {"get": get("The process lives", KServeLive)},
        "/v2/health/ready": {"get": get("Every worker is ready", KServeReady, not_ready)},
        "/v2/models/{name}": name | {"get": get("A model and its tensors", KServeModel, unknown)},
        "/v2/models/{name}/ready": name | {"get": get("Its workers are ready", KServeReady, not_ready | unknown)},
        KServe.route: name | {"post": infer},
    }
