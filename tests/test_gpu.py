"""Training and serving on a GPU, beside the CPU's answers."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from model.classifier import TextClassifier
from service.config import _cuda_devices
from tests.conftest import TINY, labelled_texts, write_json_lines
from tests.servers import ended, server

pytestmark = pytest.mark.gpu
ROWS = labelled_texts()
TEXTS = [row["text"] for row in ROWS]


@pytest.mark.parametrize(
    "flags",
    [[], ["--bf16"], ["--fp16"], ["--tf32", "true"], ["--sparse_embedding", "on"], ["--dataloader_num_workers", "1"]],
    ids=" ".join,
)
def test_what_a_gpu_trained_gives_the_same_answers_on_both(tmp_path: Path, flags: list[str]) -> None:
    file, folder = str(write_json_lines(tmp_path / "texts.jsonl", ROWS)), tmp_path / "checkpoint"
    files = ["--train_file", file, "--validation_file", file, "--output_dir", str(folder)]
    finished = ended(*files, *TINY, *flags, "--device", "cuda", module="training")
    assert finished.returncode == 0, finished.stderr
    assert "Traceback" not in finished.stderr
    on_cpu, on_gpu = (TextClassifier.from_pretrained(folder, device)(TEXTS) for device in ("cpu", "cuda"))
    assert [prediction.label for prediction in on_cpu] == [row["label"] for row in ROWS]
    for found, expected in zip(on_gpu, on_cpu, strict=True):
        assert found.scores == pytest.approx(expected.scores, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["--precision", "bfloat16"], ["--folding", "off"]], ids=" ".join)
def test_a_service_on_a_gpu_tells_the_devices_time_of_each_request(checkpoint: Path, flags: list[str]) -> None:
    expected = [prediction.label for prediction in TextClassifier.from_pretrained(checkpoint, "cpu")(TEXTS)]
    with server(checkpoint, *flags, "--device", "cuda") as running, running.client() as client:

        def ask(text: str) -> dict[str, object]:
            reply = client.post("/predict", json={"inputs": text})
            assert reply.status_code == 200, reply.text
            found: dict[str, object] = reply.json()
            return found

        with ThreadPoolExecutor(16) as pool:
            replies = list(pool.map(ask, TEXTS))
    assert [reply["predictions"][0]["label"] for reply in replies] == expected  # type: ignore[index]
    for reply in replies:
        timing = reply["latency"]
        assert timing["device"] == "cuda:0"  # type: ignore[index]
        assert timing["clock"] == "cuda_events"  # type: ignore[index]
        assert 0 < timing["inference_ms"] < timing["total_ms"]  # type: ignore[index]


@pytest.mark.parametrize("flags", [{}, {"folding": "off"}], ids=str)
def test_evidence_on_a_gpu_adds_up_to_the_score(checkpoint: Path, flags: dict[str, str]) -> None:
    """Though torch itself would round the factors of a convolution to TF32."""
    classifier = TextClassifier.from_pretrained(checkpoint, "cuda", **flags)
    for text in TEXTS:
        of_label = {label: classifier([text], explain=True, explain_label=label)[0] for label in classifier.labels}
        logits = [
            float(found.bias or 0) + sum(e["contribution"] for e in found.evidence or ()) for found in of_label.values()
        ]
        expected = dict(zip(of_label, torch.tensor(logits).softmax(0).tolist(), strict=True))
        assert classifier([text])[0].scores == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("shown", [None, "", "0", " 0"])
def test_the_service_counts_the_gpus_that_torch_finds(shown: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if shown is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    counted = [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"]
    found = subprocess.run(counted, capture_output=True, text=True, check=True).stdout
    assert _cuda_devices() == int(found)
