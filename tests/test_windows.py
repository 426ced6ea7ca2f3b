"""Long texts in windows: every token is read, and the answer is that of the windows, each classified alone."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from model.__main__ import main
from model.classifier import TextClassifier
from model.errors import InputError
from model.host import HostRunner
from model.options import InferenceOptions
from model.windows import Windows
from service.worker import load_classifier
from tests.checkpoints import TEXTS, write_checkpoint

WORDS = [word for text in TEXTS[:3] for word in text.split()]  # a token each
LONG = " ".join(WORDS[index % len(WORDS)] for index in range(0, 100, 3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("random"))


@pytest.fixture(scope="module")
def plain(folder: Path) -> TextClassifier:
    return TextClassifier.from_pretrained(folder, "cpu")


def rows(classifier: TextClassifier, texts: list[str]) -> np.ndarray:
    return classifier.score(texts)[0]


@given(tokens=st.integers(0, 60), window=st.integers(1, 12), stride=st.integers(1, 12), before=st.integers(0, 2))
@settings(max_examples=200, deadline=None)
def test_windows_are_full_and_leave_no_token_out(tokens: int, window: int, stride: int, before: int) -> None:
    after = 1
    room = window - before - after
    assume(room >= 1 and stride <= room and tokens >= before + after)
    text = list(range(tokens))
    found = Windows(window, stride, "mean", before=before, after=after).split(text)
    if tokens <= window:
        assert found == [text]
        return
    assert all(len(one) == window for one in found)
    assert all(one[:before] == text[:before] and one[-after:] == text[-after:] for one in found)
    bodies = [one[before:-after] for one in found]
    assert all(body == list(range(body[0], body[0] + room)) for body in bodies)  # nothing between is left out
    assert (bodies[0][0], bodies[-1][-1]) == (before, tokens - after - 1)
    steps = [second[0] - first[0] for first, second in pairwise(bodies)]
    assert all(step == stride for step in steps[:-1])
    assert 1 <= steps[-1] <= stride


@given(
    texts=st.lists(st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join), min_size=1, max_size=4),
    window=st.integers(1, 6),
    pooling=st.sampled_from(["mean", "max"]),
    data=st.data(),
)
@settings(max_examples=40, deadline=None)
def test_scores_are_those_of_the_windows_pooled(
    folder: Path, plain: TextClassifier, texts: list[str], window: int, pooling: str, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(1, window))
    classifier = TextClassifier.from_pretrained(folder, "cpu", window=window, stride=stride, window_pooling=pooling)
    for text, found in zip(texts, rows(classifier, texts), strict=True):
        words = text.split()
        parts = [" ".join(words[start : start + window]) for start in range(0, len(words) - window, stride)]
        alone = rows(plain, [*parts, " ".join(words[-window:])])
        expected = alone.mean(axis=0) if pooling == "mean" else alone.max(axis=0) / alone.max(axis=0).sum()
        assert found == pytest.approx(expected, abs=1e-6)


def test_a_text_that_fits_is_read_as_without_windows(folder: Path, plain: TextClassifier) -> None:
    classifier = TextClassifier.from_pretrained(folder, "cpu", window=6)
    assert np.array_equal(rows(classifier, ["", *TEXTS[:3]]), rows(plain, ["", *TEXTS[:3]]))
    assert not np.allclose(rows(classifier, [LONG]), rows(plain, [LONG]))
    assert classifier.windows is not None
    assert classifier.windows.stride == 3


def test_a_long_text_takes_several_passes(folder: Path) -> None:
    classifier = TextClassifier.from_pretrained(folder, "cpu", window=3, stride=1)
    _, timing = classifier.classify([LONG] * 3)
    assert timing.passes == -(-3 * (len(LONG.split()) - 2) // 64)


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_maxima_that_are_no_distribution_stay_as_they_are(tmp_path: Path, problem: str) -> None:
    folder = write_checkpoint(tmp_path, problem_type=problem)
    words = LONG.split()
    alone = rows(TextClassifier.from_pretrained(folder, "cpu"), [" ".join(words[i : i + 6]) for i in range(len(words))])
    whole = len(words) - 5  # windows that are full
    classifier = TextClassifier.from_pretrained(folder, "cpu", window=6, stride=1, window_pooling="max")
    assert rows(classifier, [LONG])[0] == pytest.approx(alone[:whole].max(axis=0), abs=1e-6)


def test_evidence_is_that_of_the_strongest_window(folder: Path, plain: TextClassifier) -> None:
    classifier = TextClassifier.from_pretrained(folder, "cpu", window=4, stride=1)
    for label, index in zip(classifier.labels, range(3), strict=True):
        prediction = classifier([LONG], explain=True, explain_label=label)[0]
        words = LONG.split()
        parts = [" ".join(words[start : start + 4]) for start in range(len(words) - 3)]
        best = parts[int(rows(plain, parts)[:, index].argmax())]
        expected = plain([best], explain=True, explain_label=label)[0]
        assert prediction.bias == pytest.approx(expected.bias)
        assert prediction.evidence is not None
        assert expected.evidence is not None
        assert [piece["text"] for piece in prediction.evidence] == [piece["text"] for piece in expected.evidence]
        assert all(LONG[piece["start"] : piece["end"]] == piece["text"] for piece in prediction.evidence)
        assert best in LONG[min(p["start"] for p in prediction.evidence) :]


def test_evidence_takes_as_many_passes_as_the_scores(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = TextClassifier.from_pretrained(folder, "cpu", window=3, stride=1)
    sizes: list[int] = []
    run = HostRunner.__call__

    def count(runner: HostRunner, token_ids: list[list[int]]) -> tuple[np.ndarray, float]:
        sizes.append(len(token_ids))
        return run(runner, token_ids)

    monkeypatch.setattr(HostRunner, "__call__", count)
    classifier([LONG * 4])
    scored = list(sizes)
    classifier([LONG * 4], explain=True)
    assert len(scored) > 1
    assert sizes == scored * 3


def test_python_shell_and_service_read_the_same_windows(
    folder: Path, plain: TextClassifier, capsys: pytest.CaptureFixture[str]
) -> None:
    options = InferenceOptions(window=4, stride=2, window_pooling="max")
    ours = TextClassifier.from_pretrained(folder, "cpu", window=4, stride=2, window_pooling="max")([LONG])[0]
    served, _ = load_classifier(str(folder), "cpu", 1, options).classify([LONG])
    assert served[0].to_dict() == ours.to_dict() != plain([LONG])[0].to_dict()
    flags = ["--window", "4", "--stride", "2", "--window-pooling", "max"]
    assert main(["--checkpoint", str(folder), *flags, LONG]) == 0
    assert f'"score":{ours.score}' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"window": 7}, "window must be from 1 to 6 tokens, got 7"),
        ({"window": 0}, "window must be from 1 to 6 tokens, got 0"),
        ({"window": 4, "stride": 5}, "stride must be from 1 to the 4 tokens of a text in a window, got 5"),
        ({"window": 4, "stride": 0}, "stride must be from 1 to the 4 tokens of a text in a window, got 0"),
        ({"stride": 4}, "stride goes with window, got 4 without"),
        ({"window_pooling": "sum"}, "window_pooling must be one of mean, max, got 'sum'"),
    ],
)
def test_windows_that_cannot_be_are_mistakes(folder: Path, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        TextClassifier.from_pretrained(folder, "cpu", **options)
