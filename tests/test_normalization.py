"""What happens to texts before they become tokens: character maps against `str.translate`, each step by example."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.charmap import character_map
from model.classifier import TextClassifier
from model.normalization import VERSION, text_normalizer
from model.tokenizer import KINDS, encode_batch, train_tokenizer
from tests.conftest import labelled_texts, train
from training.chinese import simplified_characters

ideographs = st.characters(min_codepoint=0x3400, max_codepoint=0x2A6DF, categories=["Lo"])
maps = st.dictionaries(
    ideographs, st.text(ideographs | st.sampled_from("ab"), min_size=1, max_size=2), min_size=1, max_size=40
)


@given(maps, st.text(max_size=20), st.data())
@settings(max_examples=60, deadline=None)
def test_a_character_map_translates_as_python_does(mapping: dict[str, str], text: str, data: st.DataObject) -> None:
    known = data.draw(st.text(st.sampled_from(sorted(mapping)), max_size=20))
    mixed = text[:10] + known + text[10:]
    assert character_map(mapping).normalize_str(mixed) == mixed.translate(
        {ord(key): value for key, value in mapping.items()}
    )


def test_traditional_characters_become_simplified_and_nothing_else_changes() -> None:
    simplified = simplified_characters()
    assert len(simplified) > 3000
    everything = "".join(map(chr, [*range(1, 0xD800), *range(0xE000, 0x20000)]))
    expected = everything.translate({ord(key): value for key, value in simplified.items()})
    assert character_map(simplified).normalize_str(everything) == expected
    normalizer = text_normalizer(characters=simplified)
    assert normalizer.normalize_str("還沒收到貨,可以幫我查一下嗎") == "还没收到货,可以帮我查一下吗"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ｒｅｆｕｎｄ ﬁne", "refund fine"),
        ("par\u200bcel\ufeff \u2067now\u2069", "parcel now"),
        ("a\x00b\x1f c\x7f\x9f", "ab c"),
        ("tab\tand\nline\x0b\x85", "tab\tand\nline\x0b\x85"),
        ("❤\ufe0f ok", "❤ ok"),
        ("soooOOO goood!!!!", "soo good!!"),
        ("退款款款款", "退款款"),
        ("100000 and 1.000", "100000 and 1.000"),
        ("book  aa", "book  aa"),
    ],
)
def test_each_step(text: str, expected: str) -> None:
    assert text_normalizer().normalize_str(text) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_offsets_refer_to_the_text_as_given(kind: str) -> None:
    normalizer = text_normalizer(characters={"還": "还"})
    tokenizer = train_tokenizer(["还 没 so good"] * 3, kind, 60, normalizer=normalizer)
    text = "還\u200b没 sooooo ｇood"
    spans = [text[start:end] for start, end in tokenizer.backend_tokenizer.encode(text).offsets]
    assert spans[0] == "還"
    assert "".join(spans).startswith("還没s") or "".join(spans).startswith("還\u200b没s")
    assert encode_batch(tokenizer, [text]) == encode_batch(tokenizer, ["还没 soo good"])


def test_a_checkpoint_reads_both_scripts_alike(tmp_path: Path) -> None:
    folder = train(tmp_path, labelled_texts(), "--simplify_chinese", "--tokenizer", "char")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["normalization_version"] == VERSION
    classifier = TextClassifier.from_pretrained(folder, "cpu")
    simplified, traditional = classifier(["非常 满意", "非常 滿意"])
    assert simplified == traditional
