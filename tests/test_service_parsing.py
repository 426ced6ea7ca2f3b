"""Every body is either a valid request or one clear error of the contract."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config import Limits
from service.errors import ErrorType, ServiceError
from service.parsing import parse_request
from service.schemas import ErrorReply, PredictRequest

LIMITS = Limits(max_texts=3, max_characters=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)
fields = st.sampled_from(["inputs", "top_k", "explain", "explain_label", "explained"]) | st.text(max_size=8)


def outcome_of(body: bytes) -> PredictRequest | ServiceError:
    try:
        return parse_request(body, LIMITS)
    except ServiceError as error:
        return error


def refusal(body: bytes | str, limits: Limits = LIMITS) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        parse_request(body if isinstance(body, bytes) else body.encode(), limits)
    return caught.value


@given(body=json_values | st.dictionaries(fields, json_values, max_size=4))
def test_any_json_is_valid_or_a_clear_error(body: Any) -> None:
    outcome = outcome_of(json.dumps(body).encode())
    if isinstance(outcome, ServiceError):
        assert outcome.error_type in (ErrorType.VALIDATION, ErrorType.INVALID_JSON)
        reply = ErrorReply.model_validate_json(outcome.body)
        assert reply.error.count("\n") == 0
        assert 0 < len(reply.error) < 500
    else:
        assert set(body) <= {"inputs", "top_k", "explain", "explain_label"}
        assert outcome.texts == ([body["inputs"]] if isinstance(body["inputs"], str) else body["inputs"])


@given(body=st.binary(max_size=60))
def test_any_bytes_are_valid_or_a_client_error(body: bytes) -> None:
    outcome = outcome_of(body)
    if isinstance(outcome, ServiceError):
        assert outcome.error_type in (ErrorType.VALIDATION, ErrorType.INVALID_JSON)


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), min_size=1, max_size=3))
def test_texts_arrive_as_they_are(texts: list[str]) -> None:
    assert parse_request(json.dumps({"inputs": texts}).encode(), LIMITS).texts == texts
    assert parse_request(json.dumps({"inputs": texts[0]}, ensure_ascii=False).encode(), LIMITS).texts == texts[:1]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("{}", "inputs: is required, got only []"),
        ("[]", "body: must be a JSON object, got []"),
        ('{"inputs": 5}', "inputs: must be a text or a list of at least one text, got 5"),
        ('{"inputs": null}', "inputs: must be a text or a list of at least one text, got null"),
        ('{"inputs": []}', "inputs: must be a text or a list of at least one text, got []"),
        ('{"inputs": ["a", 5]}', "inputs[1]: must be a string, got 5"),
        ('{"inputs": ["a", ["b"]]}', 'inputs[1]: must be a string, got ["b"]'),
        ('{"inputs": "a", "top_k": 0}', "top_k: must be an integer of at least 1, got 0"),
        ('{"inputs": "a", "top_k": true}', "top_k: must be an integer of at least 1, got true"),
        ('{"inputs": "a", "top_k": 1.5}', "top_k: must be an integer of at least 1, got 1.5"),
        (
            '{"inputs": "a", "input": 1}',
            "input: no such field, the fields are inputs, top_k, explain, explain_label, model",
        ),
        ('{"inputs": ["a", "b", "c", "d"]}', "inputs: must be at most 3 texts, got 4"),
        ('{"inputs": "aaaaaaaaaaaaaaaaaaaaa"}', "inputs: must be at most 20 characters, got 21"),
        ('{"inputs": ["", "aaaaaaaaaaaaaaaaaaaaa"]}', "inputs[1]: must be at most 20 characters, got 21"),
    ],
)
def test_an_error_names_field_rule_and_value(body: str, sentence: str) -> None:
    error = refusal(body)
    assert error.message == sentence
    assert error.error_type is ErrorType.VALIDATION


@pytest.mark.parametrize("body", [r'{"inputs": "\ud800"}', r'{"inputs": ["a", "\udfffb"]}', r'{"\ud800": 1}'])
def test_lone_surrogates_are_refused_as_texts(body: str) -> None:
    error = refusal(body)
    assert error.error_type is ErrorType.VALIDATION
    assert "lone surrogate" in error.message


def test_a_surrogate_pair_is_a_character() -> None:
    assert parse_request(rb'{"inputs": "\ud83d\ude00"}', LIMITS).texts == ["\N{GRINNING FACE}"]


@pytest.mark.parametrize("body", [b"", b"x", b"{", b'{"inputs": "a"} b', b'{"inputs": "\xff"}', b"[" * 100_000])
def test_what_is_no_json_is_said_to_be_none(body: bytes) -> None:
    assert refusal(body).error_type is ErrorType.INVALID_JSON


def test_a_long_wrong_value_is_not_repeated_in_full() -> None:
    assert len(refusal(json.dumps({"inputs": {"a": "b" * 10_000}})).message) < 250


def test_a_float_without_fraction_is_an_integer_as_json_schema_has_it() -> None:
    assert parse_request(b'{"inputs": "a", "top_k": 2.0}', LIMITS).top_k == 2
