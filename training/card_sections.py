"""Sections of the model card that only some checkpoints have; each is empty or begins with a blank line."""

from collections.abc import Mapping
from typing import Any

from training.data import OUT_OF_SCOPE
from training.markdown import table
from training.metrics import METRICS

_CERTAINTIES = {
    "familiar_lead": "best logit's lead over the mean, less 8 times the share of tokens that no training text has,",
    "lead": "best logit's lead over the mean logit",
    "probability": "highest probability",
    "entropy": "negative entropy",
}
_CALIBRATION = {"nll": "NLL", "brier": "Brier", "ece": "ECE"}


def calibration_section(summary: Mapping[str, Any]) -> str:
    """Temperature and what it brought, if the answers are probabilities."""
    calibration = summary.get("calibration")
    if calibration is None:
        return ""
    rows = [
        (split, *(f"{calibration[split][moment][name]:.4f}" for name in _CALIBRATION for moment in ("before", "after")))
        for split in ("validation", "test")
        if split in calibration
    ]
    head = [f"{name} {moment}" for name in _CALIBRATION.values() for moment in ("before", "after")]
    return (
        f"\nScores are calibrated: logits are divided by {calibration['temperature']:.3f}, fitted on the validation "
        f"texts (Guo et al. 2017, arXiv:1706.04599).\n\n{table(['split', *head], rows)}"
    )


def abstention_section(summary: Mapping[str, Any]) -> str:
    """The rule by which some texts get no answer, and how it did."""
    abstention = summary.get("abstention")
    if abstention is None:
        return ""
    rows = []
    for split in ("validation", "test", *OUT_OF_SCOPE):
        figures = abstention.get(split, {})
        names = ("acceptance", "accuracy_of_accepted", "recall", "auroc")
        if figures:
            rows.append((split, *(f"{figures[name]:.4f}" if name in figures else "" for name in names)))
    head = ["split", "answered", "accuracy of these", "rejected", "AUROC"]
    return (
        f"\n\nIt abstains (`abstained`) where the {_CERTAINTIES[abstention['certainty']]} is below "
        f"{abstention['threshold']:.4g}.\n\n{table(head, rows)}"
    )


def distillation_section(summary: Mapping[str, Any]) -> str:
    """The teacher beside its student."""
    report = summary.get("distillation")
    if report is None:
        return ""
    metric = METRICS[summary["data"]["problem_type"]][0]
    rows = [
        (split, *(f"{value:.4f}" for value in (taught["teacher"][metric], summary[split][metric], taught["agreement"])))
        for split in ("validation", "test")
        if (taught := report.get(split))
    ]
    speed, size = report["texts_per_second"], report["parameters"]
    half = speed.get("teacher_in_bfloat16")  # absent where that would be slow
    beside_half = f", {speed['student'] / half:.0f} times as many as it does in bfloat16" if half else ""
    return (
        f"\n\nIt learnt from the logits of `{report['teacher']}` on {report['texts']:,} texts. Its teacher has "
        f"{size['teacher'] / size['student']:.1f} times its parameters; it classifies {speed['student']:,.0f} texts a "
        f"second, {speed['student'] / speed['teacher']:.0f} times as many as its teacher in float32{beside_half}."
        f"\n\n{table(['split', f'teacher {metric}', metric, 'agreement'], rows)}"
    )
