"""Bodies with more mistakes than an answer can list: one short sentence, and nobody else waits for it."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from service.config import DIALECTS
from service.dialects.huggingface import HuggingFaceRequest
from service.dialects.kserve_bodies import KServeRequest
from service.dialects.tei import TeiRequest
from service.schemas import PredictRequest
from tests.servers import FakeClassifier, application, run


def tensor(shape: list[int], data: list[Any]) -> dict[str, Any]:
    """A request in KServe's protocol."""
    return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": shape, "data": data}]}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", {"inputs": [1] * 500_000}),
        ("/predict", {"inputs": "a", **dict.fromkeys(map(str, range(50_000)), 0)}),
        ("/predict", {"inputs": "a", "explain": True, "explain_label": "x" * 500_000}),
        ("/hf", {"inputs": [1] * 500_000}),
        ("/tei/predict", {"inputs": [[1]] * 100_000}),
        ("/v2/models/fake/infer", {"inputs": [1] * 500_000}),
        ("/v2/models/fake/infer", tensor([1], [1] * 500_000)),
        ("/v2/models/fake/infer", tensor([1], [["a"], [1] * 500_000])),
        ("/v2/models/fake/infer", tensor([10**4000] * 400, ["a"])),
        ("/v2/models/fake/infer", tensor([-1, -2], ["a", "b"])),
    ],
)
def test_a_body_with_many_mistakes_is_refused_by_one_short_sentence(path: str, body: dict[str, Any]) -> None:
    async def scenario() -> None:
        async with application(FakeClassifier(), dialects=DIALECTS) as client:
            reply = await client.post(path, json=body)
            assert reply.status_code in (413, 422)
            assert len(reply.content) < 300

    run(scenario())


def test_a_million_wrong_texts_have_few_errors() -> None:
    """Every error costs microseconds, in which the process answers nobody, not even a probe."""
    wrong = [1] * 1000
    for kind, body in (
        (PredictRequest, {"inputs": wrong}),
        (HuggingFaceRequest, {"inputs": wrong}),
        (TeiRequest, {"inputs": wrong}),
        (TeiRequest, {"inputs": [wrong]}),
        (KServeRequest, tensor([1], wrong)),
        (KServeRequest, tensor([1], [wrong])),
    ):
        with pytest.raises(ValidationError) as caught:
            kind.model_validate_json(json.dumps(body))
        assert caught.value.error_count() <= 4
