"""What a training leaves for its report: `report.json` and `predictions.parquet` in the checkpoint folder."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from numpy.typing import NDArray
from pyarrow import parquet
from transformers.trainer_utils import PredictionOutput

from model.configuration_textcnn import TextCnnConfig
from model.errors import InputError
from training.abstention import Scored
from training.calibration import probabilities, reliability
from training.data import Split, TextData
from training.features import unseen_shares
from training.metrics import applying
from training.output import PREDICTIONS, RECORD
from training.preparation import Prepared
from training.report.checks import data_checks
from training.targets import MULTI, REGRESSION, SINGLE, arrow_type, encode_targets

Array = NDArray[Any]

MISTAKES = 30  # texts of a split that are quoted
FORMAT_VERSION = 1
_HIDDEN = ("runtime", "second", "preparation", "grad_norm", "learning_rate", "step")  # of the trainer's logs

# N texts, C classes.


@dataclass(frozen=True)
class Outcomes:
    """Target and answer for each text of a split; for classes also how sure the answer is."""

    rows: list[int]  # where each stands in its file, counted from 0
    targets: list[Any]  # class, classes or number
    answers: list[Any]
    scores: Array  # (N,), probability of the likeliest class; 0 for numbers
    certainties: Array  # (N,), what the rule to abstain looks at; 0 for numbers


def record_files(
    data: TextData, prepared: Prepared, answers: Mapping[str, PredictionOutput], history: Sequence[Mapping[str, float]]
) -> dict[str, str | bytes]:
    """Content of the two files by name, from uncalibrated logits by split and the trainer's logs.

    Besides figures they hold the texts that a report quotes, and no others.
    """
    config = prepared.network.config
    outcomes: dict[str, Outcomes] = {}
    details: dict[str, Any] = {}
    for name, split in data.measured().items():
        logits = np.asarray(answers[name].predictions)
        scores = _scores(logits, prepared, data.problem_type)
        outcomes[name] = _outcomes(name, split, scores, prepared, data)
        details[name] = {
            "digest": digest(split.texts),
            "mistakes": _mistakes(split, scores, outcomes[name], config, data),
        }
        if data.problem_type != REGRESSION:
            targets = np.asarray(answers[name].label_ids)
            details[name]["reliability"] = {
                moment: dict(zip(("counts", "confidence", "accuracy"), map(_list, bins), strict=True))
                for moment, temperature in (("before", 1.0), ("after", config.calibration_temperature))
                for bins in [reliability(logits / temperature, targets, data.problem_type)]
            }
    record = {
        "format_version": FORMAT_VERSION,
        "history": _history(history),
        "lengths": _lengths(prepared),
        "splits": details,
        "checks": data_checks(data, prepared.train),
    }
    table = _table(outcomes, data.problem_type)
    return {RECORD: json.dumps(record, ensure_ascii=False) + "\n", PREDICTIONS: table}


def read_record(folder: Path) -> dict[str, Any]:
    """The content of `report.json`; raises `InputError` where it is missing or of another version."""
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"checkpoint has no {RECORD}, a training since this version writes it: {str(folder)!r}"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / RECORD} is no readable JSON ({error})") from error
    version = record.get("format_version") if isinstance(record, dict) else None
    if version != FORMAT_VERSION:
        raise InputError(f"{folder / RECORD}: format_version must be {FORMAT_VERSION}, got {version!r}")
    return record


def read_outcomes(folder: Path) -> dict[str, Outcomes]:
    """The content of `predictions.parquet` by split; raises `InputError` where it is missing or broken."""
    try:
        table = parquet.read_table(folder / PREDICTIONS, memory_map=False)
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise InputError(f"{folder / PREDICTIONS} cannot be read ({error})") from error
    found = {}
    names = np.array(table["split"].to_pylist())
    for name in ("validation", "test"):
        rows = table.filter(pyarrow.array(names == name)).to_pydict()
        if rows["split"]:
            scores, certainties = np.array(rows["score"]), np.array(rows["certainty"])
            found[name] = Outcomes(rows["row"], rows["target"], rows["answer"], scores, certainties)
    return found


def digest(texts: Sequence[str]) -> str:
    """The same for the same texts in the same order."""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def _scores(logits: Array, prepared: Prepared, problem_type: str) -> Array:
    """Calibrated probabilities (N, C), or numbers in their own unit (N, 1)."""
    if problem_type == REGRESSION:
        return prepared.scale.restore(logits)
    return probabilities(logits / prepared.network.config.calibration_temperature, problem_type)


def _outcomes(name: str, split: Split, scores: Array, prepared: Prepared, data: TextData) -> Outcomes:
    rows = [split.row(index) for index in range(len(split))]
    targets: list[Any] = [list(target) if isinstance(target, tuple) else target for target in split.targets]
    if data.problem_type == REGRESSION:
        nothing = np.zeros(len(split), np.float32)
        return Outcomes(rows, targets, scores[:, 0].tolist(), nothing, nothing)
    config = prepared.network.config
    if data.problem_type == SINGLE:
        answers: list[Any] = [data.labels[index] for index in scores.argmax(axis=1)]
    else:
        answers = [
            [data.labels[index] for index in np.flatnonzero(found)] for found in applying(scores, config.thresholds)
        ]
    shares = unseen_shares(prepared.splits()[name], prepared.unseen_tokens)
    certainties = Scored(scores, shares).certainty(config.abstention_certainty)
    return Outcomes(rows, targets, answers, scores.max(axis=1).astype(np.float32), certainties.astype(np.float32))


def _mistakes(
    split: Split, scores: Array, outcomes: Outcomes, config: TextCnnConfig, data: TextData
) -> list[dict[str, Any]]:
    """The texts that were answered most wrongly, with the label whose evidence is of interest (numbers: none)."""
    wrongness, labels, shown = _wrongness(scores, outcomes, config, data)
    order = np.argsort(-wrongness, kind="stable")[:MISTAKES]
    return [
        {
            "row": outcomes.rows[row],
            "text": split.texts[row],
            "target": outcomes.targets[row],
            "answer": outcomes.answers[row],
            "label": None if labels is None else data.labels[labels[row]],
            "score": float(shown[row]),
        }
        for row in order
        if wrongness[row] > 0
    ]


def _wrongness(
    scores: Array, outcomes: Outcomes, config: TextCnnConfig, data: TextData
) -> tuple[Array, Array | None, Array]:
    """How wrong each answer is (N,), 0 where it is right; the label it is about (N,), and that label's score (N,)."""
    if data.problem_type == REGRESSION:
        answers = np.array(outcomes.answers)
        return np.abs(answers - np.array(outcomes.targets)), None, answers
    if data.problem_type == SINGLE:
        is_wrong = np.array(outcomes.answers) != np.array(outcomes.targets)
        return np.where(is_wrong, outcomes.scores, 0.0), scores.argmax(axis=1), outcomes.scores
    applies = applying(scores, config.thresholds)
    truth = encode_targets([tuple(target) for target in outcomes.targets], data.labels, MULTI) > 0  # (N, C)
    wrongness = np.where(applies == truth, 0.0, np.where(applies, scores, 1 - scores))
    labels = wrongness.argmax(axis=1)  # (N,)
    rows = np.arange(len(labels))
    return wrongness[rows, labels], labels, scores[rows, labels]


