"""Dialects: what their own clients make of the replies, and what is refused."""

import asyncio
import json
import math
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from huggingface_hub import InferenceClient
from transformers import PreTrainedTokenizerFast

from model.classifier import TextClassifier
from model.windows import Windows
from service.config import DIALECTS
from service.dialects.common import raw
from service.dialects.table import DIALECTS as TABLE
from service.dialects.tei import TextEmbeddingsInference
from service.errors import ErrorType, ServiceError
from tests.node import node_module
from tests.servers import POISON, ROOT, FakeClassifier, RunningServer, application, run, server

TEXTS = ["money back", "late courier", "非常 满意"]


JSON, OCTETS = "application/json", "application/octet-stream"


def ask(
    path: str, body: Any = None, dialects: tuple[str, ...] = DIALECTS, json_size: int = 0, **classifier: Any
) -> httpx.Response:
    async def scenario() -> httpx.Response:
        async with application(FakeClassifier(**classifier), dialects=dialects) as client:
            if isinstance(body, bytes):
                binary = {"Content-Type": OCTETS, "Inference-Header-Content-Length": str(json_size)}
                return await client.post(path, content=body, headers=binary if json_size else {"Content-Type": JSON})
            return await (client.get(path) if body is None else client.post(path, json=body))

    return run(scenario())


def test_every_dialect_has_a_name_that_the_flag_takes() -> None:
    assert tuple(TABLE) == DIALECTS


def test_hugging_face_nests_labels_and_scores() -> None:
    assert ask("/hf", {"inputs": "a"}).json()[0][0] == {"label": "a", "score": 0.75}
    body = {"inputs": ["a", "b"], "parameters": {"top_k": 2, "function_to_apply": "none"}, "options": {"x": 1}}
    rows = ask("/hf", body).json()
    assert [row[0]["label"] for row in rows] == ["a", "b"]
    assert rows[0][0]["score"] == pytest.approx(math.log(0.75))


def test_text_embeddings_inference_is_flat_for_one_text_and_nested_for_a_batch() -> None:
    for inputs in ("a", ["a"]):
        reply = ask("/tei/predict", {"inputs": inputs, "truncate": True})
        assert reply.json()[0] == {"score": 0.75, "label": "a"}
        assert {"x-compute-time", "x-total-time", "x-queue-time", "x-inference-time"} <= set(reply.headers)
        assert reply.headers["x-compute-characters"] == "1"
        assert reply.headers["x-compute-tokens"] == "1"
    batch = ask("/tei/predict", {"inputs": [["a"], ["b"]], "raw_scores": True}).json()
    assert [row[0]["label"] for row in batch] == ["a", "b"]
    assert batch[0][0]["score"] == pytest.approx(math.log(0.75))
    whole = ask("/tei/predict", {"inputs": [["seven 7"], ["a"]], "truncate": False})  # the fake's tokens are characters
    assert whole.status_code == 200
    windows = Windows(window=4, stride=2, pooling="mean")  # nothing is cut
    assert ask("/tei/predict", {"inputs": "nine long", "truncate": False}, windows=windows).status_code == 200
    info = ask("/tei/info").json()
    assert info["model_type"]["classifier"]["id2label"] == {"0": "a", "1": "other", "2": "third"}


def test_vllm_gives_probabilities_in_the_order_of_the_labels() -> None:
    reply = ask("/classify", {"input": ["a"], "model": "fake", "encoding_format": "x"}).json()
    assert reply["object"] == "list"
    assert reply["data"] == [{"index": 0, "label": "a", "probs": [0.75, 0.2, 0.05], "num_classes": 3}]
    assert ask("/v1/models").json()["data"][0] | {"created": 0} == {
        **{"id": "fake", "object": "model", "created": 0, "owned_by": "textcnn-service", "max_model_len": 8}
    }
    usage = ask("/classify", {"input": ["a", "a"]}).json()["usage"]
    assert usage == {"prompt_tokens": 2, "total_tokens": 2, "completion_tokens": 0, "prompt_tokens_details": None}


def test_kserve_speaks_json_and_metadata() -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}
    reply = ask("/v2/models/fake/infer", {"id": "7", "inputs": [tensor]}).json()
    assert reply["id"] == "7"
    scores, label = reply["outputs"]
    assert scores["shape"] == [1, 3]
    assert scores["data"] == pytest.approx([0.75, 0.2, 0.05])
    assert label == {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["a"]}
    assert ask("/v2/health/ready").json() == {"ready": True}
    assert ask("/v2/models/fake").json()["outputs"][0]["shape"] == [-1, 3]
    assert ask("/v2/models/fake/ready").json() == {"ready": True}
    for path in ("/v2/models/other", "/v2/models/other/ready"):
        unknown = ask(path)
        assert (unknown.status_code, unknown.json()["error_type"]) == (404, "not_found")


