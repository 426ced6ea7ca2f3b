"""`POST /hf`: the text-classification task of Hugging Face's Inference API."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field
from pydantic_core import to_json

from service.endpoint import Endpoint, Incoming, Query, Reply
from service.job import Job
from service.wire import Options

from .common import Body, check_texts, invalid, raw, read, scores_of

_NATURAL = {"single_label_classification": "softmax", "multi_label_classification": "sigmoid", "regression": "none"}


class _Parameters(Body):
    top_k: Annotated[int, Field(ge=1)] | None = None
    function_to_apply: Literal["softmax", "sigmoid", "none"] | None = None


class _Request(Body):
    inputs: str | list[str]
    parameters: _Parameters | None = None


@dataclass(slots=True)
class _Query(Query):
    raw: bool


class HuggingFace(Endpoint):
    """`{"inputs": str | [str], "parameters"?: {"top_k"?, "function_to_apply"?}}` to `[[{"label", "score"}]]`."""

    route = "/hf"

    def parse(self, incoming: Incoming) -> Query:
        """The texts; the function applied must be the model's own, or none."""
        request = read(_Request, incoming.body)
        parameters = request.parameters or _Parameters()
        texts = [request.inputs] if isinstance(request.inputs, str) else request.inputs
        natural = _NATURAL[self.service.gateway.pool(None).hello.problem_type]
        asked = parameters.function_to_apply or natural
        if asked not in (natural, "none"):
            raise invalid(f"function_to_apply: must be {natural} or none for this model, got {asked}")
        options = Options(top_k=parameters.top_k)
        return _Query(check_texts(texts, self.service.limits, "inputs"), options, asked == "none")

    def render(self, query: Query, job: Job) -> Reply:
        """A list of labels and scores for each text, the best first."""
        assert isinstance(query, _Query)  # noqa: S101  # what `parse` returns
        return Reply(
            to_json(
                [
                    [
                        {"label": label, "score": raw(score, job.hello.problem_type) if query.raw else score}
                        for label, score in scores.items()
                    ]
                    for scores in scores_of(job)
                ]
            )
        )
