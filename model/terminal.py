"""Predictions as people at a terminal like them: a text in shades of its evidence, the likeliest labels as bars."""

from collections.abc import Sequence
from itertools import islice

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from .classifier import TextClassifier
from .prediction import Prediction
from .shading import shades

SHOWN_LABELS = 5
_BAR = 24  # characters of a probability of 1
_EIGHTHS = " ▏▎▍▌▋▊▉"
_FOR, _AGAINST = (37, 99, 235), (220, 38, 38)  # background of what speaks for the answer, and against it
_FAINTEST = 0.08  # shade that is still shown


def show(console: Console, classifier: TextClassifier, texts: Sequence[str], predictions: Sequence[Prediction]) -> None:
    """Print each text with the evidence for its best label, and its labels as bars."""
    classifier.explain(texts, predictions)
    for text, prediction in zip(texts, predictions, strict=True):
        console.print(shaded(text, prediction))
        for line in answer_lines(prediction):
            console.print(line, no_wrap=True, overflow="ellipsis")
        console.print()


def shaded(text: str, prediction: Prediction) -> Text:
    """The text on backgrounds as strong as its evidence; control characters are left out, they steer terminals."""
    found = Text()
    for stretch, shade in shades(text, prediction.evidence or []):
        colour = _FOR if shade > 0 else _AGAINST
        red, green, blue = (int(channel * abs(shade)) for channel in colour)
        is_plain = abs(shade) < _FAINTEST
        visible = "".join(" " if character.isspace() else character for character in stretch)
        found.append(
            "".join(character for character in visible if character.isprintable()),
            None if is_plain else f"white on rgb({red},{green},{blue})",
        )
    return found


def answer_lines(prediction: Prediction) -> list[Text]:
    """A bar for each label, ticked where it applies, or the number."""
    if prediction.value is not None:
        return [Text(f"  {prediction.value:.4g}", "bold")]
    scores = dict(islice((prediction.scores or {}).items(), SHOWN_LABELS))
    width = max(map(cell_len, scores), default=0)  # Chinese characters take two cells each
    answer = [prediction.label] if prediction.labels is None else prediction.labels
    lines = [Text("  not sure: unlike the training texts", "yellow")] if prediction.abstained else []
    for label, score in scores.items():
        is_answer = label in answer and not prediction.abstained
        line = Text("  ✓ " if is_answer else "    ", "green")
        line.append(set_cell_size(label, width), "bold" if is_answer else None)
        line.append(f" {_bar(score)} ", "green" if is_answer else "bright_black")
        line.append(f"{100 * score:5.1f} %")
        lines.append(line)
    return lines


def _bar(share: float) -> str:
    """A bar in eighths of a character, at its full width.

    >>> _bar(0.5).rstrip() == "█" * 12
    True
    """
    eighths = round(share * _BAR * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()).ljust(_BAR)