PAIR = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["a"]}


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/hf", {"inputs": []}, 422, "inputs: must be from 1 to 1024 texts, got 0"),
        ("/hf", rb'{"inputs": "\ud800"}', 422, "body: texts must be valid Unicode, got a lone surrogate"),
        ("/hf", b"no", 400, "body: must be JSON in UTF-8, got 2 bytes"),
        ("/hf", {"inputs": 5}, 422, "inputs: input should be a valid"),
        ("/hf", {"inputs": "a", "parameters": {"function_to_apply": "sigmoid"}}, 422, "function_to_apply: must be"),
        (
            "/hf",
            {"inputs": "a", "parameters": {"top_k": 0}},
            422,
            "parameters.top_k: input should be greater than or equal to 1, got 0",
        ),
        ("/hf", {"inputs": ["a", 5]}, 422, "inputs[1]: input should be a valid string, got 5"),
        (
            "/hf",
            {"inputs": ["a", "b" * 100_001]},
            422,
            "inputs[1]: must be at most 100000 characters a text, got 100001",
        ),
        ("/tei/predict", {"inputs": ["a", "b"]}, 413, 'inputs: must be "text", ["text"] or [["text"], ["text"]]'),
        ("/tei/predict", {"inputs": []}, 413, "inputs: must be"),
        ("/tei/predict", {"inputs": POISON}, 424, "inputs[0]: the classifier failed on it"),
        ("/classify", {"input": POISON}, 500, "inputs[0]: the classifier failed on it"),
        ("/tei/predict", {"inputs": "eightlet", "truncate": False}, 413, "inputs: must have less than 8 tokens"),
        ("/tei/predict", {"inputs": [["a"], ["9 letters"]], "truncate": False}, 413, "inputs: must have less than 8"),
        ("/classify", {"input": "a", "model": "x"}, 404, "model: must be 'fake', got 'x'"),
        ("/classify", {"inputs": "a"}, 400, "input: field required"),
        ("/v2/models/x/infer", {"inputs": []}, 404, "model: must be 'fake', got 'x'"),
        (
            "/v2/models/fake/infer",
            {"inputs": []},
            422,
            'inputs: must be one tensor named "text" of datatype BYTES, got',
        ),
        ("/v2/models/fake/infer", {"inputs": [{"name": "text"}]}, 422, "inputs[0].datatype: field required"),
        ("/v2/models/fake/infer", {"inputs": [PAIR | {"shape": ["x"]}]}, 422, "inputs[0].shape[0]: input should be"),
        ("/v2/models/fake/infer", {"inputs": [PAIR]}, 422, "shape: must hold 1 texts, got [2]"),
        ("/v2/models/fake/infer", {"inputs": [PAIR | {"data": None}]}, 422, "inputs: must have data"),
    ],
)
def test_mistakes_are_named(path: str, body: Any, status: int, message: str) -> None:
    reply = ask(path, body)
    assert reply.status_code == status
    error = reply.json()["error"]
    assert (error["message"] if isinstance(error, dict) else error).startswith(message)


@pytest.mark.parametrize(
    ("kind", "status", "error_type"),
    [
        *((kind, 413, "validation") for kind in (ErrorType.VALIDATION, ErrorType.INVALID_JSON, ErrorType.TOO_LARGE)),
        (ErrorType.OVERLOADED, 429, "overloaded"),
        (ErrorType.INTERNAL, 424, "backend"),
        (ErrorType.DEADLINE_EXCEEDED, 504, "validation"),
    ],
)
def test_text_embeddings_inference_has_errors_of_its_own(kind: ErrorType, status: int, error_type: str) -> None:
    found, reply = TextEmbeddingsInference.render_error(ServiceError(kind, "field: rule"))
    assert (found, json.loads(reply.body)) == (status, {"error": "field: rule", "error_type": error_type})


