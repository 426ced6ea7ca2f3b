"""fastText's way to write labels before texts, and predictions, for programs that read its `predict-prob`."""

import re

from .errors import InputError
from .prediction import Prediction

PREFIX = "__label__"
_LABEL = re.compile(rf"(?<![^ \t\v\f\r\0]){PREFIX}([^ \t\v\f\r\0]*)[ \t\v\f\r\0]*")  # its own white space


def without_labels(line: str) -> str:
    """The text of a line.

    >>> without_labels("__label__refund where is my __label__money money?")
    'where is my money?'
    """
    return _LABEL.sub("", line).strip()


def labels_of(line: str) -> list[str]:
    """The labels of a line, which may stand anywhere in it.

    >>> labels_of("__label__refund where is my __label__money money?")
    ['refund', 'money']
    """
    return _LABEL.findall(line)


def fasttext_line(prediction: Prediction, top_k: int | None) -> str:
    """Labels and probabilities of one text on one line.

    The `top_k` most probable labels; without it the best one, or for multi-label those that apply (an empty line if
    none does). White space in a label becomes an underscore. Raises `InputError` for a regression.

    >>> fasttext_line(Prediction("refund", 0.97, {"refund": 0.97, "order status": 0.03}), top_k=2)
    '__label__refund 0.97 __label__order_status 0.03'
    """
    if prediction.scores is None:
        raise InputError("format fasttext is for labels, this checkpoint predicts a number")
    if top_k is not None:
        chosen = list(prediction.scores)
    elif prediction.labels is not None:
        chosen = prediction.labels
    else:
        chosen = list(prediction.scores)[:1]
    return " ".join(f"{PREFIX}{'_'.join(label.split())} {prediction.scores[label]:.6g}" for label in chosen)
