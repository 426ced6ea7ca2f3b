"""`POST /classify` and `GET /v1/models`: vLLM's classification API, in the manner of OpenAI's."""

import secrets
import time
from typing import Literal

from pydantic import Field
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.endpoint import Endpoint, Incoming, Query, Reply, Service
from service.errors import ErrorType, ServiceError
from service.job import Job
from service.operations import Paths, classification, get
from service.schemas import ReplyBody
from service.wire import Options

from .common import Body, OneOrMore, check_texts, read, scores_of


class VllmRequest(Body):
    """A text or a list of texts to classify; other fields are ignored."""

    input: OneOrMore
    model: str | None = Field(default=None, description="which model is to answer; the first when absent")


class VllmClass(ReplyBody):
    """What one text is."""

    index: int
    label: str
    probs: list[float] = Field(description="in the order of the model's labels")
    num_classes: int


class VllmUsage(ReplyBody):
    """What the model has read."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: Literal[0]
    prompt_tokens_details: None


class VllmReply(ReplyBody):
    """One entry a text, in order."""

    id: str
    object: Literal["list"]
    created: int = Field(description="seconds since 1970")
    model: str
    data: list[VllmClass]
    usage: VllmUsage


class VllmProblem(ReplyBody):
    """What was wrong."""

    message: str
    type: str
    param: None
    code: int = Field(description="the reply's status")


class VllmError(ReplyBody):
    """OpenAI's error body."""

    error: VllmProblem


class VllmModel(ReplyBody):
    """A model that can be asked."""

    id: str
    object: Literal["model"]
    created: int = Field(description="seconds since 1970")
    owned_by: str
    max_model_len: int = Field(description="tokens that it reads of a text")


class VllmModels(ReplyBody):
    """Those that can be asked."""

    object: Literal["list"]
    data: list[VllmModel]


class Vllm(Endpoint):
    """`{"input": str | [str], "model"?}` to a list of labels with the probabilities of all classes in their order."""

    route = "/classify"

    def parse(self, incoming: Incoming) -> Query:
        """The texts, and which model is to answer."""
        request = read(VllmRequest, incoming.body)
        pool = self.service.gateway.pool(request.model)
        texts = [request.input] if isinstance(request.input, str) else request.input
        return Query(check_texts(texts, self.service.limits, "input"), Options(), pool=pool)

    def render(self, query: Query, job: Job) -> Reply:
        """One entry a text."""
        labels = job.hello.labels
        data = [
            {
                "index": index,
                "label": next(iter(scores)),
                "probs": [scores[label] for label in labels],
                "num_classes": len(labels),
            }
            for index, scores in enumerate(scores_of(job))
        ]
        tokens = job.latency.tokens
        usage = {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0, "prompt_tokens_details": None}
        head = {"id": f"classify-{secrets.token_hex(16)}", "object": "list", "created": int(time.time())}
        return Reply(to_json(head | {"model": job.model["name"], "data": data, "usage": usage}))

    @classmethod
    def render_error(cls, error: ServiceError) -> tuple[int, Reply]:
        """OpenAI's error body; what is invalid is a 400 there."""
        status = 400 if error.error_type is ErrorType.VALIDATION else error.error_type.status
        detail = {"message": error.message, "type": error.error_type.label, "param": None, "code": status}
        return status, Reply(to_json({"error": detail}))


def extra_routes(service: Service) -> list[Route]:
    """`GET /v1/models`, which vLLM's own clients ask first."""
    started = int(time.time())

    async def models(_: Request) -> Response:
        hellos = [pool.hello for pool in service.gateway.answering]
        data = [
            {"id": hello.model["name"], "object": "model", "created": started, "owned_by": "textcnn-service"}
            | {"max_model_len": hello.max_length}
            for hello in hellos
        ]
        return JSONResponse({"object": "list", "data": data})

    return [Route("/v1/models", models)]


def paths() -> Paths:
    """What OpenAPI says of it."""
    classify = classification(Vllm, "Classify as vLLM does", VllmRequest, VllmReply, VllmError, by_name=True)
    return {"/classify": {"post": classify}, "/v1/models": {"get": get("Models that can be asked", VllmModels)}}
