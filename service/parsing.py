"""From the bytes of a request to what it asks for, or to the one sentence that says what is wrong with it."""

import json
from typing import Any

from pydantic import ValidationError

from .config import Limits
from .errors import ErrorType, ServiceError
from .schemas import PredictRequest

_SHOWN = 80  # characters of a wrong value that an error repeats
_LISTED = 1000  # problems of a body


def parse_request(body: bytes, limits: Limits) -> PredictRequest:
    """The request in `body`; raises `ServiceError` with the first thing that is wrong with it."""
    try:
        request = PredictRequest.model_validate_json(body)
    except ValidationError as error:
        raise _explain(error, body) from None
    texts = request.texts
    if len(texts) > limits.max_texts:
        raise _invalid(f"inputs: must be at most {limits.max_texts} texts, got {len(texts)}")
    for index, text in enumerate(texts):
        if len(text) > limits.max_characters:
            field = "inputs" if isinstance(request.inputs, str) else f"inputs[{index}]"
            raise _invalid(f"{field}: must be at most {limits.max_characters} characters, got {len(text)}")
    return request


def deepest(error: ValidationError) -> Any:
    """The problem that was meant: a union reports every alternative, and that one has the deepest location.

    Raises `ServiceError` where there are so many that listing them would hold up everybody.
    """
    if error.error_count() > _LISTED:
        raise _invalid(f"body: must have the fields of this route, got {error.error_count()} that are wrong")
    return max(error.errors(include_url=False), key=lambda problem: len(problem["loc"]))


def _explain(error: ValidationError, body: bytes) -> ServiceError:
    problem = deepest(error)
    if problem["type"] == "json_invalid":
        return invalid_json(problem["ctx"]["error"], body)
    field = _field(problem["loc"])
    if problem["type"] == "extra_forbidden":
        return _invalid(f"{field}: no such field, the fields are {', '.join(PredictRequest.model_fields)}")
    if problem["type"] == "missing":
        return _invalid(f"{field}: is required, got only {_show(sorted(problem['input']))}")
    return _invalid(f"{field}: {_rule(problem['type'], field)}, got {_show(problem['input'])}")


def _rule(kind: str, field: str) -> str:
    if field == "inputs":
        return "must be a text or a list of at least one text"
    if field == "top_k":
        return "must be an integer of at least 1"
    if field == "explain":
        return "must be true or false"
    return "must be a string" if kind == "string_type" else "must be a JSON object"


def _field(location: tuple[int | str, ...]) -> str:
    """`inputs[3]` for ("inputs", "list[...]", 3); the names of a union's alternatives are no part of the request."""
    if not location:
        return "body"
    index = next((part for part in location[1:] if isinstance(part, int)), None)
    return str(location[0]) if index is None else f"{location[0]}[{index}]"


def invalid_json(reason: str, body: bytes) -> ServiceError:
    """What to say of a body that pydantic's parser refused for `reason`."""
    if _is_json_with_surrogates(body):
        return _invalid(f"body: texts must be valid Unicode, got a lone surrogate ({reason})")
    return ServiceError(ErrorType.INVALID_JSON, f"body: must be JSON in UTF-8, got {len(body)} bytes with: {reason}")


def _is_json_with_surrogates(body: bytes) -> bool:
    r"""Whether `body` is only refused because of escapes such as "\ud800", which the grammar of JSON allows."""
    try:
        json.dumps(json.loads(body), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except (ValueError, RecursionError):
        return False
    return False


def _invalid(message: str) -> ServiceError:
    return ServiceError(ErrorType.VALIDATION, message)


def _show(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= _SHOWN else f"{shorten(shown)} ({type(value).__name__})"


def shorten(value: str) -> str:
    """As much of a wrong value as an error repeats."""
    return value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…"
