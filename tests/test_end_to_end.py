"""The whole path with the real commands: quickstart data -> checkpoint -> server -> answers -> a clean end."""

import json
from pathlib import Path

import pytest

from model.classifier import TextClassifier
from tests.servers import ROOT, server

pytestmark = pytest.mark.slow


def rows(name: str) -> list[dict[str, str]]:
    content = (ROOT / "training" / "quickstart" / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in content.split("\n") if line]


def test_the_quickstart_checkpoint_is_right_nine_times_of_ten(quickstart: Path) -> None:
    test = rows("test")
    predictions = TextClassifier.from_pretrained(quickstart, device="cpu")([row["text"] for row in test])
    right = sum(prediction.label == row["label"] for prediction, row in zip(predictions, test, strict=True))
    accuracy = right / len(test)
    assert accuracy >= 0.90
    metrics = json.loads((quickstart / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["test"]["accuracy"] == pytest.approx(accuracy)


def test_the_quickstart_checkpoint_abstains_on_other_subjects_and_seldom_on_its_own(quickstart: Path) -> None:
    classifier = TextClassifier.from_pretrained(quickstart, device="cpu")
    shares = {}
    for name in ("test", "out_of_scope"):
        predictions = classifier([row["text"] for row in rows(name)])
        shares[name] = sum(prediction.abstained or False for prediction in predictions) / len(predictions)
    assert shares["test"] <= 0.08
    assert shares["out_of_scope"] >= 0.60
    metrics = json.loads((quickstart / "metrics.json").read_text(encoding="utf-8"))["abstention"]
    assert metrics["test"]["acceptance"] == pytest.approx(1 - shares["test"], abs=1e-3)
    assert metrics["out_of_scope_test"]["recall"] == pytest.approx(shares["out_of_scope"], abs=4e-3)


def test_the_server_answers_in_english_and_chinese(quickstart: Path) -> None:
    questions = {
        "where is my parcel? it should have arrived on monday": "track_order",
        "please cancel my order": "cancel_order",
        "我的快递到哪里了": "track_order",
        "可以开发票吗": "invoice",
    }
    with server(quickstart, "--device", "cpu") as running:
        with running.client() as client:
            reply = client.post("/predict", json={"inputs": list(questions)}).json()
            alone = client.post("/predict", json={"inputs": "我要退款"}).json()
            assert client.get("/ready").status_code == 200
            assert client.get("/info").json()["labels"] == TextClassifier.from_pretrained(quickstart, "cpu").labels
        assert running.stop() == 0
    assert [prediction["label"] for prediction in reply["predictions"]] == list(questions.values())
    assert len(alone["predictions"]) == 1
    assert alone["predictions"][0]["abstained"] is False
    assert reply["model"]["name"] == "quickstart"
    assert reply["model"]["revision"].startswith("sha256:")
    latency = reply["latency"]
    assert latency["clock"] == "perf_counter"
    assert latency["batch_size"] == 4
    parts = latency["queue_ms"] + latency["tokenize_ms"] + latency["inference_ms"]
    assert 0 < parts <= latency["total_ms"]
