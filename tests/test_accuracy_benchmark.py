"""The accuracy benchmark: its typing mistakes, the linear peer, and what its table says of the runs."""

import json
import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import unlabelled
from benchmarks.accuracy_table import table
from benchmarks.peers.bags_of_words import Rows, linear
from benchmarks.typos import with_typos
from tests.conftest import write_json_lines

TEXTS = ["good film", "fine plot", "great cast", "bad film", "poor plot", "awful cast"]
LABELS = ["pos"] * 3 + ["neg"] * 3


@given(text=st.text(alphabet="abz éß1.,我\n", max_size=40), share=st.floats(0, 1), seed=st.integers(0, 9))
def test_typos_change_words_alone_and_as_often_as_they_say(text: str, share: float, seed: int) -> None:
    wrong, changed, words = with_typos(text, share, random.Random(seed))
    between, pieces, others = re.compile("[a-z]+"), re.findall("[a-z]{2,}", text), re.compile("[a-z]{2,}")
    assert between.split(wrong) == between.split(text)  # a word of two letters keeps one
    assert words == len(pieces)
    found = between.findall(wrong)
    assert changed == sum(one != two for one, two in zip(between.findall(text), found, strict=True))
    assert (wrong, changed, words) == with_typos(text, share, random.Random(seed))
    if share == 0 or not others.search(text):
        assert wrong == text


def test_the_share_of_mistyped_words_is_the_one_asked_for() -> None:
    _, changed, words = with_typos("some words of a text " * 2000, 0.1, random.Random(0))
    assert words == 8000
    assert 0.09 < changed / words < 0.11


def test_no_held_out_text_is_given_to_the_teacher_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = {
        "own": {"train": ["seen already"], "validation": ["a b c d e f g"], "test": ["short one", "1 2 3 4 5 6"]},
        "other": {
            "train": ["Seen, already!", "x b c d e f g", "b c d e f", "Short one.", "new", "0 1 2 3 4 5 6 7", "new"]
        },
    }
    for name, splits in sets.items():
        (tmp_path / name).mkdir()
        for split, texts in splits.items():
            write_json_lines(tmp_path / name / f"{split}.jsonl", [{"text": text} for text in texts])
    (tmp_path / "reviews.csv").write_text(
        'text,label,source\n"Two words. A whole sentence! B c d e f.<br /><br />Well, a b c d e f g?",0,imdb\n'
        'Not of these reviews.,1,rotten_tomatoes\n"It has ""three"" words? Yes it has.",1,imdb\n',
        encoding="utf-8",
    )
    options = ["--data", str(tmp_path), "--set", "own", "--others", "other"]
    reviews = ["--reviews", str(tmp_path / "reviews.csv"), "--sentences"]

    def printed(*more: str) -> list[str]:
        monkeypatch.setattr("sys.argv", ["unlabelled", *options, *more])
        unlabelled.main()
        return [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()]

    others = ["b c d e f", "new"]
    assert printed() == others
    sentences = printed(*reviews, "9")[2:]
    assert sorted(sentences) == ["A whole sentence!", 'It has "three" words?', "Yes it has."]
    assert printed(*reviews, "2") == [*others, *sentences[:2]]


def test_the_linear_peer_learns_words_and_characters() -> None:
    assert linear(Rows(TEXTS, LABELS), [["good plot", "bad cast"], ["fine"]], 0, 1).labels == [["pos", "neg"], ["pos"]]
    chinese = Rows(["好电影", "好看", "坏电影", "难看"], ["pos", "pos", "neg", "neg"])
    assert linear(chinese, [["好", "坏"]], 0, 1).labels == [["pos", "neg"]]


def test_the_table_means_over_seeds_and_sets_peers_beside() -> None:
    ours = [
        {"data_set": "trec6", "system": "textcnn", "flags": "", "seed": seed, "test": {"accuracy": accuracy}}
        | {"train_seconds": 18.0 + 2 * seed, "typos_accuracy": 0.8, "calibration": {"test": {"after": {"ece": 0.02}}}}
        for seed, accuracy in ((1, 0.88), (2, 0.9))
    ]
    peer = {"data_set": "trec6", "system": "fasttext", "flags": "", "seed": 1, "test": {"accuracy": 0.87}}
    line = table([*ours, peer | {"typos_accuracy": 0.7, "train_seconds": 4.0}]).splitlines()[-1]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:3] == ["trec6", "", "89.0 ± 1.4"]
    assert cells[3:6] == ["80.0 ± 0.0", "0.020", "87.0 (1 seed), 70.0 (1 seed)"]
    assert cells[6] == ""
    assert "Kim 2014" in cells[7]
    assert cells[8] == "20 / 4.0 = 5.0"
