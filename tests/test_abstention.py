"""When a checkpoint abstains: the certainties, the rule's choice, and the flag beside an unchanged distribution."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import entropy

from model.abstention import CERTAINTIES, Abstention, certainty, pack_tokens, unpack_tokens
from model.checkpoint import read_config
from model.classifier import TextClassifier
from model.errors import InputError
from model.prediction import predictions
from tests.checkpoints import TEXTS, write_checkpoint
from tests.conftest import labelled_texts, train, write_json_lines
from training.abstention import Scored, choose_abstention, foreign_report, risk_coverage, separation
from training.features import Layout, TokenTensors, find_unseen, unseen_shares
from training.targets import MULTI, SINGLE
from training.tokens import Tokens


def scored(probabilities: np.ndarray, *unseen_shares: float) -> Scored:
    return Scored(probabilities, np.array(unseen_shares or [0.0] * len(probabilities)))


logit_rows = arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(2, 5)), elements=st.floats(-20, 20, width=32))


@given(logit_rows)
def test_certainties_are_what_they_are_called(logits: np.ndarray) -> None:
    probabilities = torch.from_numpy(logits).softmax(dim=1).numpy()
    lead = logits.max(axis=1) - logits.mean(axis=1)
    np.testing.assert_allclose(certainty(probabilities, "lead"), lead, atol=1e-4)
    shares = np.linspace(0, 1, len(logits))
    np.testing.assert_allclose(certainty(probabilities, "familiar_lead", shares), lead - 8 * shares, atol=1e-4)
    np.testing.assert_allclose(certainty(probabilities, "probability"), probabilities.max(axis=1))
    np.testing.assert_allclose(certainty(probabilities, "entropy"), -entropy(probabilities, axis=1), atol=1e-5)


@pytest.mark.parametrize("kind", CERTAINTIES)
def test_a_probability_of_zero_is_no_defect(kind: str) -> None:
    sure, unsure = certainty(np.array([[1.0, 0.0], [0.5, 0.5]], dtype=np.float32), kind)
    assert np.isfinite(sure)
    assert sure > unsure


@given(st.integers(1, 200), st.floats(0.01, 1), st.integers(0, 9), st.sampled_from(CERTAINTIES))
def test_the_rule_accepts_the_wanted_share_and_no_more(texts: int, acceptance: float, seed: int, kind: str) -> None:
    draw = np.random.default_rng(seed)
    own = Scored(draw.dirichlet(np.ones(3), texts), draw.random(texts))
    rule = choose_abstention(own, np.zeros(texts, int), SINGLE, acceptance)
    assert rule is not None
    accepted = texts - int(rule.rejects(*own).sum())
    assert acceptance * texts - 1e-9 <= accepted < acceptance * texts + 1


def test_ties_are_accepted_together() -> None:
    own = scored(np.full((10, 2), 0.5))
    rule = choose_abstention(own, np.zeros(10, int), SINGLE, 0.5)
    assert rule is not None
    assert not rule.rejects(*own).any()


def test_out_of_scope_texts_choose_the_certainty() -> None:
    """Texts in scope hesitate between two classes that both lead the third, foreign ones prefer one class a little."""
    own, foreign = scored(np.array([[0.499, 0.499, 0.002]] * 20)), scored(np.array([[0.6, 0.2, 0.2]] * 10))
    targets = np.zeros(20, int)
    rule = choose_abstention(own, targets, SINGLE, 0.95, foreign)
    assert rule is not None
    assert separation(own, foreign, "probability") == 0
    assert separation(own, foreign, rule.certainty) == 1
    own, foreign = foreign, own
    targets = np.zeros(10, int)
    rule = choose_abstention(own, targets, SINGLE, 0.95, foreign)
    assert rule is not None
    assert rule.certainty == "probability"
    unaided = choose_abstention(own, targets, SINGLE, 0.95)
    assert unaided is not None
    assert unaided.certainty == "familiar_lead"


def test_texts_without_a_label_do_not_set_the_threshold_of_several_labels() -> None:
    own = scored(np.array([[0.9, 0.2], [0.3, 0.8], [0.1, 0.1], [0.2, 0.05]]))
    targets = np.array([[1, 0], [0, 1], [0, 0], [0, 0]])
    rule = choose_abstention(own, targets, MULTI, 1.0)
    assert rule is not None
    assert rule.certainty == "probability"
    assert rule.rejects(*own).tolist() == [False, False, True, True]
    assert choose_abstention(own, np.zeros_like(targets), MULTI, 1.0) is None


def test_tokens_that_no_training_text_has_make_a_text_less_certain() -> None:
    tokens = Tokens(np.array([1, 2, 2, 3, 1, 2], dtype=np.int32), np.array([3, 1, 0, 2]))
    texts = TokenTensors(tokens, np.zeros(4), Layout(max_length=2))
    unseen = find_unseen(texts, vocab_size=6)
    assert unseen.tolist() == [True, False, False, False, True, True]
    other = TokenTensors(
        Tokens(np.array([4, 1, 0, 5, 5, 5], dtype=np.int32), tokens.lengths), np.zeros(4), texts.layout
    )
    assert unseen_shares(other, unseen).tolist() == [0.5, 1, 0, 1]
    rule = Abstention("familiar_lead", 0.0, unpack_tokens(pack_tokens(unseen), 6))
    ids = [[4, 1], [5], [], [5, 5]]
    assert [rule.unseen_share(row) for row in ids] == [0.5, 1, 0, 1]
    outputs = np.array([[0.9, 0.1]] * 4)  # a lead of 1.1
    assert rule(outputs, ids) == [True, True, False, True]
    assert not any(Abstention("lead", 0.0, rule.unseen_tokens)(outputs, ids))


@given(arrays(bool, st.integers(1, 50)))
def test_unseen_tokens_come_back_from_a_configuration(unseen: np.ndarray) -> None:
    packed = pack_tokens(unseen)
    assert unpack_tokens(packed, len(unseen)) == set(np.flatnonzero(unseen))
    for vocab_size in (len(unseen) + 8, len(unseen) - 8):
        with pytest.raises(ValueError, match="needs a bit for each of"):
            unpack_tokens(packed, vocab_size)


def test_risk_coverage_by_hand() -> None:
    coverage, risk = risk_coverage(np.array([0.9, 0.5, 0.7]), np.array([True, False, True]))
    assert coverage == pytest.approx([1 / 3, 2 / 3, 1])
    assert risk == pytest.approx([0, 0, 1 / 3])


def test_abstaining_changes_nothing_else() -> None:
    outputs = np.array([[0.9, 0.1], [0.5, 0.5]], dtype=np.float32)
    plain = predictions(outputs, ["a", "b"], SINGLE)
    ruled = predictions(outputs, ["a", "b"], SINGLE, abstained=[False, True])
    assert [found.abstained for found in plain] == [False, False]
    assert [found.abstained for found in ruled] == [False, True]
    for before, after in zip(plain, ruled, strict=True):
        assert {**before.to_dict(), "abstained": None} == {**after.to_dict(), "abstained": None}


@pytest.mark.parametrize("folding", ["on", "off"])
def test_python_answers_with_the_flag(tmp_path: Path, folding: str) -> None:
    folder = write_checkpoint(tmp_path, abstention_certainty="probability", abstention_threshold=0.5)
    found = TextClassifier.from_pretrained(folder, "cpu", folding=folding)(TEXTS)
    flags = [prediction.abstained for prediction in found]
    assert flags == [(prediction.score or 0) < 0.5 for prediction in found]
    assert len(set(flags)) == 2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"abstention_certainty": "luck"},
            "abstention_certainty must be one of familiar_lead, lead, probability, entropy, got 'luck'",
        ),
        ({"abstention_certainty": "familiar_lead"}, "abstention_unseen_tokens must be given with"),
        ({"abstention_unseen_tokens": "AA=="}, "abstention_unseen_tokens must be base64 of"),
        ({"abstention_unseen_tokens": "no base64"}, "abstention_unseen_tokens must be base64 of"),
        ({"abstention_unseen_tokens": 7}, "abstention_unseen_tokens must be base64 of"),
        ({"abstention_threshold": "high"}, "abstention_threshold must be a finite number or null, got 'high'"),
    ],
)
def test_a_wrong_rule_is_a_sentence(tmp_path: Path, changes: dict[str, str], sentence: str) -> None:
    folder = write_checkpoint(tmp_path)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(sentence)):
        read_config(folder)


def test_training_chooses_the_rule_and_tries_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    foreign = write_json_lines(tmp_path / "foreign.jsonl", [{"text": "volcano sonata"}, {"text": "seven green tigers"}])
    files = ["--out_of_scope_file", str(foreign), "--out_of_scope_test_file", str(foreign)]
    folder = train(tmp_path, labelled_texts(), *files, "--in_scope_acceptance", "0.9")
    report = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["abstention"]
    assert report["validation"]["acceptance"] == pytest.approx(0.9, abs=0.05)
    assert report["out_of_scope"] == report["out_of_scope_test"] == {"texts": 2, "auroc": 1.0, "recall": 1.0}
    config = read_config(folder)
    assert config.abstention is not None
    assert (config.abstention.certainty, config.abstention.threshold) == (report["certainty"], report["threshold"])
    texts = [row["text"] for row in labelled_texts()]
    answered = [not prediction.abstained for prediction in TextClassifier.from_pretrained(folder, "cpu")(texts)]
    assert np.mean(answered) == pytest.approx(report["test"]["acceptance"])
    assert f"{report['threshold']:.4g}" in (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", CERTAINTIES)
def test_serving_abstains_where_training_measured_that_it_would(kind: str) -> None:
    draw = np.random.default_rng(0)
    outputs = draw.dirichlet(np.full(5, 0.3), size=300).astype(np.float32)
    ids = [draw.integers(20, size=length).tolist() for length in draw.integers(9, size=300)]
    unseen = frozenset(range(6))
    shares = np.array([sum(token in unseen for token in text) / max(len(text), 1) for text in ids])
    threshold = float(np.median(certainty(outputs, kind, shares))) + 1e-6
    rule = Abstention(kind, threshold, unseen)
    assert rule(outputs, ids) == rule.rejects(outputs, shares).tolist()
    assert 0 < sum(rule(outputs, ids)) < 300


def test_foreign_texts_beside_none_of_ours_have_no_auroc() -> None:
    own, foreign = scored(np.empty((0, 2))), scored(np.array([[0.5, 0.5], [0.9, 0.1]]))
    assert foreign_report(Abstention("probability", 0.7), own, foreign) == {"texts": 2, "recall": 0.5}
