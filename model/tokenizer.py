"""Tokenizer frontend: train one on the user's texts, or take a pretrained one; text in, token ids out."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from .encoding import encode_batch as encode_texts
from .errors import InputError, named
from .normalization import text_normalizer

KINDS = ("wordpiece", "bpe", "unigram", "word", "char")
PAD_TOKEN, UNKNOWN_TOKEN = "[PAD]", "[UNK]"  # ids 0 and 1
_START, _END = "[CLS]", "[SEP]"  # ids 2 and 3 where tokens frame each text
_CONTINUING = "##"  # marks a piece that continues a word

_WORD_START = "\u2581"  # marks a piece that starts a word
_SPLIT_HAN = pre_tokenizers.Split(Regex(r"\p{Han}"), "isolated")  # written without spaces, each stands for itself


def train_tokenizer(
    texts: Iterable[str],
    kind: str,
    vocab_size: int,
    min_frequency: int = 1,
    normalizer: normalizers.Normalizer | None = None,
    add_special_tokens: bool = False,
) -> PreTrainedTokenizerFast:
    """Tokenizer of one of `KINDS` with at most `vocab_size` tokens, learnt from `texts`.

    With `add_special_tokens` it puts a token before each text and one after it. Normalisation, that of
    `text_normalizer` if no other is given, is part of the tokenizer, so that offsets refer to the text as given. The
    same texts give the same tokenizer in every run, but for "unigram", whose trainer in `tokenizers` is randomly
    seeded. Raises `InputError` for an unknown kind, a `vocab_size` that is too small, or when no text holds a token.
    """
    if kind not in KINDS:
        raise InputError(f"tokenizer kind must be one of {', '.join(KINDS)}, got {kind!r}")
    normalizer = text_normalizer() if normalizer is None else normalizer
    frame = {"cls_token": _START, "sep_token": _END} if add_special_tokens else {}
    special_tokens = [PAD_TOKEN, UNKNOWN_TOKEN, *frame.values()]
    if vocab_size <= len(special_tokens):
        raise InputError(f"vocab_size must have room beside the {len(special_tokens)} special tokens, got {vocab_size}")
    tokenizer = Tokenizer(_untrained_model(kind))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, _pre_tokenizer(kind)
    if kind == "wordpiece":
        tokenizer.model = _wordpiece(texts, normalizer, vocab_size, min_frequency, special_tokens)
    else:
        _learn(tokenizer, texts, _trainer(kind, vocab_size, min_frequency, special_tokens), vocab_size)
    if tokenizer.get_vocab_size() <= len(special_tokens):
        if min_frequency > 1 and kind != "unigram":  # whose trainer counts no occurrences
            raise InputError(f"min_frequency must leave a token of the training texts, got {min_frequency}")
        raise InputError("text: no training text holds a token; every one is blank")
    if frame:
        numbers = [(token, special_tokens.index(token)) for token in frame.values()]
        template = f"{_START} $A {_END}"
        tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=numbers)
    return _as_fast(tokenizer, PAD_TOKEN, UNKNOWN_TOKEN, **frame)


def load_pretrained_tokenizer(name_or_folder: str, add_special_tokens: bool = False) -> PreTrainedTokenizerFast:
    """The fast tokenizer of a transformer, by folder or hub name; its template ([CLS] ... [SEP]) only when asked for.

    Raises `InputError` when there is none, or only one that is written in Python.
    """
    if close := difflib.get_close_matches(name_or_folder, KINDS, n=1, cutoff=0.8):  # before a hub is asked for it
        raise InputError(f"tokenizer {name_or_folder!r} is no kind to learn; did you mean {close[0]!r}?")
    with named(f"tokenizer must be a folder or a hub name of a tokenizer, got {name_or_folder!r}"):
        loaded = AutoTokenizer.from_pretrained(name_or_folder, use_fast=True, trust_remote_code=False)
    if not isinstance(loaded, PreTrainedTokenizerFast):
        raise InputError(f"tokenizer must be a fast one (tokenizer.json), {name_or_folder!r} has none")
    backend = Tokenizer.from_str(loaded.backend_tokenizer.to_str())  # its own copy: the loaded one stays as it is
    if not add_special_tokens:
        backend.post_processor = None
    if loaded.pad_token is None:
        backend.add_special_tokens([PAD_TOKEN])
    return _as_fast(backend, loaded.pad_token or PAD_TOKEN, loaded.unk_token)


def encode_batch(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], max_length: int | None = None
) -> list[list[int]]:
    """Token ids of each text, cut to `max_length` tokens (special ones included) on `tokenizer.truncation_side`."""
    return [e.ids for e in encode_texts(tokenizer.backend_tokenizer, texts, max_length, tokenizer.truncation_side)]


def special_token_counts(tokenizer: PreTrainedTokenizerFast) -> tuple[int, int]:
    """How many special tokens the tokenizer puts before and after each text."""
    mask = tokenizer.backend_tokenizer.encode("a").special_tokens_mask
    if all(mask):
        return len(mask), 0
    return mask.index(0), mask[::-1].index(0)


def _as_fast(tokenizer: Tokenizer, pad_token: str, unk_token: str | None, **frame: str) -> PreTrainedTokenizerFast:
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=pad_token, unk_token=unk_token, **frame)


def _untrained_model(kind: str) -> models.Model:
    match kind:
        case "wordpiece" | "bpe":
            return models.BPE(unk_token=UNKNOWN_TOKEN)
        case "unigram":
            return models.Unigram()
    return models.WordLevel(unk_token=UNKNOWN_TOKEN)


def _pre_tokenizer(kind: str) -> pre_tokenizers.PreTokenizer:
    """Pieces within which tokens are formed: words, single Chinese characters, punctuation marks."""
    by_space, punctuation = pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()
    if kind == "char":
        return pre_tokenizers.Sequence([by_space, pre_tokenizers.Split(Regex("."), "isolated")])
    if kind in ("bpe", "unigram"):  # a mark tells the start of a word from its inside; alone it says nothing
        mark = pre_tokenizers.Metaspace(replacement=_WORD_START, prepend_scheme="always")
        lone_mark = pre_tokenizers.Split(Regex(f"^{_WORD_START}$"), "removed")
        return pre_tokenizers.Sequence([by_space, mark, punctuation, _SPLIT_HAN, lone_mark])
    return pre_tokenizers.Sequence([by_space, punctuation, _SPLIT_HAN])


def _trainer(kind: str, vocab_size: int, min_frequency: int, special_tokens: list[str]) -> trainers.Trainer:
    shared: dict[str, Any] = {"vocab_size": vocab_size, "special_tokens": special_tokens, "show_progress": False}
    match kind:
        case "bpe":
            return trainers.BpeTrainer(min_frequency=min_frequency, **shared)
        case "unigram":
            return trainers.UnigramTrainer(unk_token=UNKNOWN_TOKEN, **shared)
    return trainers.WordLevelTrainer(min_frequency=min_frequency, **shared)


def _learn(tokenizer: Tokenizer, texts: Iterable[str], trainer: trainers.Trainer, vocab_size: int) -> None:
    try:
        tokenizer.train_from_iterator(texts, trainer)
    except Exception as error:  # of no class of its own
        if "vocabulary is not large enough" not in str(error):
            raise
        raise InputError(f"vocab_size must have room for every character of the texts, got {vocab_size}") from error


def _wordpiece(
    texts: Iterable[str],
    normalizer: normalizers.Normalizer,
    vocab_size: int,
    min_frequency: int,
    special_tokens: list[str],
) -> models.WordPiece:
    """WordPiece whose pieces are those of BPE, as in the trainer of `tokenizers`, but the same in every run.

    That trainer numbers the continuing letters ("##e") in the order of a randomly seeded hash map, and ties between
    merges are broken by number. Marking the start of a word instead of its inside leaves no letter to number.
    """
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizer
    mark = pre_tokenizers.Metaspace(replacement=_WORD_START, prepend_scheme="always")
    bpe.pre_tokenizer = pre_tokenizers.Sequence([_pre_tokenizer("wordpiece"), mark])
    bpe.train_from_iterator(texts, _trainer("bpe", vocab_size, min_frequency, special_tokens))
    merged = sorted(bpe.get_vocab().items(), key=lambda item: item[1])[len(special_tokens) :]
    tokens = [token for token, _ in merged if token != _WORD_START]
    letters = [token for token in tokens if len(token) == 1]
    starting = [token[1:] if token.startswith(_WORD_START) else _CONTINUING + token for token in tokens]
    vocabulary = dict.fromkeys([*special_tokens, *letters, *starting])  # in order of use, without repetition
    numbered = {token: number for number, token in enumerate(list(vocabulary)[:vocab_size])}
    return models.WordPiece(numbered, unk_token=UNKNOWN_TOKEN, continuing_subword_prefix=_CONTINUING)
