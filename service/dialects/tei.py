"""`POST /tei/predict` and `GET /tei/info`: text-embeddings-inference's classification."""

from dataclasses import dataclass

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.endpoint import Endpoint, Incoming, Query, Reply, Service
from service.errors import ErrorType, Headers, ServiceError
from service.job import Job
from service.timing import Latency
from service.wire import Options

from .common import Body, check_texts, invalid, raw, read, scores_of

# Its closed set of errors; everything about a request is "validation" there, with the status 413.
_ERRORS = {ErrorType.OVERLOADED: ("overloaded", 429), ErrorType.INTERNAL: ("backend", 424)}
_AS_HERE = (ErrorType.UNAUTHORIZED, ErrorType.METHOD_NOT_ALLOWED, ErrorType.DEADLINE_EXCEEDED)  # it knows none of them


class _Request(Body):
    inputs: str | list[str | list[str]]
    raw_scores: bool = False
    truncate: bool | None = None


@dataclass(slots=True)
class _Query(Query):
    raw: bool
    flat: bool


class TextEmbeddingsInference(Endpoint):
    """`"a"` or `["a"]` is one text and gets a flat list; `[["a"], ["b"]]` is a batch and gets a list of lists."""

    route = "/tei/predict"

    def parse(self, incoming: Incoming) -> Query:
        """The texts by its rules, which read `["a", "b"]` as one pair of texts: this is no model for pairs."""
        request = read(_Request, incoming.body)
        if request.truncate is False:
            raise invalid("truncate: must be true or absent, long texts are always cut, got false")
        inputs = request.inputs
        flat = isinstance(inputs, str) or not isinstance(inputs[0] if inputs else [], list)
        texts: list[str] = []
        for entry in [[inputs]] if isinstance(inputs, str) else [inputs] if flat else inputs:
            if not isinstance(entry, list) or len(entry) != 1 or not isinstance(entry[0], str):
                raise invalid('inputs: must be "text", ["text"] or [["text"], ["text"]]; pairs need another model')
            texts.append(entry[0])
        check_texts(texts, self.service.limits, "inputs")
        return _Query(texts, Options(), request.raw_scores, flat)

    def render(self, query: Query, job: Job) -> Reply:
        """Labels and scores, the best first; the times go out as its headers."""
        assert isinstance(query, _Query)  # noqa: S101  # what `parse` returns
        found = [
            [
                {"score": raw(score, job.hello.problem_type) if query.raw else score, "label": label}
                for label, score in row.items()
            ]
            for row in scores_of(job)
        ]
        headers = _headers(job.latency, sum(map(len, query.texts)))
        return Reply(to_json(found[0] if query.flat else found), headers)

    def render_error(self, error: ServiceError) -> tuple[int, Reply]:
        """Its body and, where it has the error, its status."""
        label, status = _ERRORS.get(error.error_type, ("validation", 413))
        if error.error_type in _AS_HERE:
            status = error.error_type.status
        return status, Reply(to_json({"error": error.message, "error_type": label}))


def _headers(latency: Latency, characters: int) -> Headers:
    """Whole milliseconds, as its clients parse them; `Server-Timing` has them exact."""
    times = {
        "x-compute-time": latency.total_us,
        "x-total-time": latency.total_us,
        "x-tokenization-time": latency.tokenize_us,
        "x-queue-time": latency.queue_us,
        "x-inference-time": latency.inference_us,
    }
    return (
        (b"content-type", b"application/json"),
        (b"x-compute-type", b"cpu" if latency.device == "cpu" else b"gpu"),
        (b"x-compute-characters", str(characters).encode()),
        (b"x-compute-tokens", str(latency.tokens).encode()),
        *((name.encode(), str(us // 1000).encode()) for name, us in times.items()),
    )


def extra_routes(service: Service) -> list[Route]:
    """`GET /tei/info`."""

    async def info(_: Request) -> Response:
        hello = service.gateway.pool(None).hello
        ids = {str(index): label for index, label in enumerate(hello.labels)}
        classifier = {"id2label": ids, "label2id": {label: int(index) for index, label in ids.items()}}
        return JSONResponse(
            {
                "model_id": hello.model["name"],
                "model_sha": hello.model["revision"],
                "model_dtype": "float32",
                "model_type": {"classifier": classifier},
                "max_input_length": hello.max_length,
                "max_batch_requests": service.limits.max_batch_size,
                "max_client_batch_size": service.limits.max_texts,
                "auto_truncate": True,
            }
        )

    return [Route("/tei/info", info)]
