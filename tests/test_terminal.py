"""What a person at a terminal sees: bars, ticks, shades, and no character that steers the terminal."""

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from model.classifier import TextClassifier
from model.evidence import Evidence
from model.prediction import Prediction
from model.shading import shades
from model.terminal import answer_lines, shaded, show
from tests.checkpoints import TEXTS, write_checkpoint


@st.composite
def explained(draw: st.DrawFn) -> tuple[str, list[Evidence]]:
    """A text with pieces that may overlap."""
    text = draw(st.text(min_size=1, max_size=20))
    pieces: list[Evidence] = []
    for _ in range(draw(st.integers(0, 4))):
        start, end = sorted(draw(st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))))
        contribution = draw(st.floats(-5, 5))
        pieces.append({"start": start, "end": end, "text": text[start:end], "contribution": contribution})
    return text, pieces


@given(explained())
def test_shades_cover_the_text_once(case: tuple[str, list[Evidence]]) -> None:
    text, evidence = case
    found = shades(text, evidence)
    assert "".join(stretch for stretch, _ in found) == text
    assert all(-1 <= shade <= 1 for _, shade in found)
    if any(shade for _, shade in found):
        assert max(abs(shade) for _, shade in found) == 1


def test_overlapping_pieces_add_up() -> None:
    evidence: list[Evidence] = [
        {"start": 0, "end": 2, "text": "ab", "contribution": 2.0},
        {"start": 1, "end": 3, "text": "bc", "contribution": -1.0},
    ]
    assert shades("abcd", evidence) == [("a", 1.0), ("b", 0.5), ("c", -0.5), ("d", 0.0)]


def test_bars_ticks_and_doubt() -> None:
    scores = {"refund": 0.75, "delivery": 0.25}
    best, other = (line.plain for line in answer_lines(Prediction("refund", 0.75, scores, abstained=False)))
    assert best == "  ✓ refund   " + "█" * 18 + " " * 6 + "  75.0 %"
    assert other == "    delivery " + "█" * 6 + " " * 18 + "  25.0 %"
    doubt, best, _ = (line.plain for line in answer_lines(Prediction("refund", 0.75, scores, abstained=True)))
    assert "not sure" in doubt
    assert "✓" not in best
    several = answer_lines(Prediction("refund", 0.75, scores, ["refund", "delivery"], abstained=False))
    assert all("✓" in line.plain for line in several)
    assert [line.plain for line in answer_lines(Prediction(value=3.5))] == ["  3.5"]


def test_no_text_steers_the_terminal() -> None:
    assert shaded("\x1b[2Jre\x07d\u202e\nx", Prediction("a")).plain == "[2Jred x"


def test_bars_beside_chinese_labels_begin_in_one_column() -> None:
    scores = {"退款": 0.5, "delivery": 0.3, "什么时候到": 0.2}  # 4, 8 and 10 cells
    lines = [line.plain for line in answer_lines(Prediction("退款", 0.5, scores, abstained=False))]
    assert [cell_len(line[: line.index("█")]) for line in lines] == [4 + 10 + 1] * 3


@pytest.mark.slow
@pytest.mark.parametrize(("encoding", "bar"), [("utf-8", "█"), ("latin-1", "?")])
def test_terminals_get_the_display_and_pipes_get_json(tmp_path: Path, encoding: str, bar: str) -> None:
    """Whatever the terminal's encoding can say; JSON is UTF-8."""
    command = [sys.executable, "-m", "model", "--checkpoint", str(write_checkpoint(tmp_path)), TEXTS[3]]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    controller, terminal = pty.openpty()
    subprocess.run(command, stdout=terminal, check=True, env=environment)
    os.close(terminal)
    shown = os.read(controller, 100_000).decode(encoding)
    os.close(controller)
    assert bar * 5 in shown
    assert "%" in shown
    piped = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment).stdout
    assert json.loads(piped)["text"] == TEXTS[3]


@pytest.mark.parametrize("problem_type", ["single_label_classification", "regression"])
def test_shows_each_text_with_its_evidence(tmp_path: Path, problem_type: str) -> None:
    folder = write_checkpoint(tmp_path, problem_type=problem_type)
    classifier = TextClassifier.from_pretrained(folder, "cpu")
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=80)
    show(console, classifier, TEXTS, classifier(TEXTS))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[" in printed
    plain = Console(file=io.StringIO(), width=80)
    show(plain, classifier, TEXTS, classifier(TEXTS))
    lines = plain.file.getvalue().split("\n")  # type: ignore[attr-defined]
    assert [text for text in TEXTS if text in lines] == TEXTS
    labels = [line for line in lines if "%" in line]
    assert len(labels) == (0 if problem_type == "regression" else 3 * len(TEXTS))
