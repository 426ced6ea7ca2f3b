"""No body, header or path makes the service fail; the real server, asked ten thousand times and by schemathesis."""

import json
import random
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.config import DIALECTS
from service.openapi import openapi_document
from service.schemas import ErrorReply, PredictReply
from tests.servers import RunningServer, server

pytestmark = pytest.mark.slow

BODIES, EXAMPLES = 10_000, 500
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def running(checkpoint: Path) -> Iterator[RunningServer]:
    with server(checkpoint, "--max_texts", "4", "--max_characters", "50", TEXTCNN_ADMIN_KEY="admin") as started:
        yield started
        assert started.stop() == 0


@pytest.fixture(scope="module")
def connection(running: RunningServer) -> Iterator[HTTPConnection]:
    with running.connection() as opened:
        yield opened


texts = st.text(max_size=60)  # lone surrogates included
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
nearly_right = st.fixed_dictionaries(
    {"inputs": texts | st.lists(texts, max_size=6) | values},
    optional={"top_k": st.integers() | values, "explain": values, "inputs ": values},
)
documents = (nearly_right | values).map(json.dumps).map(str.encode)


def damaged(body: bytes, source: random.Random) -> bytes:
    """The body with up to three bytes cut out and as many put in, somewhere."""
    start = source.randint(0, len(body))
    return body[:start] + source.randbytes(source.randint(0, 3)) + body[start + source.randint(0, 3) :]


def ask(connection: HTTPConnection, body: bytes) -> tuple[int, bytes]:
    connection.request("POST", "/predict", body, JSON)
    reply = connection.getresponse()
    return reply.status, reply.read()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(body=documents | st.binary(max_size=100), seed=st.integers(0, 2**32))
def test_every_body_is_answered_or_refused_in_the_contracts_words(
    connection: HTTPConnection, body: bytes, seed: int
) -> None:
    source = random.Random(seed)
    for sent in (body, *(damaged(body, source) for _ in range(BODIES // EXAMPLES - 1))):
        status, content = ask(connection, sent)
        if status == 200:
            PredictReply.model_validate_json(content)
        else:
            assert status in (400, 422), sent
            ErrorReply.model_validate_json(content)
        good, _ = ask(connection, b'{"inputs": "good"}')
        assert good == 200, sent


def test_schemathesis_finds_no_failure_and_no_undocumented_reply(running: RunningServer) -> None:
    checks = [
        *(not_a_server_error, status_code_conformance, content_type_conformance),
        *(response_headers_conformance, response_schema_conformance),
    ]
    document = schemathesis.openapi.from_url(f"{running.url}/openapi.json", config=SchemathesisConfig())
    unknown = st.text(max_size=8).filter(lambda name: name.strip("."))  # dots lead to other paths
    names = st.just("checkpoint") | unknown.map(lambda name: quote(name, safe=""))
    paths = set()
    for found in document.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]  # an invalid document fails here
        strategy = operation.as_strategy()
        if operation.body:
            strategy |= operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
        paths.add(operation.path)

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(case=strategy, name=names)
        def conforms(case: Any, name: str) -> None:
            if case.headers:  # a deadline of a millisecond is rightly missed
                case.headers.pop("X-Request-Deadline-Ms", None)
            if "name" in case.path_parameters:
                case.path_parameters["name"] = name
            case.call_and_validate(checks=checks)

        conforms()
    assert paths == {"/admin/reload", *openapi_document(DIALECTS)["paths"]}
