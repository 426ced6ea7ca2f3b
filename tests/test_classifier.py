"""`TextClassifier`: parity with `transformers.pipeline`, order, problem types, devices, timing."""

import json
import math
import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.classifier import TextClassifier
from model.errors import InputError
from model.host import HostRunner
from tests.checkpoints import LABELS, TEXTS, write_checkpoint

AWKWARD = ["", " \n", "ж", "where " * 50, "退款退款退款", "parcel\u200b", *TEXTS]

PIPELINE = """
import json, sys
from transformers import pipeline
classify = pipeline("text-classification", model=sys.argv[1], trust_remote_code=True, top_k=None)
print(json.dumps(classify(json.load(sys.stdin), function_to_apply=sys.argv[2])))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("random"))


@pytest.fixture(scope="module")
def classifier(folder: Path) -> TextClassifier:
    return TextClassifier.from_pretrained(folder, device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "activation"),
    [
        ({}, "softmax"),
        ({"problem_type": "multi_label_classification"}, "sigmoid"),
        ({"truncation_side": "left", "padding_side": "left"}, "softmax"),
        ({"padding": "same", "dilation": 2, "calibration_temperature": 0.5}, "softmax"),
    ],
)
def test_pipeline_gives_our_scores_where_our_package_is_unknown(
    tmp_path: Path, options: dict[str, object], activation: str
) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", **options)
    command = [sys.executable, "-I", "-c", PIPELINE, str(checkpoint), activation]
    environment = {"HF_HOME": str(tmp_path / "cache"), "PATH": ""}
    finished = subprocess.run(
        command, input=json.dumps(AWKWARD), capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert finished.returncode == 0, finished.stderr
    theirs = [{item["label"]: item["score"] for item in items} for items in json.loads(finished.stdout)]
    ours = TextClassifier.from_pretrained(checkpoint, device="cpu")(AWKWARD)
    for text, prediction, scores in zip(AWKWARD, ours, theirs, strict=True):
        assert prediction.scores == pytest.approx(scores, abs=1e-6), text


@given(st.lists(st.text(max_size=30), max_size=12))
@settings(max_examples=50, deadline=None)
def test_scores_are_the_same_alone_and_in_company(classifier: TextClassifier, texts: list[str]) -> None:
    together = classifier(texts)
    assert len(together) == len(texts)
    for text, prediction in zip(texts, together, strict=True):
        assert prediction.scores is not None
        assert prediction.scores == pytest.approx(classifier([text])[0].scores, abs=1e-6)
        assert sum(prediction.scores.values()) == pytest.approx(1, abs=1e-5)
        assert list(prediction.scores.values()) == sorted(prediction.scores.values(), reverse=True)
        assert (prediction.label, prediction.score) == next(iter(prediction.scores.items()))


@pytest.mark.parametrize(("torch_threads", "texts_a_pass"), [(1, 128), (2, 64)])
def test_a_long_list_takes_several_passes_in_order(
    classifier: TextClassifier, torch_threads: int, texts_a_pass: int
) -> None:
    """With one torch thread a second thread makes half of the passes; with more it only tokenizes for the next one."""
    texts = [f"{AWKWARD[number % len(AWKWARD)]} {number}" for number in range(600)]
    before = torch.get_num_threads()
    torch.set_num_threads(torch_threads)
    try:
        begin = time.perf_counter()
        predictions, timing = classifier.classify(texts)
        elapsed_ms = (time.perf_counter() - begin) * 1e3
    finally:
        torch.set_num_threads(before)
    alone = [classifier.classify([text]) for text in texts]
    for prediction, (expected, _) in zip(predictions, alone, strict=True):
        assert prediction.scores == pytest.approx(expected[0].scores, abs=1e-6)
    assert (timing.passes, timing.batch_size) == (math.ceil(len(texts) / texts_a_pass), len(texts))
    assert timing.token_counts == [of_one.token_counts[0] for _, of_one in alone]
    assert max(timing.token_counts) == classifier.max_length
    assert 0 < timing.tokenize_ms + timing.inference_ms <= elapsed_ms


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_classifies_in_several_passes_too(
    classifier: TextClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HostRunner, "pass_texts", 2)
    expected, _ = classifier.score(TEXTS)  # with a thread that the fork does not take along
    process = multiprocessing.get_context("fork").Process(
        target=lambda: sys.exit(not np.array_equal(classifier.score(TEXTS)[0], expected))
    )
    process.start()
    process.join(30)
    process.kill()
    assert process.exitcode == 0


@pytest.mark.parametrize("top_k", [0, -1])
def test_top_k_below_1_is_refused(classifier: TextClassifier, top_k: int) -> None:
    with pytest.raises(InputError, match=f"top_k must be at least 1, got {top_k}"):
        classifier(TEXTS, top_k=top_k)


def test_top_k_cuts_the_scores_and_nothing_else(classifier: TextClassifier) -> None:
    full, cut = classifier(TEXTS)[0], classifier(TEXTS, top_k=2)[0]
    assert cut.scores is not None
    assert full.scores is not None
    assert list(cut.scores.items()) == list(full.scores.items())[:2]
    assert (cut.label, cut.score) == (full.label, full.score)


def test_multi_label_names_the_labels_above_the_threshold(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, problem_type="multi_label_classification")
    classifier = TextClassifier.from_pretrained(folder, device="cpu")
    for prediction in classifier(AWKWARD):
        assert prediction.scores is not None
        assert prediction.labels == [label for label, score in prediction.scores.items() if score >= 0.5]
        assert set(prediction.scores) == set(LABELS)
    assert len({len(prediction.labels or ()) for prediction in classifier(AWKWARD)}) > 1


def test_top_k_never_cuts_the_labels_that_apply(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, problem_type="multi_label_classification")
    classifier = TextClassifier.from_pretrained(folder, device="cpu")
    full, cut = classifier(AWKWARD), classifier(AWKWARD, top_k=1)
    assert [prediction.labels for prediction in cut] == [prediction.labels for prediction in full]
    assert all(len(prediction.scores or {}) == 1 for prediction in cut)


def test_regression_gives_a_value_and_no_label(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, problem_type="regression")
    prediction = TextClassifier.from_pretrained(folder, device="cpu")(TEXTS)[0]
    assert set(prediction.to_dict()) == {"value"}
    assert isinstance(prediction.value, float)


def test_the_classifier_says_what_it_is(folder: Path, classifier: TextClassifier) -> None:
    assert classifier.labels == LABELS
    assert (classifier.name, classifier.device) == (folder.name, "cpu")
    assert (classifier.problem_type, classifier.max_length) == ("single_label_classification", 6)
    assert classifier.revision.startswith("sha256:")


def test_timing_is_a_host_clock_on_the_cpu(classifier: TextClassifier) -> None:
    _, timing = classifier.classify(TEXTS)
    assert (timing.device, timing.clock, timing.batch_size, timing.passes) == ("cpu", "perf_counter", len(TEXTS), 1)
    assert timing.tokenize_ms > 0
    assert timing.inference_ms > 0


@pytest.mark.parametrize("place", [3, 100, 200, 299])
def test_a_wrong_text_is_named_by_its_place_in_a_long_list(classifier: TextClassifier, place: int) -> None:
    texts = ["fine"] * place + ["a\ud800"] + ["fine"] * (299 - place)
    with pytest.raises(InputError, match=rf"texts\[{place}\] must be valid Unicode"):
        classifier(texts)
    assert len(classifier(["fine"] * 300)) == 300


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        ("one string", "texts must be a list of strings, got str"),
        (["fine", None], r"texts\[1\] must be a string, got NoneType"),
        (["fine", "a\ud800"], r"texts\[1\] must be valid Unicode"),
        ([("a pair", "of texts")], r"texts\[0\] must be a string, got tuple"),
    ],
)
def test_wrong_texts_are_named(classifier: TextClassifier, texts: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        classifier(texts)
    assert classifier(["still there"])[0].label in LABELS


@pytest.mark.parametrize(
    "options", [{}, {"padding": "same", "dilation": 2}, {"truncation_side": "left", "padding_side": "left"}]
)
def test_folded_and_dense_network_give_the_same_scores(tmp_path: Path, options: dict[str, object]) -> None:
    folder = write_checkpoint(tmp_path, **options)
    folded = TextClassifier.from_pretrained(folder, "cpu", folding="on")
    dense = TextClassifier.from_pretrained(folder, "cpu", folding="off")
    assert folded.folded_bytes > 0 == dense.folded_bytes
    for text, ours, theirs in zip(AWKWARD, folded(AWKWARD), dense(AWKWARD), strict=True):
        assert ours.scores == pytest.approx(theirs.scores, abs=1e-6), text


def test_the_service_never_waits_for_transformers() -> None:
    program = "import sys; from model.classifier import TextClassifier; print('transformers' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "False"
