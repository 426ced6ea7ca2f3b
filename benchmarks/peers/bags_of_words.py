"""Peers that see a text as a bag of words: fastText, and a linear model on TF-IDF n-grams."""

import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FASTTEXT = {"wordNgrams": 2, "epoch": 25, "lr": 0.5}  # its other settings as they come
LINEAR_NGRAMS = (1, 2)


@dataclass(frozen=True)
class Rows:
    """Texts of a split and their classes."""

    texts: list[str]
    labels: list[str]


@dataclass(frozen=True)
class Answers:
    """The classes that a peer gives to each list of texts, and how long it learnt."""

    labels: list[list[str]]
    train_seconds: float  # without reading, but with counting its words


def is_chinese(texts: Sequence[str]) -> bool:
    """Whether the texts have no spaces between words, so that each character counts as one."""
    return any("\u4e00" <= letter <= "\u9fff" for letter in texts[0])


def fasttext(train: Rows, asked: Sequence[list[str]], seed: int, threads: int) -> Answers:
    """Labels by fastText, on words and bigrams, of characters in Chinese; the seed shuffles its file."""
    from fasttext import train_supervised  # here: what is installed without it measures the others

    spaced = is_chinese(train.texts)

    def line(text: str) -> str:
        return " ".join((" ".join(text) if spaced else text).split())

    names = sorted(set(train.labels))
    lines = [f"__label__{names.index(label)} {line(text)}\n" for text, label in zip(*vars(train).values(), strict=True)]
    random.Random(seed).shuffle(lines)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "train.txt"
        path.write_text("".join(lines), encoding="utf-8")
        start = time.perf_counter()
        model = train_supervised(str(path), thread=threads, seed=seed, verbose=0, **FASTTEXT).f
        seconds = time.perf_counter() - start
    found = []
    for texts in asked:  # its Python `predict` fails on NumPy 2, so what that calls is called here
        labels, _ = model.multilinePredict([line(text) + "\n" for text in texts], 1, 0.0, "strict")
        found.append([names[int(label[0].removeprefix("__label__"))] if label else names[0] for label in labels])
    return Answers(found, seconds)


def linear(train: Rows, asked: Sequence[list[str]], seed: int, threads: int) -> Answers:
    """A linear support vector machine on TF-IDF weights of words and bigrams, of characters in Chinese."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    analyzer: dict[str, Any] = {"analyzer": "char"} if is_chinese(train.texts) else {"token_pattern": r"\w+|[^\w\s]"}
    model = make_pipeline(
        TfidfVectorizer(ngram_range=LINEAR_NGRAMS, sublinear_tf=True, **analyzer), LinearSVC(random_state=seed)
    )
    start = time.perf_counter()
    model.fit(train.texts, train.labels)
    seconds = time.perf_counter() - start
    return Answers([np.asarray(model.predict(texts)).tolist() for texts in asked], seconds)
