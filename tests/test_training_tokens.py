"""Tokenized once, found again."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import normalizers

from model.errors import InputError
from model.tokenizer import encode_batch, train_tokenizer
from tests.conftest import labelled_texts, train
from training import tokens as tokens_module
from training.tokens import TokenCache

TEXTS = ["a b c", "b", "我 a", "c c c c", "☃"]
TOKENIZER = train_tokenizer(TEXTS, "word", 20)


def rows(cache: TokenCache, texts: list[str]) -> list[list[int]]:
    """What the cache gives, as lists."""
    tokens = cache.tokenize(TOKENIZER, texts)
    ends = tokens.lengths.cumsum()
    return [tokens.token_ids[end - length : end].tolist() for end, length in zip(ends, tokens.lengths, strict=True)]


@given(st.lists(st.text(st.sampled_from("abc 我☃")), min_size=1, max_size=20))
def test_ids_are_the_tokenizers(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    assert rows(TokenCache(tmp_path_factory.mktemp("cache")), texts) == encode_batch(TOKENIZER, texts)


def test_share_of_unknown_tokens(tmp_path: Path) -> None:
    tokens = TokenCache(tmp_path).tokenize(TOKENIZER, ["a zzz", "zzz b"])
    assert tokens.share_of(TOKENIZER.unk_token_id) == 0.5
    assert tokens.share_of(None) == 0


@pytest.mark.slow
def test_several_processes_give_the_same(tmp_path: Path) -> None:
    texts = TEXTS * 300
    assert rows(TokenCache(tmp_path, processes=2), texts) == encode_batch(TOKENIZER, texts)


def test_two_trainings_that_learn_the_same_tokenizer_at_once_both_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = (["a b", "b c"], "word", 10, 1, normalizers.Lowercase(), False)
    remove = shutil.rmtree

    def second(*arguments: Any) -> Any:
        """Learn, while another training does the same and is first."""
        monkeypatch.setattr("training.tokens.train_tokenizer", train_tokenizer)
        TokenCache(tmp_path).learn(*asked)
        return train_tokenizer(*arguments)

    def remove_nothing_learnt(path: str | Path, **options: Any) -> None:
        """The other one comes right after this."""
        if not Path(path).name.startswith("tokenizer-"):
            remove(path, **options)

    monkeypatch.setattr("training.tokens.train_tokenizer", second)
    monkeypatch.setattr("shutil.rmtree", remove_nothing_learnt)
    assert len(TokenCache(tmp_path).learn(*asked)) > 2
    assert [path.name.split("-")[0] for path in tmp_path.iterdir()] == ["tokenizer"]


@pytest.mark.slow
def test_a_second_training_tokenizes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenized: list[str] = []
    encode = encode_batch

    def spy(tokenizer: object, texts: list[str]) -> list[list[int]]:
        tokenized.extend(texts)
        return encode(tokenizer, texts)  # type: ignore[arg-type]

    monkeypatch.setattr(tokens_module, "encode_batch", spy)
    cache = ["--cache_dir", str(tmp_path / "cache"), "--num_train_epochs", "1"]
    texts = labelled_texts()

    def again(*flags: str) -> int:
        """Texts that another training tokenizes."""
        tokenized.clear()
        train(tmp_path, texts, *cache, "--overwrite_output_dir", *flags)
        return len(tokenized)

    assert again() == len(texts)  # the three splits are the same file: once for all
    assert again("--seed", "8", "--max_length", "4") == 0
    assert again("--overwrite_cache") == 3 * len(texts)
    assert again("--tokenizer", "char") == len(texts)
    texts[-1] = {"text": "another text", "label": "praise"}
    assert again() == len(texts)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cache_dir: cannot write in '.*file'"):
        TokenCache(tmp_path / "file").tokenize(TOKENIZER, ["a"])