@pytest.mark.parametrize(
    ("tail", "message"),
    [(b"\x05\x00\x00\x00ab", "text: element 0 must end within"), (b"\x01\x00\x00\x00\xff", "text: element 0 must be")],
)
def test_broken_binary_tensors_are_named(tail: bytes, message: str) -> None:
    head = b'{"inputs":[{"name":"text","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":%d}}]}' % len(
        tail
    )
    reply = ask("/v2/models/fake/infer", head + tail, json_size=len(head))
    assert reply.status_code == 422
    assert reply.json()["error"].startswith(message)
    too_long = ask("/v2/models/fake/infer", head, json_size=9999)
    assert too_long.json()["error"].startswith("Inference-Header-Content-Length: must be at most")


def test_a_dialect_that_is_not_spoken_is_not_there() -> None:
    assert ask("/hf", {"inputs": "a"}, dialects=("tei",)).status_code == 404
    assert ask("/v2/health/live", dialects=()).status_code == 404
    assert ask("/tei/predict", {"inputs": "a"}, dialects=("tei",)).status_code == 200


def test_raw_scores_give_back_the_probabilities() -> None:
    assert math.exp(raw(0.3, "single_label_classification")) == pytest.approx(0.3)
    assert 1 / (1 + math.exp(-raw(0.3, "multi_label_classification"))) == pytest.approx(0.3)
    assert math.isfinite(raw(0.0, "single_label_classification"))
    assert math.isfinite(raw(1.0, "multi_label_classification"))
    assert raw(-3.5, "regression") == -3.5


@pytest.fixture(scope="module")
def running(checkpoint: Path) -> Iterator[RunningServer]:
    with server(checkpoint, "--device", "cpu") as started:
        yield started


@pytest.fixture(scope="module")
def expected(checkpoint: Path) -> list[dict[str, float]]:
    return [prediction.scores or {} for prediction in TextClassifier.from_pretrained(checkpoint, "cpu")(TEXTS)]


@pytest.mark.slow
def test_the_client_of_hugging_face(running: RunningServer, expected: list[dict[str, float]]) -> None:
    client = InferenceClient(model=f"{running.url}/hf")
    for text, scores in zip(TEXTS, expected, strict=True):
        found = client.text_classification(text)
        assert {element.label: element.score for element in found} == pytest.approx(scores, abs=1e-6)
        (best,) = client.text_classification(text, top_k=1)
        assert best.label == next(iter(scores))


