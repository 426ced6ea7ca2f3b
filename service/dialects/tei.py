"""`POST /tei/predict` and `GET /tei/info`: text-embeddings-inference's classification."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import FailFast, Field, WithJsonSchema
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from typing_extensions import TypeAliasType

from service.endpoint import JSON_TYPE, Endpoint, Incoming, Query, Reply, Service
from service.errors import ErrorType, ServiceError
from service.job import Job
from service.operations import Paths, classification, get
from service.schemas import ReplyBody
from service.timing import Latency
from service.versions import version
from service.wire import Options

from .common import Body, Strings, check_texts, invalid, raw, read, scores_of

# Its closed set of errors; everything about a request is "validation" there, with the status 413.
_ERRORS = {ErrorType.OVERLOADED: ("overloaded", 429), ErrorType.INTERNAL: ("backend", 424)}
_AS_HERE = (ErrorType.UNAUTHORIZED, ErrorType.METHOD_NOT_ALLOWED, ErrorType.DEADLINE_EXCEEDED)  # it knows none of them
_ONE = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 1}
_Pairs = TypeAliasType("_Pairs", Annotated[list[str | Strings], FailFast()])
_BATCH = {"type": "array", "items": _ONE, "minItems": 1}


class TeiRequest(Body):
    """A text, alone or in a list, or a batch of such lists; other fields are ignored."""

    inputs: Annotated[str | _Pairs, WithJsonSchema({"anyOf": [{"type": "string"}, _ONE, _BATCH]})]
    raw_scores: bool = False
    truncate: bool | None = Field(default=None, description="false refuses texts that would be cut")


class TeiPrediction(ReplyBody):
    """One class of a text."""

    score: float
    label: str


class TeiError(ReplyBody):
    """What was wrong."""

    error: str
    error_type: Literal["validation", "overloaded", "backend"]


class TeiClasses(ReplyBody):
    """The classes by their number, and back."""

    id2label: dict[str, str]
    label2id: dict[str, int]


class TeiModelType(ReplyBody):
    """What kind of model it is."""

    classifier: TeiClasses


class TeiInfo(ReplyBody):
    """What it tells of itself."""

    model_id: str
    model_sha: str
    model_dtype: str
    model_type: TeiModelType
    max_concurrent_requests: int
    max_input_length: int = Field(description="tokens")
    max_batch_tokens: int
    max_batch_requests: int = Field(description="texts in a pass")
    max_client_batch_size: int = Field(description="texts in a request")
    auto_truncate: Literal[True]
    tokenization_workers: int
    version: str
    sha: None
    docker_label: None


@dataclass(slots=True)
class _Query(Query):
    raw: bool
    flat: bool
    whole: bool  # whether a text that was cut is to be refused


class TextEmbeddingsInference(Endpoint):
    """`"a"` or `["a"]` is one text and gets a flat list; `[["a"], ["b"]]` is a batch and gets a list of lists."""

    route = "/tei/predict"

    def parse(self, incoming: Incoming) -> Query:
        """The texts by its rules, which read `["a", "b"]` as one pair of texts: this is no model for pairs."""
        request = read(TeiRequest, incoming.body)
        inputs = request.inputs
        flat = isinstance(inputs, str) or not isinstance(inputs[0] if inputs else [], list)
        texts: list[str] = []
        for entry in [[inputs]] if isinstance(inputs, str) else [inputs] if flat else inputs:
            if not isinstance(entry, list) or len(entry) != 1 or not isinstance(entry[0], str):
                raise invalid('inputs: must be "text", ["text"] or [["text"], ["text"]]; pairs need another model')
            texts.append(entry[0])
        check_texts(texts, self.service.limits, "inputs")
        return _Query(texts, Options(), request.raw_scores, flat, request.truncate is False)

    def render(self, query: Query, job: Job) -> Reply:
        """Labels and scores, the best first; the times go out as its headers."""
        assert isinstance(query, _Query)  # noqa: S101  # what `parse` returns
        limit = job.hello.max_length
        if query.whole and job.hello.windows is None and job.latency.longest >= limit:
            raise invalid(f"inputs: must have less than {limit} tokens a text where truncate is false")
        found = [
            [
                {"score": raw(score, job.hello.problem_type) if query.raw else score, "label": label}
                for label, score in row.items()
            ]
            for row in scores_of(job)
        ]
        figures = _figures(job.latency, sum(map(len, query.texts)))
        headers = ((name.encode(), str(figure).encode()) for name, figure in figures.items())
        return Reply(to_json(found[0] if query.flat else found), (JSON_TYPE, *headers))

    @classmethod
    def render_error(cls, error: ServiceError) -> tuple[int, Reply]:
        """Its body and, where it has the error, its status."""
        label, status = _ERRORS.get(error.error_type, ("validation", 413))
        if error.error_type in _AS_HERE:
            status = error.error_type.status
        return status, Reply(to_json({"error": error.message, "error_type": label}))


def _figures(latency: Latency, characters: int) -> dict[str, str | int]:
    """Its headers: whole milliseconds, as its clients parse them; `Server-Timing` has them exact."""
    return {
        "x-compute-type": "cpu" if latency.device == "cpu" else "gpu",
        "x-compute-characters": characters,
        "x-compute-tokens": latency.tokens,
        "x-compute-time": latency.total_us // 1000,
        "x-total-time": latency.total_us // 1000,
        "x-tokenization-time": latency.tokenize_us // 1000,
        "x-queue-time": latency.queue_us // 1000,
        "x-inference-time": latency.inference_us // 1000,
    }


def extra_routes(service: Service) -> list[Route]:
    """`GET /tei/info`."""
    limits = service.limits

    async def info(_: Request) -> Response:
        pool = service.gateway.pool(None)
        hello = pool.hello
        ids = {str(index): label for index, label in enumerate(hello.labels)}
        classifier = {"id2label": ids, "label2id": {label: int(index) for index, label in ids.items()}}
        return JSONResponse(
            {
                "model_id": hello.model["name"],
                "model_sha": hello.model["revision"],
                "model_dtype": hello.precision,
                "model_type": {"classifier": classifier},
                "max_concurrent_requests": limits.max_waiting_texts,
                "max_input_length": hello.max_length,
                "max_batch_tokens": limits.max_batch_size * hello.max_length,
                "max_batch_requests": limits.max_batch_size,
                "max_client_batch_size": limits.max_texts,
                "auto_truncate": True,
                "tokenization_workers": pool.expected_workers,
                "version": version("textcnn-service"),
                "sha": None,
                "docker_label": None,
            }
        )

    return [Route("/tei/info", info)]


def paths() -> Paths:
    """What OpenAPI says of it."""
    row = {"type": "array", "items": TeiPrediction}
    reply = {"anyOf": [row, {"type": "array", "items": row}]}
    summary = "Classify as text-embeddings-inference does"
    predict = classification(TextEmbeddingsInference, summary, TeiRequest, reply, TeiError)
    predict["responses"]["200"]["headers"] |= {
        name: {"required": True, "schema": {"type": "integer" if isinstance(figure, int) else "string"}}
        for name, figure in _figures(Latency(), 0).items()
    }
    return {"/tei/predict": {"post": predict}, "/tei/info": {"get": get("The model and its limits", TeiInfo)}}
