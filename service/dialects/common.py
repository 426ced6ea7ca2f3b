"""What the dialects share: reading a body, checking texts, and the scores of a finished job."""

import math
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, ValidationError, WithJsonSchema
from pydantic_core import from_json
from typing_extensions import TypeAliasType

from service.config import Limits
from service.errors import ErrorType, ServiceError
from service.job import Job
from service.parsing import deepest, invalid_json, shorten

_TEXTS = {"type": "array", "items": {"type": "string"}, "minItems": 1}
Strings = TypeAliasType("Strings", Annotated[list[str], FailFast()])  # one error, not one an element
OneOrMore = str | Annotated[Strings, WithJsonSchema(_TEXTS)]  # `check_texts` refuses none in its own words
_TINY = 1e-38  # below it a 32-bit probability has no logarithm worth having


class Body(BaseModel):
    """A request; what a dialect's clients send and this service has no use for is ignored, as their own servers do."""

    model_config = ConfigDict(strict=True, extra="ignore")


AnyBody = TypeVar("AnyBody", bound=Body)


def read(kind: type[AnyBody], body: bytes) -> AnyBody:
    """The body as a `kind`; raises `ServiceError` naming the field, the rule and the value received."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        problem = deepest(error)
    if problem["type"] == "json_invalid":
        raise invalid_json(problem["ctx"]["error"], body)
    field = _field(problem["loc"], from_json(body), is_missing=problem["type"] == "missing")
    shown = repr(problem["input"]) if not isinstance(problem["input"], list) else f"{len(problem['input'])} items"
    raise invalid(f"{field}: {problem['msg'].lower()}, got {shorten(shown)}")


def _field(location: tuple[str | int, ...], body: Any, *, is_missing: bool) -> str:
    """Where in the body a problem is; its location also names the members of unions, which the body does not have."""
    path, place = "", body
    for part in location:
        if isinstance(part, int) and isinstance(place, list):
            path, place = f"{path}[{part}]", place[part]
        elif isinstance(place, dict) and part in place:
            path, place = f"{path}.{part}", place[part]
    return (f"{path}.{location[-1]}" if is_missing else path).removeprefix(".") or "body"


def check_texts(texts: list[str], limits: Limits, field: str) -> list[str]:
    """The texts; raises `ServiceError` where they are none, too many or too long."""
    if not 1 <= len(texts) <= limits.max_texts:
        raise invalid(f"{field}: must be from 1 to {limits.max_texts} texts, got {len(texts)}")
    lengths = list(map(len, texts))
    if max(lengths) > limits.max_characters:
        index = next(index for index, length in enumerate(lengths) if length > limits.max_characters)
        place = f"{field}[{index}]" if len(texts) > 1 else field
        raise invalid(f"{place}: must be at most {limits.max_characters} characters a text, got {lengths[index]}")
    return texts


def invalid(message: str) -> ServiceError:
    """A well-formed request that asks for what cannot be."""
    return ServiceError(ErrorType.VALIDATION, message)


def scores_of(job: Job) -> list[dict[str, float]]:
    """For each text its scores by label, descending; a number's only label is the name of its column."""
    return [
        prediction["scores"] if "scores" in prediction else {job.hello.labels[0]: prediction["value"]}
        for prediction in job.predictions()
    ]


def raw(score: float, problem_type: str) -> float:
    """The logit behind a probability: its log odds for one of several labels, else its logarithm.

    Logits of exclusive classes are known up to a constant only; these are the ones whose exponentials add up to 1.
    """
    if problem_type == "regression":
        return score
    logarithm = math.log(max(score, _TINY))
    if problem_type != "multi_label_classification":
        return logarithm
    return logarithm - math.log(max(1 - score, 2**-24))  # half a step below 1 in 32 bits
