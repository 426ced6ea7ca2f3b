"""Two checkpoints side by side: metrics, classes, settings, and the texts on which they disagree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from model.checkpoint import CheckpointConfig, read_config
from model.errors import InputError
from training.metrics import METRICS
from training.readers import data_files, read_files
from training.report.classes import class_figures
from training.report.page import read_summary, render
from training.report.record import Outcomes, digest, read_outcomes, read_record
from training.targets import REGRESSION

SHOWN_TEXTS = 50
_PLACES = ("output_dir", "run_name")  # settings that say where, not what


@dataclass(frozen=True)
class Side:
    """One of the two checkpoints."""

    name: str
    config: CheckpointConfig
    summary: dict[str, Any]
    record: dict[str, Any]
    outcomes: dict[str, Outcomes]

    @classmethod
    def read(cls, folder: Path) -> "Side":
        """Raise `InputError` where the folder is no checkpoint with a record."""
        config = read_config(folder)
        return cls(str(folder), config, read_summary(folder), read_record(folder), read_outcomes(folder))


def compare(left: Path, right: Path) -> str:
    """The page; raises `InputError` where one folder is no checkpoint, or the two answer questions of two kinds."""
    sides = Side.read(left), Side.read(right)
    kinds = [side.config.problem_type for side in sides]
    if kinds[0] != kinds[1]:
        raise InputError(f"compare: {sides[0].name!r} is a {kinds[0]}, {sides[1].name!r} a {kinds[1]}")
    both = [split for split in ("test", "validation") if all(split in side.outcomes for side in sides)]
    common = [split for split in both if _is_common(*sides, split)]
    split = next(iter(common), None)
    return render(
        "comparison.html",
        names=[side.name for side in sides],
        problem_type=kinds[0],
        metrics=metric_rows(*sides),
        classes=[] if split is None or kinds[0] == REGRESSION else class_rows(*sides, split),
        settings=setting_rows(*(side.summary["arguments"] for side in sides)),
        split=split,
        foreign=[split for split in both if split not in common],
        disagreement=None if split is None else disagreement(*sides, split),
    )


def _is_common(left: Side, right: Side, split: str) -> bool:
    """Whether both were measured on the same texts and targets."""
    digests = [side.record["splits"][split]["digest"] for side in (left, right)]
    return digests[0] == digests[1] and left.outcomes[split].targets == right.outcomes[split].targets


def metric_rows(left: Side, right: Side) -> list[dict[str, Any]]:
    """Metric by metric, quality first, then what it costs."""
    rows = []
    for split in ("test", "validation"):
        for metric in (*METRICS[left.config.problem_type], "loss"):
            rows.append(_row(f"{split} {metric}", *(side.summary.get(split, {}).get(metric) for side in (left, right))))
        errors = [((side.summary.get("calibration") or {}).get(split) or {}).get("after", {}) for side in (left, right)]
        rows.append(_row(f"{split} ECE", *(found.get("ece") for found in errors)))
    for group, name in (("data", "parameters"), ("train", "seconds"), ("train", "best_epoch")):
        rows.append(_row(f"{group} {name}", *(side.summary[group].get(name) for side in (left, right))))
    return [row for row in rows if row["values"] != [None, None]]


def class_rows(left: Side, right: Side, split: str) -> list[tuple[str, float | None, float | None, float]]:
    """F1 by class, the largest difference first; None where a checkpoint does not know the class."""
    scores = [
        {row.name: row.f1 for row in class_figures(side.outcomes[split], side.config.labels)} for side in (left, right)
    ]
    names = list(dict.fromkeys([*scores[0], *scores[1]]))
    rows = [(name, scores[0].get(name), scores[1].get(name)) for name in names]
    found = [(name, a, b, (b or 0.0) - (a or 0.0)) for name, a, b in rows]
    return sorted(found, key=lambda row: -abs(row[3]))


def setting_rows(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """The arguments that are not the same."""
    flat = [
        {f"{group} {name}": value for group, values in arguments.items() for name, value in values.items()}
        for arguments in (left, right)
    ]
    names = dict.fromkeys([*flat[0], *flat[1]])
    pairs = [(name, flat[0].get(name), flat[1].get(name)) for name in names]
    return [row for row in pairs if row[1] != row[2] and not row[0].endswith(_PLACES)]


def disagreement(left: Side, right: Side, split: str) -> dict[str, Any]:
    """How often the answers differ and who is right then, with the texts where their file is still the same."""
    targets, answers = left.outcomes[split].targets, [side.outcomes[split].answers for side in (left, right)]
    if left.config.problem_type == REGRESSION:
        gaps = np.abs(np.array(answers[0]) - np.array(answers[1]))
        order = np.argsort(-gaps, kind="stable")[:SHOWN_TEXTS].tolist()
        found: dict[str, Any] = {}
    else:
        is_right = [[_same(a, b) for a, b in zip(given, targets, strict=True)] for given in answers]
        differs = [not _same(a, b) for a, b in zip(*answers, strict=True)]
        only_left = sum(a and not b for a, b in zip(*is_right, strict=True))
        only_right = sum(b and not a for a, b in zip(*is_right, strict=True))
        found = {
            "texts": sum(differs),
            "only": [only_left, only_right],
            # McNemar's exact test: would two equally good checkpoints differ as much?
            "p": float(binomtest(only_left, only_left + only_right).pvalue) if only_left + only_right else 1.0,
        }
        one_right = [a != b for a, b in zip(*is_right, strict=True)]
        order = sorted((row for row, differ in enumerate(differs) if differ), key=lambda row: not one_right[row])
    texts = _texts(left, split) or _texts(right, split)
    rows = [
        {
            "row": left.outcomes[split].rows[row],
            "text": None if texts is None else texts[row],
            "target": targets[row],
            "answers": [{"answer": given[row], "is_right": _same(given[row], targets[row])} for given in answers],
        }
        for row in order[:SHOWN_TEXTS]
    ]
    return {**found, "total": len(targets), "rows": rows, "has_texts": texts is not None}


def _texts(side: Side, split: str) -> Sequence[str] | None:
    """The texts that a checkpoint was measured on, if the files with them are still there and still the same."""
    arguments = side.summary["arguments"]["data"]
    given = arguments.get(f"{split}_file")
    if given is None:
        return None
    try:
        files = data_files(f"{split}_file", [given] if isinstance(given, str) else given)  # old checkpoints name one
        texts = read_files(files).columns.get(arguments["text_column"])
    except InputError:
        return None
    return texts if texts is not None and digest(list(texts)) == side.record["splits"][split]["digest"] else None


def _same(left: Any, right: Any) -> bool:
    return bool(set(left) == set(right) if isinstance(left, list) else left == right)


def _row(name: str, left: float | None, right: float | None) -> dict[str, Any]:
    difference = None if left is None or right is None else right - left
    return {"name": name, "values": [left, right], "difference": difference}
