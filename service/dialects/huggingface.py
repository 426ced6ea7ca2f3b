"""`POST /hf`: the text-classification task of Hugging Face's Inference API."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field
from pydantic_core import to_json

from service.endpoint import Endpoint, Incoming, Query, Reply
from service.job import Job
from service.operations import Paths, classification
from service.schemas import ReplyBody
from service.wire import Options

from .common import Body, OneOrMore, check_texts, invalid, raw, read, scores_of

_NATURAL = {"single_label_classification": "softmax", "multi_label_classification": "sigmoid", "regression": "none"}


class HuggingFaceParameters(Body):
    """How the scores are to be given."""

    top_k: Annotated[int, Field(ge=1)] | None = Field(default=None, description="how many, the highest; else all")
    function_to_apply: Literal["softmax", "sigmoid", "none"] | None = Field(
        default=None, description="the model's own, which is the default, or none for raw scores"
    )


class HuggingFaceRequest(Body):
    """A text or a list of texts to classify; other fields are ignored."""

    inputs: OneOrMore
    parameters: HuggingFaceParameters | None = None


class LabelScore(ReplyBody):
    """One class of a text."""

    label: str
    score: float


@dataclass(slots=True)
class _Query(Query):
    raw: bool


class HuggingFace(Endpoint):
    """`{"inputs": str | [str], "parameters"?: {"top_k"?, "function_to_apply"?}}` to `[[{"label", "score"}]]`."""

    route = "/hf"

    def parse(self, incoming: Incoming) -> Query:
        """The texts; the function applied must be the model's own, or none."""
        request = read(HuggingFaceRequest, incoming.body)
        parameters = request.parameters or HuggingFaceParameters()
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


def paths() -> Paths:
    """What OpenAPI says of it."""
    reply = {"type": "array", "items": {"type": "array", "items": LabelScore}}
    summary = "Classify as Hugging Face's Inference API does"
    return {"/hf": {"post": classification(HuggingFace, summary, HuggingFaceRequest, reply)}}
