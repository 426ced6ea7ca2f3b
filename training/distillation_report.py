"""What a distillation brought: the teacher beside its student."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from transformers.trainer_utils import EvalPrediction, PredictionOutput

from model.classifier import TextClassifier
from model.saving import save_checkpoint
from training.calibration import probabilities
from training.distillation import Lesson
from training.metrics import applying, metrics_for
from training.output import STAGING
from training.preparation import Prepared
from training.scaling import Scale
from training.targets import SINGLE

_TIMED_TEXTS = 256
_TURNS, _LEAST_SECONDS = 3, 0.3  # in which a speed is measured, and for how long each


def distillation_report(
    lesson: Lesson, prepared: Prepared, answers: Mapping[str, PredictionOutput], texts: Sequence[str], folder: Path
) -> dict[str, Any]:
    """The teacher's metrics and how often both agree on each split; speed and size of both.

    `answers` are the student's; `texts` are those that both are timed on, the student as `folder` will answer.
    """
    problem_type = str(prepared.network.config.problem_type)
    compute = metrics_for(problem_type, Scale())
    report: dict[str, Any] = {"teacher": lesson.name, "texts": len(lesson.train)}
    for split, logits in lesson.logits.items():
        answer = answers[split]
        agreement = _agreement(prepared, logits, np.asarray(answer.predictions), problem_type)
        measured = compute(EvalPrediction(logits, np.asarray(answer.label_ids)))
        report[split] = {"teacher": measured, "agreement": agreement}
    report["texts_per_second"] = _speeds(lesson, prepared, list(texts[:_TIMED_TEXTS]), folder)
    student = sum(parameter.numel() for parameter in prepared.network.parameters())
    report["parameters"] = {"teacher": lesson.teacher.parameters, "student": student}
    return report


def _agreement(prepared: Prepared, teacher: Any, student: Any, problem_type: str) -> float:
    """Share of texts with the same class; of texts and labels together where several may apply."""
    if problem_type == SINGLE:
        return float((teacher.argmax(axis=1) == student.argmax(axis=1)).mean())
    config = prepared.network.config
    scores = probabilities(student / config.calibration_temperature, problem_type)
    taught = applying(probabilities(teacher, problem_type), None)
    return float((taught == applying(scores, config.thresholds)).mean())


def _speeds(lesson: Lesson, prepared: Prepared, texts: list[str], folder: Path) -> dict[str, float]:
    """Texts in a second from text to scores in float32, where it was trained; of the teacher also as it taught."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=STAGING) as staged:
        save_checkpoint(prepared.network, prepared.tokenizer, Path(staged), {})
        student = TextClassifier.from_pretrained(staged, str(prepared.network.device))
    teacher = lesson.teacher
    scores: dict[str, Callable[[list[str]], Any]] = {
        "teacher": partial(teacher.score, half=False),
        "student": student.score,
        **({"teacher_in_bfloat16": teacher.score} if teacher.half else {}),
    }
    turns = [{name: _speed(score, texts) for name, score in scores.items()} for _ in range(_TURNS)]
    return {name: max(turn[name] for turn in turns) for name in scores}  # others may have taken the cores in a turn


def _speed(score: Callable[[list[str]], Any], texts: list[str]) -> float:
    score(texts[:8])  # the first call pays for more than itself
    begin, passes = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - begin) < _LEAST_SECONDS or not passes:
        score(texts)
        passes += 1
    return passes * len(texts) / elapsed
