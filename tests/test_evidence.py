"""Evidence adds up to the logit, whatever the form of the network, and points at the right characters."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from tokenizers import Tokenizer, models, pre_tokenizers

from model.classifier import TextClassifier
from model.errors import InputError
from model.evidence import LAYOUT_WINDOWS, LAYOUTS, Explainable, _kept_taps, _spans, _taps, explain
from model.folding import FoldedTextCnn
from model.network_textcnn import TextCnn, TextCnnShape
from model.prediction import Prediction
from tests.checkpoints import LABELS, TEXTS, write_checkpoint
from tests.strategies import CLASSES, VOCABULARY, build_network, shapes, token_lists


def digits() -> Tokenizer:
    """A tokenizer whose tokens are the numbers below `VOCABULARY`, each its own id."""
    tokenizer = Tokenizer(models.WordLevel({str(number): number for number in range(VOCABULARY)}, "0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def check(network: Explainable, dense: TextCnn, shape: TextCnnShape, tokens: list[int]) -> None:
    text = " ".join(map(str, tokens))
    encoding = digits().encode(text)
    device = dense.classifier.weight.device
    ids = torch.tensor([tokens], dtype=torch.long, device=device)
    logits = dense.logits(ids, torch.tensor([len(tokens)], device=device))[0]
    for label in range(CLASSES):
        bias, pieces = explain(network, shape, encoding.ids, encoding.offsets, text, label)
        assert bias + sum(piece["contribution"] for piece in pieces) == pytest.approx(float(logits[label]), abs=1e-4)
        assert all(piece["text"] == text[piece["start"] : piece["end"]] != "" for piece in pieces)
        assert len({(piece["start"], piece["end"]) for piece in pieces}) == len(pieces)


@given(shape=shapes(), tokens=token_lists())
@settings(max_examples=60, deadline=None)
def test_bias_and_contributions_add_up_to_the_logit(shape: TextCnnShape, tokens: list[int]) -> None:
    dense = build_network(shape)
    check(dense, dense, shape, tokens)
    check(FoldedTextCnn(dense), dense, shape, tokens)


@given(shape=shapes(), tokens=token_lists())
@settings(max_examples=60, deadline=None)
def test_both_forms_of_the_network_answer_each_window_alike(shape: TextCnnShape, tokens: list[int]) -> None:
    dense = build_network(shape)
    expected, found = dense.windows(tokens), FoldedTextCnn(dense).windows(tokens)
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.gpu
def test_it_adds_up_on_a_gpu() -> None:
    shape = TextCnnShape(vocab_size=VOCABULARY, embedding_dim=4, num_filters=6, max_length=40)
    dense = build_network(shape).cuda()
    for tokens in ([], [3], list(range(1, 20))):
        check(dense, dense, shape, tokens)
        check(FoldedTextCnn(dense), dense, shape, tokens)


@pytest.mark.parametrize(("first", "second", "piece"), [(None, 5, "5"), (5, 7, "5 7"), (0, 3, "3"), (7, 0, "7")])
def test_a_row_of_the_linear_part_is_a_piece(first: int | None, second: int, piece: str) -> None:
    """A token's row is the token alone, a pair's row the pair; a boundary (0) stands on no characters."""
    shape = TextCnnShape(vocab_size=VOCABULARY, embedding_dim=4, num_filters=2, num_bigrams=3)
    network = build_network(shape)
    network.classifier.weight.zero_()
    assert network.bigrams is not None
    network.bigrams.weight.zero_()
    network.bigrams.known[:3] = torch.tensor([3, 5 * VOCABULARY + 7, 7 * VOCABULARY])
    row = second if first is None else VOCABULARY + network.bigrams.known.tolist().index(first * VOCABULARY + second)
    network.bigrams.weight[row] = 8**0.5  # 4 pairs have 8 rows
    text = "3 5 7"
    for form in (network, FoldedTextCnn(network)):
        _, pieces = explain(form, shape, [3, 5, 7], digits().encode(text).offsets, text, 0)
        assert {found["text"]: found["contribution"] for found in pieces} == pytest.approx({piece: 1.0})


def test_a_piece_is_where_the_network_looks() -> None:
    """One filter of width 2 that only answers to token 5 followed by token 7."""
    shape = TextCnnShape(vocab_size=VOCABULARY, embedding_dim=VOCABULARY, kernel_sizes=[2], num_filters=1)
    network = build_network(shape)
    with torch.no_grad():
        network.embedding.weight.copy_(torch.eye(VOCABULARY))
        conv = network.convs[0]
        assert isinstance(conv, torch.nn.Conv1d)
        for parameter in conv.parameters():
            parameter.zero_()
        conv.weight[0, 5, 0] = conv.weight[0, 7, 1] = 1.0
        network.classifier.weight.fill_(2.0)
    text = "1 5 5 7 3"
    encoding = digits().encode(text)
    _, pieces = explain(network, shape, encoding.ids, encoding.offsets, text, 0)
    assert pieces == [{"start": 4, "end": 7, "text": "5 7", "contribution": 4.0}]


@pytest.mark.parametrize("folding", ["on", "off"])
@pytest.mark.parametrize(
    "text",
    [
        "I want my money back",
        "  where  is my parcel?",
        "ｗｈｅｒｅ ｉｓ my ﬁne parcel",  # NFKC changes the number of characters
        "😡 where 👩‍👩‍👧 is my parcel 😡",
        "我的快递 到哪里了",
        "where\u200b is my parcel",  # a zero-width space is taken out
        "",
        "one more text that is longer than the checkpoint reads of it",
    ],
)
def test_pieces_are_cut_from_the_text_as_it_was_given(tmp_path: Path, folding: str, text: str) -> None:
    classifier = TextClassifier.from_pretrained(write_checkpoint(tmp_path), "cpu", folding=folding)
    prediction = classifier([text], explain=True)[0]
    assert prediction.evidence is not None
    assert prediction.bias is not None
    for piece in prediction.evidence:
        assert piece["text"] == text[piece["start"] : piece["end"]]
        assert piece["text"].strip() == piece["text"] != ""
    assert bool(prediction.evidence) == bool(text)


def explained_sum(prediction: Prediction) -> float:
    assert prediction.bias is not None
    assert prediction.evidence is not None
    return prediction.bias + sum(piece["contribution"] for piece in prediction.evidence)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("bfloat16", 1e-2)])
@pytest.mark.parametrize("folding", ["on", "off"])
@pytest.mark.parametrize("problem_type", ["single_label_classification", "multi_label_classification", "regression"])
def test_the_sum_is_what_the_score_was_made_of(
    tmp_path: Path, problem_type: str, folding: str, precision: str, tolerance: float
) -> None:
    folder = write_checkpoint(tmp_path, problem_type=problem_type, calibration_temperature=0.5)
    classifier = TextClassifier.from_pretrained(folder, "cpu", folding=folding, precision=precision)
    labels: list[str | None] = [None] if problem_type == "regression" else [*LABELS]
    sums = [[explained_sum(p) for p in classifier(TEXTS, explain=True, explain_label=label)] for label in labels]
    logits = torch.tensor(sums)  # (C, B)
    match problem_type:
        case "single_label_classification":
            outputs = logits.softmax(dim=0)
        case "multi_label_classification":
            outputs = logits.sigmoid()
        case _:
            outputs = logits
    expected, _ = classifier.score(TEXTS)
    assert torch.allclose(outputs.T, torch.from_numpy(expected), atol=tolerance)


def test_the_best_label_is_explained_unless_another_is_named(tmp_path: Path) -> None:
    classifier = TextClassifier.from_pretrained(write_checkpoint(tmp_path), "cpu")
    best = classifier(TEXTS[:1])[0].label
    plain, named = classifier(TEXTS[:1], explain=True), classifier(TEXTS[:1], explain=True, explain_label=best)
    other = classifier(TEXTS[:1], explain=True, explain_label=next(label for label in LABELS if label != best))
    assert plain == named != other
    assert other[0].scores == plain[0].scores


def test_the_layouts_that_are_kept_are_few_and_small() -> None:
    def layout_bytes(windows: int) -> int:
        starts = list(range(windows + 2))
        assert len(list(_spans(TextCnnShape(kernel_sizes=[3, 4, 5]), windows, starts, starts[:-1]))) == 3 * windows
        return sum(taps.nbytes for taps in _taps((3, 4, 5), (0, 0, 0), 1, 1, windows, windows))

    assert layout_bytes(LAYOUT_WINDOWS) * LAYOUTS <= 1 << 25
    before = _kept_taps.cache_info()
    layout_bytes(LAYOUT_WINDOWS + 1)
    assert _kept_taps.cache_info() == before


def test_an_unknown_label_and_one_without_explain_are_refused(tmp_path: Path) -> None:
    classifier = TextClassifier.from_pretrained(write_checkpoint(tmp_path), "cpu")
    with pytest.raises(InputError, match="explain_label must be a label of the checkpoint, got 'weather'"):
        classifier(TEXTS, explain=True, explain_label="weather")
    with pytest.raises(InputError, match="explain_label goes with explain = True, got 'refund'"):
        classifier(TEXTS, explain_label="refund")