def _history(logs: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """Training losses and evaluations in the order of their epochs."""
    return [
        {name: value for name, value in log.items() if not any(part in name for part in _HIDDEN)}
        for log in logs
        if "loss" in log or "eval_loss" in log
    ]


def _lengths(prepared: Prepared) -> dict[str, Any]:
    """A histogram of the training texts' lengths, in tokens before the cut."""
    tokens = (prepared.train.lengths + prepared.train.excess.cpu()).numpy()
    longest, limit = int(tokens.max(initial=1)), prepared.network.config.max_length
    width = max(1, -(-min(longest, 4 * limit) // 60))  # tokens in a bar; the last bar holds all that is longer
    bars = np.minimum((tokens - 1).clip(min=0) // width, 4 * limit // width)  # bar k: over k and up to k + 1 widths
    return {
        "width": width,
        "counts": np.bincount(bars).tolist(),
        "max_length": limit,
        "longest": longest,
        "median": float(np.median(tokens)),
        "cut": int((tokens > limit).sum()),
        "texts": len(tokens),
    }


def _table(outcomes: Mapping[str, Outcomes], problem_type: str) -> bytes:
    """One row a text, numbered as in its file; labels as strings, in dictionaries where there is one each."""
    kind = arrow_type(problem_type)
    columns = {
        "split": [name for name, outcome in outcomes.items() for _ in outcome.targets],
        "row": [row for outcome in outcomes.values() for row in outcome.rows],
        "target": pyarrow.array([target for outcome in outcomes.values() for target in outcome.targets], kind),
        "answer": pyarrow.array([answer for outcome in outcomes.values() for answer in outcome.answers], kind),
        "score": np.concatenate([outcome.scores for outcome in outcomes.values()]),
        "certainty": np.concatenate([outcome.certainties for outcome in outcomes.values()]),
    }
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), buffer, compression="zstd")
    return buffer.getvalue()


def _list(values: Array) -> list[float]:
    return [round(value, 6) for value in values.tolist()]
