"""The tokenizer frontend: every kind, normalisation with true offsets, truncation with special tokens."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from model.errors import InputError
from model.normalization import text_normalizer
from model.tokenizer import KINDS, encode_batch, load_pretrained_tokenizer, special_token_counts, train_tokenizer

CORPUS = [
    "Where is my parcel, please?",
    "Where is my refund?",
    "The parcel never came; I want my money back!",
    "我的快递到哪里了？",
    "退款什么时候到账",
    "parcels unbelievable 中国 GDP",
] * 3


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, PreTrainedTokenizerFast]:
    return {kind: train_tokenizer(CORPUS, kind, vocab_size=200) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_0_and_unknown_is_1(tokenizers: dict[str, PreTrainedTokenizerFast], kind: str) -> None:
    tokenizer = tokenizers[kind]
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id) == (0, 1)
    assert len(tokenizer) <= 200
    assert 1 in encode_batch(tokenizer, ["ж"])[0]
    assert encode_batch(tokenizer, ["", " \n"]) == [[], []]


@pytest.mark.parametrize("kind", KINDS)
def test_two_tokens_frame_each_text_when_wanted(tokenizers: dict[str, PreTrainedTokenizerFast], kind: str) -> None:
    framed = train_tokenizer(CORPUS, kind, vocab_size=200, add_special_tokens=True)
    assert (framed.cls_token_id, framed.sep_token_id, special_token_counts(framed)) == (2, 3, (1, 1))
    assert len(framed) <= 200
    assert encode_batch(framed, [""]) == [[2, 3]]
    first, *inside, last = encode_batch(framed, [CORPUS[0]])[0]
    assert (first, last) == (2, 3)
    assert framed.decode(inside) == tokenizers[kind].decode(encode_batch(tokenizers[kind], [CORPUS[0]])[0])


@pytest.mark.parametrize("kind", KINDS)
def test_normalisation_is_part_of_the_tokenizer(tokenizers: dict[str, PreTrainedTokenizerFast], kind: str) -> None:
    plain, disguised = "where is my parcel", "Ｗhere\u200b IS my\u00ad Parcel\ufeff"
    encoded = encode_batch(tokenizers[kind], [plain, disguised])
    assert encoded[0] == encoded[1]


@pytest.mark.parametrize("kind", KINDS)
def test_chinese_characters_stand_alone(tokenizers: dict[str, PreTrainedTokenizerFast], kind: str) -> None:
    encoding = tokenizers[kind].backend_tokenizer.encode("退款parcel到账")
    spans = ["退款parcel到账"[start:end] for start, end in encoding.offsets]
    assert spans[:2] == ["退", "款"]
    assert spans[-2:] == ["到", "账"]


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text(alphabet=st.sampled_from("aWhere ﬁＡ？。中国退\u200b\ufeffé\n!"), max_size=20))
@settings(max_examples=40, deadline=None)
def test_offsets_refer_to_the_text_as_given(
    tokenizers: dict[str, PreTrainedTokenizerFast], kind: str, text: str
) -> None:
    ends = 0
    for start, end in tokenizers[kind].backend_tokenizer.encode(text).offsets:
        assert 0 <= start <= end <= len(text)
        assert end >= ends
        ends = end


def test_case_is_kept_when_wanted() -> None:
    tokenizer = train_tokenizer(["Apple apple"], "word", 50, normalizer=text_normalizer(lowercase=False))
    assert len(set(encode_batch(tokenizer, ["Apple apple"])[0])) == 2


def test_rare_words_are_left_out() -> None:
    tokenizer = train_tokenizer(["often often once"], "word", 50, min_frequency=2)
    assert set(tokenizer.get_vocab()) == {"[PAD]", "[UNK]", "often"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "word", "char"])
def test_every_process_learns_the_same_tokenizer(kind: str) -> None:
    """Hash maps of Rust are seeded anew in each process, not in each call."""
    program = (
        "from model.tokenizer import train_tokenizer; from tests.test_tokenizer import CORPUS;"
        f"print(train_tokenizer(CORPUS, {kind!r}, 120).backend_tokenizer.to_str())"
    )
    outputs = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout for _ in range(3)
    }
    assert len(outputs) == 1


def test_truncation_counts_special_tokens_and_obeys_the_side(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(CORPUS, "word", 100, add_special_tokens=True)
    tokenizer.save_pretrained(tmp_path)
    with_specials = load_pretrained_tokenizer(str(tmp_path), add_special_tokens=True)
    bare = load_pretrained_tokenizer(str(tmp_path))
    text = ["where is my parcel please"]
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    words = encode_batch(bare, text)[0]
    assert special_token_counts(with_specials) == (1, 1)
    assert special_token_counts(bare) == (0, 0)
    assert len(words) == 5
    assert encode_batch(with_specials, text, 4) == [[cls, *words[:2], sep]]
    assert encode_batch(bare, text, 4) == [words[:4]]
    with_specials.truncation_side = "left"
    assert encode_batch(with_specials, text, 4) == [[cls, *words[-2:], sep]]
    assert encode_batch(with_specials, text) == [[cls, *words, sep]]


def test_unknown_kind_and_blank_texts_are_mistakes() -> None:
    with pytest.raises(InputError, match=r"tokenizer kind must be one of wordpiece, .*, got 'letters'"):
        train_tokenizer(CORPUS, "letters", 10)
    with pytest.raises(InputError, match="every one is blank"):
        train_tokenizer(["  ", "\n"], "word", 10)
    with pytest.raises(InputError, match="every one is blank"):
        train_tokenizer(["  ", "\n"], "unigram", 10, min_frequency=2)


@pytest.mark.parametrize("kind", ["word", "char"])
def test_a_frequency_that_no_token_reaches_is_a_mistake(kind: str) -> None:
    with pytest.raises(InputError, match=r"^min_frequency must leave a token of the training texts, got 1000$"):
        train_tokenizer(CORPUS, kind, 100, min_frequency=1000)


def test_a_vocabulary_without_room_for_every_character_is_a_mistake() -> None:
    with pytest.raises(InputError, match="vocab_size must have room for every character of the texts, got 10"):
        train_tokenizer(CORPUS, "unigram", 10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("framed", "size"), [(False, 2), (True, 4)])
def test_a_vocabulary_without_room_for_a_text_is_a_mistake(kind: str, framed: bool, size: int) -> None:
    with pytest.raises(InputError, match=f"vocab_size must have room beside the {size} special tokens, got {size}"):
        train_tokenizer(CORPUS, kind, size, add_special_tokens=framed)


def test_a_folder_without_tokenizer_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tokenizer must be a folder or a hub name of a tokenizer, got"):
        load_pretrained_tokenizer(str(tmp_path))


@pytest.mark.parametrize("content", ["[]", "{", "5"])
def test_a_broken_folder_is_a_mistake(tmp_path: Path, content: str) -> None:
    train_tokenizer(CORPUS, "word", 100).save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(content)
    with pytest.raises(InputError, match="tokenizer must be a folder or a hub name of a tokenizer, got"):
        load_pretrained_tokenizer(str(tmp_path))


def test_a_misspelt_kind_is_not_looked_for_on_a_hub() -> None:
    with pytest.raises(InputError, match=r"'wordpeice' is no kind to learn; did you mean 'wordpiece'?"):
        load_pretrained_tokenizer("wordpeice")


def test_lone_surrogates_name_text_and_character() -> None:
    tokenizer = train_tokenizer(CORPUS, "word", 100)
    with pytest.raises(InputError, match=r"texts\[1\] must be valid Unicode, got the lone surrogate .* at character 2"):
        encode_batch(tokenizer, ["fine", "ab\ud800"])
