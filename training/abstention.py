"""The rule by which a checkpoint abstains, chosen on validation texts, and what it does on other texts."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from model.abstention import CERTAINTIES, Abstention, certainty
from training.targets import MULTI, SINGLE

Array = NDArray[Any]

# N texts, C classes.


class Scored(NamedTuple):
    """What a rule looks at: of N texts the probabilities and the share of tokens that no training text has."""

    probabilities: Array  # (N, C)
    unseen_shares: Array  # (N,)

    def certainty(self, kind: str) -> Array:
        """How certain each text is (N,)."""
        return certainty(self.probabilities, kind, self.unseen_shares)


def choose_abstention(
    scored: Scored, targets: Array, problem_type: str, acceptance: float, foreign: Scored | None = None
) -> Abstention | None:
    """The rule that accepts the share `acceptance` of the N validation texts; None where no text has a label.

    Given `foreign`, out-of-scope texts, it uses the certainty that tells the two apart best.
    """
    own = in_scope(scored, targets, problem_type)
    if not len(own.probabilities):
        return None
    kinds = CERTAINTIES if problem_type == SINGLE else ("probability",)
    kind = kinds[0] if foreign is None else max(kinds, key=lambda kind: separation(own, foreign, kind))
    return Abstention(kind, _threshold(own.certainty(kind), acceptance))


def in_scope(scored: Scored, targets: Array, problem_type: str) -> Scored:
    """The texts that a rule should accept: those with a label."""
    if problem_type != MULTI:
        return scored
    has_label = targets.max(axis=1) > 0.5
    return Scored(*(values[has_label] for values in scored))


def separation(own: Scored, foreign: Scored, kind: str) -> float:
    """Area under the ROC curve: the chance that a text of ours is more certain than a foreign one."""
    values = np.concatenate([own.certainty(kind), foreign.certainty(kind)])
    return float(roc_auc_score(np.arange(len(values)) < len(own.probabilities), values))


def acceptance_report(rule: Abstention, scored: Scored, targets: Array, problem_type: str) -> dict[str, float]:
    """The share of in-scope texts that `rule` accepts and, for one class a text, the accuracy on them."""
    own = in_scope(scored, targets, problem_type)
    accepted = ~rule.rejects(*own)
    report = {"acceptance": float(accepted.mean())} if len(accepted) else {}
    if problem_type == SINGLE and accepted.any():
        is_right = scored.probabilities.argmax(axis=1) == targets
        report["accuracy_of_accepted"] = float(is_right[accepted].mean())
    return report


def foreign_report(rule: Abstention, own: Scored, foreign: Scored) -> dict[str, float]:
    """How `rule` treats out-of-scope texts: `recall` is the share that it rejects; `auroc` needs texts of ours."""
    return {
        "texts": len(foreign.probabilities),
        **({"auroc": separation(own, foreign, rule.certainty)} if len(own.probabilities) else {}),
        "recall": float(rule.rejects(*foreign).mean()),
    }


def risk_coverage(certainties: Array, is_right: Array) -> tuple[Array, Array]:
    """Share of texts answered, and error on them, when the k most certain of N are answered, for each k (N,).

    Texts that are equally certain stand in the order given (Geifman & El-Yaniv 2017, arXiv:1705.08500).
    """
    order = np.argsort(-certainties, kind="stable")
    answered = np.arange(1, len(order) + 1)
    return answered / len(order), np.cumsum(~is_right.astype(bool)[order]) / answered


def _threshold(certainties: Array, acceptance: float) -> float:
    """Halfway between the last value accepted and the first one rejected, so that rounding decides nothing."""
    ranked = np.sort(certainties.astype(np.float64))[::-1]
    last = max(int(np.ceil(acceptance * len(ranked))), 1) - 1
    lower = ranked[ranked < ranked[last]]
    return float(ranked[last] + lower[0]) / 2 if len(lower) else float(ranked[last]) - 1e-6
