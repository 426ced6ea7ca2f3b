"""`report.html` of a checkpoint: what its folder holds, drawn and set in one file."""

import json
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from model.classifier import TextClassifier
from model.errors import InputError, UnwritableError
from model.shading import shades
from training.metrics import METRICS
from training.output import REPORT, SUMMARY
from training.report import figures
from training.report.classes import class_figures, condensed, confused_pairs, confusions
from training.report.record import Outcomes, read_outcomes, read_record
from training.targets import REGRESSION, SINGLE

SHOWN_CHARACTERS = 600  # of a quoted text


def write_report(folder: Path) -> Path:
    """Draw the figures and `report.html` into a checkpoint folder, from what is in it; the page's path.

    Raises `InputError` where the folder is no checkpoint, or one of a training that left no record.
    """
    images, page = make_report(folder)
    for name, image in images.items():
        _replace(folder / f"report-{name}.png", image)
    _replace(folder / REPORT, page.encode())
    return folder / REPORT


def make_report(folder: Path) -> tuple[dict[str, bytes], str]:
    """The figures by name, and the page."""
    classifier = TextClassifier.from_pretrained(folder, "cpu", folding="off")
    summary, record, outcomes = read_summary(folder), read_record(folder), read_outcomes(folder)
    split = "test" if "test" in outcomes else "validation"
    labels, problem_type = classifier.labels, classifier.problem_type
    matrix = None if problem_type == REGRESSION else confusions(outcomes[split], labels)
    classes = None if matrix is None else class_figures(outcomes[split], labels)
    support = {row.name: row.support for row in classes or ()}
    images = draw(problem_type, summary, record, outcomes, split, matrix)
    page = render(
        "report.html",
        name=folder.resolve().name,
        split=split,
        labels=labels,
        metrics=(*METRICS[problem_type], "loss"),
        summary=summary,
        record=record,
        problem_type=problem_type,
        images={name: b64encode(image).decode() for name, image in images.items()},
        captions=figures.CAPTIONS,
        classes=classes,
        pairs=None if matrix is None else confused_pairs(matrix, labels, support),
        confusions=None if matrix is None or problem_type != SINGLE else condensed(matrix, labels),
        mistakes=[_explained(classifier, mistake) for mistake in record["splits"][split]["mistakes"]],
    )
    return images, page


def read_summary(folder: Path) -> dict[str, Any]:
    """The content of `metrics.json`; raises `InputError` where it is missing or broken."""
    try:
        summary: dict[str, Any] = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / SUMMARY} cannot be read ({error})") from error
    if not isinstance(summary, dict):
        raise InputError(f"{folder / SUMMARY} must hold a JSON object, got {type(summary).__name__}")
    return summary


def render(template: str, **values: Any) -> str:
    """A template of this package with `values`, all escaped."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("training.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "target": _target, "figure": _figure}
    return environment


def draw(
    problem_type: str,
    summary: Mapping[str, Any],
    record: Mapping[str, Any],
    outcomes: Mapping[str, Outcomes],
    split: str,
    matrix: Any,
) -> dict[str, bytes]:
    """The figures of a problem type as PNG, by name."""
    threshold = (summary.get("abstention") or {}).get("threshold")
    drawings = {
        "curves": lambda: figures.curves(record["history"], summary["train"]["best_epoch"]),
        "confusions": lambda: figures.confusions(matrix),
        "reliability": lambda: figures.reliability(record["splits"][split]["reliability"]),
        "coverage": lambda: figures.coverage(outcomes, threshold),
        "numbers": lambda: figures.numbers(outcomes[split]),
        "lengths": lambda: figures.lengths(record["lengths"]),
    }
    return {name: figures.png(drawings[name]()) for name in figures.FIGURES[problem_type]}


def _explained(classifier: TextClassifier, mistake: Mapping[str, Any]) -> dict[str, Any]:
    """A mistake with its text in shades of the evidence for the label that it is about."""
    text = mistake["text"]
    (prediction,) = classifier([text], explain=True, explain_label=mistake["label"])
    stretches, left = [], SHOWN_CHARACTERS
    for stretch, shade in shades(text, prediction.evidence or []):
        stretches.append((stretch[:left], shade))
        left -= len(stretch)
        if left <= 0:
            break
    return {**mistake, "stretches": stretches, "is_cut": left < 0}


def _replace(path: Path, content: bytes) -> None:
    """Write a file that appears whole."""
    beside = path.with_name(f".writing-{path.name}")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        raise UnwritableError(f"{path} cannot be written ({error.strerror})") from error


def _percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f} %"


def _figure(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _target(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return _figure(value)
