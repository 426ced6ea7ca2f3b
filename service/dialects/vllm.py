"""`POST /classify`: vLLM's classification API, in the manner of OpenAI's."""

from pydantic_core import to_json

from service.endpoint import Endpoint, Incoming, Query, Reply
from service.errors import ErrorType, ServiceError
from service.job import Job
from service.wire import Options

from .common import Body, check_texts, read, scores_of


class _Request(Body):
    input: str | list[str]
    model: str | None = None


class Vllm(Endpoint):
    """`{"input": str | [str], "model"?}` to a list of labels with the probabilities of all classes in their order."""

    route = "/classify"

    def parse(self, incoming: Incoming) -> Query:
        """The texts, and which model is to answer."""
        request = read(_Request, incoming.body)
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
        return Reply(to_json({"object": "list", "model": job.model["name"], "data": data, "usage": usage}))

    def render_error(self, error: ServiceError) -> tuple[int, Reply]:
        """OpenAI's error body; what is invalid is a 400 there."""
        status = 400 if error.error_type is ErrorType.VALIDATION else error.error_type.status
        detail = {"message": error.message, "type": error.error_type.label, "param": None, "code": status}
        return status, Reply(to_json({"error": detail}))
