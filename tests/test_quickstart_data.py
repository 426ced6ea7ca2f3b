"""The embedded data: as many, as different and as clean as its README says."""

import json
import re
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "training" / "quickstart"
SPLITS = ("train", "validation", "test")
HAN = re.compile(r"[\u4e00-\u9fff]")
NEAR = 0.7  # Jaccard similarity of words, or of pairs of Chinese characters, from which two texts say the same


def rows(split: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (FOLDER / f"{split}.jsonl").read_text(encoding="utf-8").split("\n") if line]


def features(text: str) -> frozenset[str]:
    plain = re.sub(r"[^\w\s]", "", unicodedata.normalize("NFKC", text).lower())
    if HAN.search(plain):
        letters = re.sub(r"\s", "", plain)
        return frozenset(letters[start : start + 2] for start in range(max(1, len(letters) - 1)))
    return frozenset(plain.split())


def similarity(first: frozenset[str], second: frozenset[str]) -> float:
    return len(first & second) / max(1, len(first | second))


def test_the_measure_finds_near_duplicates() -> None:
    assert similarity(features("Where is my order??"), features("where is my ORDER")) == 1
    assert similarity(features("我的快递到哪里了"), features("我的快递到哪里了?")) == 1
    assert similarity(features("where is my order"), features("cancel it please")) == 0


def test_no_near_duplicates_across_files() -> None:
    texts = [(split, row["text"], features(row["text"])) for split in (*SPLITS, "out_of_scope") for row in rows(split)]
    holders: defaultdict[str, list[int]] = defaultdict(list)
    for index, (split, text, found) in enumerate(texts):
        shared = Counter(other for feature in found for other in holders[feature])
        for other in shared:
            other_split, other_text, other_found = texts[other]
            if other_split != split:
                assert similarity(found, other_found) < NEAR, f"{text!r} ({split}) ~ {other_text!r} ({other_split})"
        for feature in found:
            holders[feature].append(index)


def test_no_text_stands_twice() -> None:
    counts = Counter(row["text"].casefold() for split in (*SPLITS, "out_of_scope") for row in rows(split))
    assert [text for text, count in counts.items() if count > 1] == []


def test_enough_intents_and_sentences_in_both_languages() -> None:
    everything = [row for split in SPLITS for row in rows(split)]
    assert len(everything) >= 1500
    assert len({row["label"] for row in everything}) >= 12
    for split in SPLITS:
        languages = Counter((row["label"], bool(HAN.search(row["text"]))) for row in rows(split))
        assert min(languages.values()) >= 10, split
        assert len(languages) == 2 * len({row["label"] for row in everything})


def test_the_readme_states_the_true_numbers() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for split in (*SPLITS, "out_of_scope"):
        assert f"| `{split}.jsonl` | {len(rows(split)):,} |" in readme
    for label in {row["label"] for split in SPLITS for row in rows(split)}:
        assert f"| `{label}` |" in readme


@pytest.mark.parametrize("split", [*SPLITS, "out_of_scope"])
def test_lines_are_clean(split: str) -> None:
    for row in rows(split):
        assert set(row) == {"text", "label"}
        assert row["text"] == row["text"].strip() != ""
