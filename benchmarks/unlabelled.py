"""Texts of other data sets as `--unlabelled_file`, less those that held-out texts overlap with.

python -m benchmarks.unlabelled --data FOLDER --set mr --others sst2 subj > mr.jsonl

The sentences of MR, SST-2 and Subj are from the same sources. A training text of another set is left out when it is
among the set's own or shares six words in a row with one of its validation or test texts; a shorter one when it is one
of them.
"""

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path

WORDS = 6  # in a row


def main() -> None:
    """Print the texts, one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Folder of data sets.")
    parser.add_argument("--set", required=True, help="Name of the one that is trained on.")
    parser.add_argument("--others", nargs="+", required=True, help="Names of those whose texts are taken.")
    arguments = parser.parse_args()
    for text in unlabelled(arguments.data, arguments.set, arguments.others):
        print(json.dumps({"text": text}))


def unlabelled(data: Path, name: str, others: list[str]) -> Iterator[str]:
    """Training texts of the others that neither the set nor one before them has, nor its held-out texts in part."""
    held_out = {run for split in ("validation", "test") for text in _texts(data / name / split) for run in _runs(text)}
    known = {_words(text) for text in _texts(data / name / "train")}
    for other in others:
        for text in _texts(data / other / "train"):
            if _words(text) not in known and held_out.isdisjoint(_runs(text)):
                known.add(_words(text))
                yield text


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
