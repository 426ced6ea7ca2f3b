"""KServe's open inference protocol v2, its binary tensor extension included, which Triton's clients use by default."""

import math
from dataclasses import dataclass
from struct import Struct
from typing import Any

import numpy as np
from pydantic import Field
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.endpoint import Endpoint, Incoming, Query, Reply, Service
from service.errors import ServiceError
from service.job import Job
from service.wire import Options

from .common import Body, check_texts, invalid, read, scores_of

_SIZE = b"inference-header-content-length"
_LENGTH = Struct("<I")
_INPUT = {"name": "text", "datatype": "BYTES", "shape": [-1]}


class _Input(Body):
    name: str
    datatype: str
    shape: list[int]
    data: list[str] | list[list[str]] | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)


class _Output(Body):
    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class _Request(Body):
    inputs: list[_Input]
    outputs: list[_Output] | None = None
    id: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)


@dataclass(slots=True)
class _Query(Query):
    id: str | None
    binary: dict[str, bool]  # for each output that is asked for, whether as bytes behind the JSON


class KServe(Endpoint):
    """Tensor `text` BYTES [N] to `scores` FP32 [N, C], in the order of the labels, and `label` BYTES [N]."""

    route = "/v2/models/{name}/infer"
    media_types = ("application/json", "application/octet-stream", "none")  # Triton's client names none

    def parse(self, incoming: Incoming) -> Query:
        """The texts of the one input, from the JSON or from the bytes behind it."""
        pool = self.service.gateway.pool(incoming.scope["path_params"]["name"])
        size = _json_size(incoming)
        request = read(_Request, incoming.body[:size])
        if len(request.inputs) != 1 or (request.inputs[0].name, request.inputs[0].datatype) != ("text", "BYTES"):
            raise invalid('inputs: must be one tensor named "text" of datatype BYTES')
        texts = _texts(request.inputs[0], incoming.body[size:])
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
            tensor: dict[str, Any] = {"name": name, "datatype": _OUTPUTS[name], "shape": [len(rows)]}
            if name == "scores":
                tensor["shape"].append(len(labels))
                data: list[Any] = [row[label] for row in rows for label in labels]  # (N * C,)
            else:
                data = [next(iter(row)) for row in rows]
            if binary:
                content = _binary(name, data)
                tensor["parameters"] = {"binary_data_size": len(content)}
                tail += content
            else:
                tensor["data"] = data
            outputs.append(tensor)
        answer = {"model_name": job.model["name"], "model_version": job.model["revision"], "outputs": outputs}
        head = to_json(answer | ({"id": query.id} if query.id else {}))
        if not tail:
            return Reply(head)
        kind = (b"content-type", b"application/octet-stream")
        return Reply(head + tail, (kind, (_SIZE, str(len(head)).encode())))


_OUTPUTS = {"scores": "FP32", "label": "BYTES"}


def _binary(name: str, data: list[Any]) -> bytes:
    """The elements of an output as bytes behind the JSON."""
    if name == "scores":
        return np.array(data, dtype="<f4").tobytes()
    return b"".join(_LENGTH.pack(len(text)) + text for text in map(str.encode, data))


def _json_size(incoming: Incoming) -> int:
    """Bytes of the JSON that the body begins with."""
    size = incoming.headers.get(_SIZE, b"%d" % len(incoming.body))
    if not size.isdigit() or len(size) > 12 or int(size) > len(incoming.body):
        raise invalid(f"Inference-Header-Content-Length: must be at most the body's {len(incoming.body)} bytes")
    return int(size)


def _chosen(request: _Request) -> dict[str, bool]:
    """The outputs asked for, all if none is, and whether each is to be binary."""
    default = bool(request.parameters.get("binary_data_output", False))
    if not request.outputs:
        return dict.fromkeys(_OUTPUTS, default)
    for output in request.outputs:
        if output.name not in _OUTPUTS:
            raise invalid(f'outputs: must be among "scores" and "label", got {output.name[:80]!r}')
    return {output.name: bool(output.parameters.get("binary_data", default)) for output in request.outputs}


def _texts(tensor: _Input, tail: bytes) -> list[str]:
    """The elements of a BYTES tensor; raises `ServiceError` where lengths or encoding are wrong."""
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        if tensor.data is None:
            raise invalid("inputs: must have data, or binary_data_size and bytes behind the JSON")
        return [text for entry in tensor.data for text in ([entry] if isinstance(entry, str) else entry)]
    if size != len(tail):
        raise invalid(f"binary_data_size: must be the {len(tail)} bytes behind the JSON, got {size!r:.40}")
    texts: list[str] = []
    place = 0
    while place < len(tail):
        end = place + 4 + (_LENGTH.unpack_from(tail, place)[0] if place + 4 <= len(tail) else len(tail))
        if end > len(tail):
            raise invalid(f"text: element {len(texts)} must end within the tensor's {len(tail)} bytes")
        try:
            texts.append(tail[place + 4 : end].decode())
        except UnicodeDecodeError:
            raise invalid(f"text: element {len(texts)} must be UTF-8") from None
        place = end
    return texts


def extra_routes(service: Service) -> list[Route]:
    """Health and metadata of the server and of its model."""

    async def server(_: Request) -> Response:
        return JSONResponse({"name": "textcnn-service", "version": "2", "extensions": ["binary_tensor_data"]})

    async def live(_: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(request: Request) -> Response:
        gateway, name = service.gateway, request.path_params.get("name")
        pools = [pool for pool in gateway.answering if name in (None, pool.hello.model["name"])]
        ready = bool(pools) and not gateway.draining and all(pool.ready for pool in pools)
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    async def model(request: Request) -> Response:
        try:
            hello = service.gateway.pool(request.path_params["name"]).hello
        except ServiceError as error:
            return JSONResponse({"error": error.message}, error.error_type.status)
        scores = {"name": "scores", "datatype": "FP32", "shape": [-1, len(hello.labels)]}
        label = {"name": "label", "datatype": "BYTES", "shape": [-1]}
        head = {"name": hello.model["name"], "versions": [hello.model["revision"]], "platform": "textcnn"}
        return JSONResponse(head | {"inputs": [_INPUT], "outputs": [scores, label]})

    return [
        Route("/v2", server),
        Route("/v2/health/live", live),
        Route("/v2/health/ready", ready),
        Route("/v2/models/{name}", model),
        Route("/v2/models/{name}/ready", ready),
    ]
