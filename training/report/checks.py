"""What may be wrong with the data: texts in two splits, labels that contradict each other, labels that look wrong."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.naive_bayes import MultinomialNB

from training.data import TextData
from training.features import TokenTensors
from training.stored import StoredColumn
from training.targets import SINGLE, Target

EXAMPLES = 20  # texts that a check quotes at most
FOLDS = 3
LARGEST_CROSS_FIT = 3_000_000  # texts x classes: about two seconds
_BUCKETS = 2**15  # that pairs of neighbouring tokens are hashed to
_SMOOTHING = 0.05  # of naive Bayes; of 2 % wrong labels it ranks most first with this one

# N texts, M tokens of all texts, C classes.


def data_checks(data: TextData, train: TokenTensors) -> dict[str, Any]:
    """Figures and examples, ready for JSON."""
    is_streamed = isinstance(data.train.texts, StoredColumn)
    splits = ({} if is_streamed else {"train": data.train}) | data.measured()
    folded = {name: [_fold(text) for text in split.texts] for name, split in splits.items()}
    if is_streamed:
        skipped = {"skipped": "Not sought in training texts that were streamed."}
        return {"duplicates": duplicates(folded), "conflicts": {**skipped, "examples": []}, "suspicious": skipped}
    return {
        "duplicates": duplicates(folded),
        "conflicts": conflicts(data.train.texts, folded["train"], data.train.targets),
        "suspicious": _suspicious(data, train),
    }


def duplicates(folded: dict[str, list[str]]) -> list[dict[str, Any]]:
    """For each split the texts that stand in it before, or in an earlier split."""
    found: list[dict[str, Any]] = []
    seen: dict[str, set[str]] = {}
    for name, texts in folded.items():
        for earlier, known in seen.items():
            found.append({"split": name, "also_in": earlier, "texts": sum(text in known for text in texts)})
        seen[name] = set(texts)
        found.append({"split": name, "also_in": name, "texts": len(texts) - len(seen[name])})
    return found


def conflicts(texts: Sequence[str], folded: Sequence[str], targets: Sequence[Target]) -> dict[str, Any]:
    """Texts that occur with different targets; case and spacing make no difference, nor does the order of labels."""
    by_text: dict[str, dict[Target | frozenset[str], int]] = defaultdict(dict)
    for row, (text, target) in enumerate(zip(folded, targets, strict=True)):
        by_text[text].setdefault(frozenset(target) if isinstance(target, tuple) else target, row)
    clashing = [list(rows.values()) for rows in by_text.values() if len(rows) > 1]
    examples = [{"text": texts[rows[0]], "targets": [targets[row] for row in rows]} for rows in clashing[:EXAMPLES]]
    return {"texts": len(clashing), "examples": examples}


def cross_fit(features: sparse.csr_matrix, classes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The class (N,) that the other texts suggest for each text, and by how much it is likelier than the one given.

    Naive Bayes on TF-IDF, fitted on the other folds. As in confident learning (Northcutt et al. 2021,
    arXiv:1911.00068) a class is only suggested where it is as likely as on the texts that carry it; elsewhere the
    margin is 0.
    """
    weighted = TfidfTransformer(sublinear_tf=True).fit_transform(features)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    network = MultinomialNB(alpha=_SMOOTHING)
    found = cross_val_predict(network, weighted, classes, cv=folds, method="predict_proba")  # (N, C)
    given = found[np.arange(len(classes)), classes]  # (N,)
    usual = np.bincount(classes, given) / np.bincount(classes)  # (C,)
    suggested = found.argmax(axis=1)  # (N,)
    best = found.max(axis=1)
    return suggested, np.where((suggested != classes) & (best >= usual[suggested]), best - given, 0.0)


def token_counts(train: TokenTensors) -> sparse.csr_matrix:
    """How often each token, and each bucket of neighbouring tokens, occurs in each text."""
    token_ids = train.token_ids.cpu().numpy().astype(np.int64)  # (M,)
    lengths = (train.lengths + train.excess.cpu()).numpy()  # (N,)
    row = np.repeat(np.arange(len(lengths)), lengths)  # (M,)
    token_ids = token_ids[: len(row)]
    size = int(token_ids.max(initial=0)) + 1
    pair = size + (token_ids[:-1] * 1_000_003 + token_ids[1:]) % _BUCKETS  # (M - 1,)
    same_text = row[:-1] == row[1:]
    rows, columns = np.concatenate([row, row[:-1][same_text]]), np.concatenate([token_ids, pair[same_text]])
    ones = np.ones(len(rows), np.float32)
    return sparse.csr_matrix((ones, (rows, columns)), shape=(len(lengths), size + _BUCKETS))


def _suspicious(data: TextData, train: TokenTensors) -> dict[str, Any]:
    """Training texts whose label the other texts contradict, the surest first; or a sentence why none was sought."""
    reason = _reason_to_skip(data)
    if reason is not None:
        return {"skipped": reason}
    classes = train.labels.cpu().numpy()
    suggested, margin = cross_fit(token_counts(train), classes)
    order = np.argsort(-margin, kind="stable")[:EXAMPLES]
    examples = [
        {
            "row": data.train.row(int(row)),
            "text": data.train.texts[row],
            "target": data.train.targets[row],
            "suggested": data.labels[suggested[row]],
            "margin": float(margin[row]),
        }
        for row in order
        if margin[row] > 0
    ]
    return {"texts": int((margin > 0).sum()), "examples": examples}


def _reason_to_skip(data: TextData) -> str | None:
    if data.problem_type != SINGLE:
        return "Wrong labels are only sought where each text has one class."
    size = len(data.train) * len(data.labels)
    if size > LARGEST_CROSS_FIT:
        return (
            f"Wrong labels were not sought: {len(data.train):,} texts x {len(data.labels):,} classes are more than "
            f"{LARGEST_CROSS_FIT:,}."
        )
    counts = np.unique(np.array(data.train.targets), return_counts=True)[1]
    if counts.min() < FOLDS:
        return f"Wrong labels were not sought: a class has fewer than {FOLDS} texts."
    return None


def _fold(text: str) -> str:
    return " ".join(text.lower().split())