@pytest.mark.slow
def test_the_javascript_client_of_hugging_face(running: RunningServer, expected: list[dict[str, float]]) -> None:
    package = node_module("@huggingface/inference")
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    program = f"""
        import {{ InferenceClient }} from "{package}/dist/esm/index.js";
        const client = new InferenceClient(undefined, {{ endpointUrl: "{running.url}/hf" }});
        console.log(JSON.stringify(await client.textClassification({{ inputs: {json.dumps(TEXTS[0])} }})));
    """
    command = [node, "--input-type=module", "--eval", program]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    found = {element["label"]: element["score"] for element in json.loads(finished.stdout)}
    assert found == pytest.approx(expected[0], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("binary", [True, False])
def test_the_client_of_triton(running: RunningServer, expected: list[dict[str, float]], binary: bool) -> None:
    triton: Any = pytest.importorskip("tritonclient.http", reason="needs tritonclient[http]")
    with triton.InferenceServerClient(running.url.removeprefix("http://")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("checkpoint")
        labels = sorted(expected[0])  # as the checkpoint has them
        assert client.get_model_metadata("checkpoint")["outputs"][0]["shape"] == [-1, len(labels)]
        tensor = triton.InferInput("text", [len(TEXTS)], "BYTES")
        tensor.set_data_from_numpy(np.array([text.encode() for text in TEXTS], dtype=object), binary_data=binary)
        outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("scores", "label")]
        for wanted in (outputs, None):
            result = client.infer("checkpoint", [tensor], outputs=wanted)
            by_label = [[scores[label] for label in labels] for scores in expected]
            np.testing.assert_allclose(result.as_numpy("scores"), by_label, atol=1e-6)
            decoded = [text.decode() if isinstance(text, bytes) else text for text in result.as_numpy("label")]
            assert decoded == [next(iter(scores)) for scores in expected]


@pytest.mark.slow
def test_a_client_of_text_embeddings_inference(running: RunningServer, expected: list[dict[str, float]]) -> None:
    tei: Any = pytest.importorskip("tei_client", reason="needs tei-client")
    client = tei.HttpClient(f"{running.url}/tei")
    with client.client:
        assert client.health()
        assert client.info().server_model_metadata.label2id.keys() == expected[0].keys()
        for result, scores in zip(client.classify(TEXTS), expected, strict=True):
            assert {entry.label: entry.score for entry in result.scores} == pytest.approx(scores, abs=1e-6)
        (logarithms,) = client.classify(TEXTS[0], raw_scores=True)
        assert math.exp(logarithms.scores[0].score) == pytest.approx(max(expected[0].values()), abs=1e-6)

    async def later() -> Any:
        async with client.async_client:
            return await client.async_classify(TEXTS[0])

    (found,) = asyncio.run(later())
    assert found.scores[0].label == next(iter(expected[0]))


@pytest.mark.slow
def test_the_client_of_openai(running: RunningServer, expected: list[dict[str, float]]) -> None:
    openai: Any = pytest.importorskip("openai", reason="needs openai")
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="none") as client:
        (model,) = client.models.list()
        body = {"model": model.id, "input": TEXTS}
        reply = client.post(f"{running.url}/classify", body=body, cast_to=object)
        labels = sorted(expected[0])  # as the checkpoint has them
        for entry, scores in zip(reply["data"], expected, strict=True):
            assert dict(zip(labels, entry["probs"], strict=True)) == pytest.approx(scores, abs=1e-6)
            assert entry["label"] == next(iter(scores))
        with pytest.raises(openai.NotFoundError, match="model: must be 'checkpoint', got 'x'"):
            client.post(f"{running.url}/classify", body=body | {"model": "x"}, cast_to=object)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tei/predict", '{"inputs": "%s"}'),
        ("/tei/predict", '{"inputs": [["%s"], ["a"]], "raw_scores": false, "truncate": true}'),
        ("/classify", '{"input": "%s", "model": "checkpoint"}'),
        ("/classify", '{"input": ["%s", "a"]}'),
    ],
)
def test_the_calls_that_the_services_documentation_makes_with_curl(
    running: RunningServer, checkpoint: Path, expected: list[dict[str, float]], path: str, body: str
) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(checkpoint)
    tokens = sum(len(tokenizer(text)["input_ids"]) for text in ([TEXTS[0], "a"] if '"a"' in body else TEXTS[:1]))
    command = ["curl", "--fail-with-body", "-sS", f"{running.url}{path}", "-X", "POST", "-d", body % TEXTS[0]]
    finished = subprocess.run([*command, "-H", "Content-Type: application/json"], capture_output=True, check=True)
    found = json.loads(finished.stdout)
    if path == "/classify":
        scores = dict(zip(sorted(expected[0]), found["data"][0]["probs"], strict=True))
        assert found["data"][0]["label"] == next(iter(expected[0]))
        assert found["usage"]["prompt_tokens"] == found["usage"]["total_tokens"] == tokens
    else:
        first = found if isinstance(found[0], dict) else found[0]
        scores = {entry["label"]: entry["score"] for entry in first}
    assert scores == pytest.approx(expected[0], abs=1e-6)


@pytest.mark.slow
def test_all_dialects_share_one_copy_of_the_model(running: RunningServer) -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}
    bodies: dict[str, Any] = {
        "/predict": {"inputs": "a"},
        "/hf": {"inputs": "a"},
        "/tei/predict": {"inputs": "a"},
        "/classify": {"input": "a"},
        "/v2/models/checkpoint/infer": {"inputs": [tensor]},
    }

    def figures() -> tuple[set[int], float]:
        """The processes of the service, and the texts that its only worker has answered."""
        (worker,) = client.get("/info").json()["workers"]
        processes = {child.pid for child in psutil.Process(running.process.pid).children(recursive=True)}
        assert worker["pid"] in processes
        counted = re.search(r"^textcnn_pass_texts_sum (\S+)$", client.get("/metrics").text, flags=re.MULTILINE)
        assert counted
        return processes, float(counted[1])

    with running.client() as client:
        before, texts = figures()
        assert all(client.post(path, json=body).status_code == 200 for path, body in bodies.items())
        assert figures() == (before, texts + len(bodies))


def test_the_table_of_clients_names_the_versions_that_are_tested() -> None:
    table = (ROOT / "service" / "README.md").read_text(encoding="utf-8")
    pins = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for name in ("huggingface_hub", "tei-client", "openai", "tritonclient"):
        pin = re.search(rf"^{name.replace('_', '[-_]')}==(\S+)", pins, flags=re.MULTILINE)
        assert pin
        assert re.search(rf"`{name}[^|]*\| {re.escape(pin[1])} \|", table)
    node = json.loads((ROOT / "tests" / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    version = node["node_modules/@huggingface/inference"]["version"]
    assert f"| `@huggingface/inference` (node) | {version} |" in table
