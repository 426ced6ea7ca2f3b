"""From texts and arguments to what `Trainer` takes: tokenizer, tensors and a fresh network."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from model.configuration_textcnn import TextCnnConfig
from model.errors import InputError
from model.modeling_textcnn import TextCnnForSequenceClassification
from model.normalization import VERSION as NORMALIZATION_VERSION
from model.normalization import text_normalizer
from model.tokenizer import KINDS, load_pretrained_tokenizer, special_token_counts
from training.chinese import simplified_characters
from training.config import ModelArguments
from training.data import Split, TextData
from training.features import Layout, TokenTensors, find_unseen, pick_max_length
from training.scaling import Scale
from training.targets import MULTI, REGRESSION, encode_targets
from training.tokens import TokenCache, Tokens
from training.vectors import Vectors, read_transformer, read_vectors

logger = logging.getLogger(__name__)

DIMENSION = 300  # channels of embeddings that start from nothing
# Named alike as a flag and in the configuration
_NETWORK_FIELDS = (
    *("embedding_mode", "kernel_sizes", "num_filters", "stride", "dilation", "groups", "bias", "dropout"),
    *("embedding_dropout", "initial_embedding_std", "padding_side", "truncation_side"),
)


@dataclass(frozen=True)
class Prepared:
    """All that a training needs once the texts are read."""

    tokenizer: PreTrainedTokenizerFast
    network: TextCnnForSequenceClassification
    scale: Scale
    train: TokenTensors
    validation: TokenTensors
    test: TokenTensors | None
    out_of_scope: dict[str, TokenTensors]  # with empty targets
    truncated_share: float  # of the training texts
    unknown_share: float  # of the tokens of the validation texts
    vectors: dict[str, float | str] | None  # where the embeddings are from, and how much of the data they cover

    def splits(self) -> dict[str, TokenTensors]:
        """The texts that are not learnt from, by the name of their split."""
        found = {"validation": self.validation, "test": self.test, **self.out_of_scope}
        return {name: split for name, split in found.items() if split is not None}

    @cached_property
    def unseen_tokens(self) -> NDArray[np.bool_]:
        """Which tokens of the vocabulary no training text has (V,)."""
        return find_unseen(self.train, self.network.config.vocab_size)


def prepare(data: TextData, arguments: ModelArguments, cache: TokenCache) -> Prepared:
    """Tokenize every text once, settle the length and build the network with random weights.

    Raises `InputError` where the arguments make no tokenizer or no network.
    """
    tokenizer = _tokenizer(data.train.texts, arguments, cache)
    train_tokens = cache.tokenize(tokenizer, data.train.texts)
    vectors = _vectors(arguments, tokenizer)
    config = _config(data, arguments, tokenizer, train_tokens, vectors)
    truncated = float(np.mean(train_tokens.lengths > config.max_length))
    logger.info("max_length %d tokens cuts %.1f %% of the training texts", config.max_length, 100 * truncated)
    scale = Scale()
    if data.problem_type == REGRESSION:
        scale = Scale.of(np.fromiter(data.train.targets, np.float64, len(data.train)), data.labels[0])
    validation_tokens = cache.tokenize(tokenizer, data.validation.texts)
    layout = _layout(config, arguments)

    def tensors(split: Split, tokens: Tokens) -> TokenTensors:
        targets = encode_targets(split.targets, data.labels, data.problem_type)
        if data.problem_type == REGRESSION:
            targets = scale.apply(targets).astype(np.float32)
        return TokenTensors(tokens, targets, layout)

    network = TextCnnForSequenceClassification(config)
    return Prepared(
        tokenizer=tokenizer,
        network=network,
        scale=scale,
        train=tensors(data.train, train_tokens),
        validation=tensors(data.validation, validation_tokens),
        test=None if data.test is None else tensors(data.test, cache.tokenize(tokenizer, data.test.texts)),
        out_of_scope={
            name: TokenTensors(cache.tokenize(tokenizer, split.texts), _no_targets(data, len(split)), layout)
            for name, split in data.out_of_scope.items()
        },
        truncated_share=truncated,
        unknown_share=validation_tokens.share_of(tokenizer.unk_token_id),
        vectors=None if vectors is None else _fill(network, vectors, train_tokens),
    )


def _tokenizer(texts: Sequence[str], arguments: ModelArguments, cache: TokenCache) -> PreTrainedTokenizerFast:
    kind = arguments.tokenizer or KINDS[0]
    if kind not in KINDS:
        tokenizer = _pretrained(kind, arguments)
    else:
        characters = simplified_characters() if arguments.simplify_chinese else None
        normalizer = text_normalizer(arguments.lowercase, arguments.squeeze_repeats, characters)
        tokenizer = cache.learn(
            texts, kind, arguments.vocab_size, arguments.min_frequency, normalizer, arguments.add_special_tokens
        )
    tokenizer.padding_side, tokenizer.truncation_side = arguments.padding_side, arguments.truncation_side
    return tokenizer


def _pretrained(name: str, arguments: ModelArguments) -> PreTrainedTokenizerFast:
    try:
        return load_pretrained_tokenizer(name, arguments.add_special_tokens)
    except InputError as error:
        if name == arguments.vectors:
            raise InputError(f"vectors: {name!r} is no file, so it must name a transformer: {error}") from error
        raise


def _vectors(arguments: ModelArguments, tokenizer: PreTrainedTokenizerFast) -> Vectors | None:
    if arguments.vectors is None:
        return None
    if Path(arguments.vectors).is_file():
        return read_vectors(Path(arguments.vectors), tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))))
    return read_transformer(arguments.vectors, len(tokenizer))


def _fill(network: TextCnnForSequenceClassification, vectors: Vectors, tokens: Tokens) -> dict[str, float | str]:
    """Let the embeddings start from the vectors; what of vocabulary and texts these cover."""
    vectors.fill(network.network.embedding.weight)
    if network.config.embedding_mode == "multichannel":
        network.network.static_embedding.weight.data.copy_(network.network.embedding.weight)
    coverage = vectors.coverage(tokens)
    vocabulary, running = (f"{coverage[name]:.1%}" for name in ("vocabulary_covered", "tokens_covered"))
    logger.info("vectors for %s of the vocabulary, %s of the tokens in the training texts", vocabulary, running)
    return coverage


def _dimension(arguments: ModelArguments, vectors: Vectors | None) -> int:
    if vectors is None:
        return DIMENSION if arguments.embedding_dim is None else arguments.embedding_dim
    given = vectors.table.shape[1]
    if arguments.embedding_dim not in (None, given):
        raise InputError(f"embedding_dim must be the {given} of --vectors or absent, got {arguments.embedding_dim}")
    return given


def _config(
    data: TextData,
    arguments: ModelArguments,
    tokenizer: PreTrainedTokenizerFast,
    tokens: Tokens,
    vectors: Vectors | None,
) -> TextCnnConfig:
    before, after = special_token_counts(tokenizer)
    network = {name: value for name, value in asdict(arguments).items() if name in _NETWORK_FIELDS}
    padding = arguments.conv_padding
    try:
        return TextCnnConfig(
            vocab_size=len(tokenizer),
            normalization_version=NORMALIZATION_VERSION if (arguments.tokenizer or KINDS[0]) in KINDS else None,
            embedding_dim=_dimension(arguments, vectors),
            padding=int(padding) if padding.isdecimal() else padding,
            max_length=pick_max_length(tokens.lengths) if arguments.max_length is None else arguments.max_length,
            pad_token_id=tokenizer.pad_token_id,
            special_tokens_before=before,
            special_tokens_after=after,
            problem_type=data.problem_type,
            id2label=dict(enumerate(data.labels)),
            label2id={label: index for index, label in enumerate(data.labels)},
            **network,
        )
    except ValueError as error:
        raise InputError(str(error)) from error


def _no_targets(data: TextData, texts: int) -> NDArray[np.generic]:
    """Targets that mean nothing, since `Trainer` gives no logits without any."""
    multi = data.problem_type == MULTI
    return np.zeros((texts, len(data.labels)), np.float32) if multi else np.zeros(texts, np.int64)


def _layout(config: TextCnnConfig, arguments: ModelArguments) -> Layout:
    return Layout(
        max_length=config.max_length,
        pad_token_id=config.pad_token_id,
        padding_side=config.padding_side,
        truncation_side=config.truncation_side,
        special_tokens_before=config.special_tokens_before,
        special_tokens_after=config.special_tokens_after,
        trim=arguments.padding == "longest",
    )
