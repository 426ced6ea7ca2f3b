"""What the finished network is worth, and what its configuration learns from the validation texts' logits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers.trainer_utils import EvalPrediction, PredictionOutput

from model.abstention import pack_tokens
from model.configuration_textcnn import TextCnnConfig
from training.abstention import Scored, acceptance_report, choose_abstention, foreign_report, in_scope
from training.calibration import calibrate, probabilities
from training.config_training import TextCnnTrainingArguments
from training.data import OUT_OF_SCOPE
from training.features import unseen_shares
from training.metrics import metrics_for
from training.preparation import Prepared
from training.targets import MULTI, REGRESSION
from training.thresholds import choose_thresholds


@dataclass(frozen=True)
class Assessment:
    """Parts of metrics.json: figures by split."""

    measured: dict[str, dict[str, float]]
    calibration: dict[str, Any] | None = None
    abstention: dict[str, Any] | None = None
    distillation: dict[str, Any] | None = None


def assess(
    prepared: Prepared,
    answers: Mapping[str, PredictionOutput],
    problem_type: str,
    arguments: TextCnnTrainingArguments,
) -> Assessment:
    """Fit temperature, thresholds and the rule to abstain into the network's configuration; what all do on each split.

    `answers` are uncalibrated logits by split: validation, and, where there are such texts, test, out_of_scope and
    out_of_scope_test.
    """
    config = prepared.network.config
    labelled = {name: answer for name, answer in answers.items() if name not in OUT_OF_SCOPE}
    calibration = abstention = None
    if problem_type != REGRESSION:
        calibration = calibrate(config, labelled, problem_type)
        logits = {name: np.asarray(answer.predictions) for name, answer in answers.items()}
        scores = {
            name: probabilities(values / config.calibration_temperature, problem_type)
            for name, values in logits.items()
        }
        targets = {name: np.asarray(answer.label_ids) for name, answer in labelled.items()}
        if problem_type == MULTI and arguments.tune_thresholds:
            config.thresholds = choose_thresholds(scores["validation"], targets["validation"])
        unseen, splits = prepared.unseen_tokens, prepared.splits()
        scored = {name: Scored(values, unseen_shares(splits[name], unseen)) for name, values in scores.items()}
        abstention = _abstention(config, scored, targets, problem_type, arguments.in_scope_acceptance)
        if config.abstention_certainty == "familiar_lead":
            config.abstention_unseen_tokens = pack_tokens(unseen)
    compute = metrics_for(problem_type, prepared.scale, config.thresholds)
    measured = {name: _measured(answer, compute, config.calibration_temperature) for name, answer in labelled.items()}
    return Assessment(measured, calibration, abstention)


def _abstention(
    config: TextCnnConfig,
    scored: Mapping[str, Scored],
    targets: Mapping[str, Any],
    problem_type: str,
    acceptance: float,
) -> dict[str, Any] | None:
    validation = scored["validation"], targets["validation"], problem_type
    rule = choose_abstention(*validation, acceptance, scored.get("out_of_scope"))
    if rule is None:
        return None
    config.abstention_certainty, config.abstention_threshold = rule.certainty, rule.threshold
    report: dict[str, Any] = {"certainty": rule.certainty, "threshold": rule.threshold}
    for name, target in targets.items():
        report[name] = acceptance_report(rule, scored[name], target, problem_type)
    tried = "test" if "test" in targets else "validation"
    for name, split in (("out_of_scope", "validation"), ("out_of_scope_test", tried)):
        if name in scored:
            own = in_scope(scored[split], targets[split], problem_type)
            report[name] = foreign_report(rule, own, scored[name])
    return report


def _measured(
    answer: PredictionOutput, compute: Callable[[EvalPrediction], dict[str, float]], temperature: float
) -> dict[str, float]:
    """The metrics of a split as the checkpoint answers, and the loss that was minimized."""
    logits, labels = map(np.asarray, answer[:2])
    metrics = compute(EvalPrediction(logits / temperature, labels))
    return {**metrics, "loss": (answer.metrics or {})["test_loss"]}
