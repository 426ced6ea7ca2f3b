"""Flags for data and network, and how all flags of `textcnn-train` are read."""

# ruff: noqa: RUF009  (`flag` makes a dataclass field, no shared default)

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias

from model.cli import ArgumentParser
from model.errors import InputError
from training.config_file import read_config_file
from training.config_training import TextCnnTrainingArguments, default_learning_rate
from training.flags import flag
from training.targets import ProblemType

EmbeddingMode = Literal["random", "static", "non_static", "multichannel"]
Side = Literal["right", "left"]
Files: TypeAlias = list[str] | None


@dataclass
class DataArguments:
    """What to learn from."""

    _argument_group_name: ClassVar[str] = "data"

    train_file: Files = flag(
        "Files of training texts (.csv, .tsv, .jsonl, .ndjson, .parquet or fastText's, plain or .gz), folders of them, "
        "or patterns such as 'shards/*.jsonl'; so for every flag of files."
    )
    validation_file: Files = flag("Files that decide which epoch is best; without them a share of the training files.")
    test_file: Files = flag("Files that the finished checkpoint is measured on; never learnt from.")
    out_of_scope_file: Files = flag(
        "Files of texts that belong to no class, which the rule to abstain is chosen by; never learnt from."
    )
    out_of_scope_test_file: Files = flag("Files of texts that belong to no class, which that rule is tried on.")
    dataset: str | None = flag("Name or folder of a dataset for the `datasets` library, in place of files.")
    dataset_config: str | None = flag("Configuration of `--dataset`, if it has several.")
    text_column: str = flag("Column of the texts.", "text")
    label_column: str = flag(
        "Column of the labels; a column of lists means several labels a text (`labels` is found by itself).", "label"
    )
    problem_type: ProblemType | None = flag("What the labels are; told from them when absent.")
    streaming: bool = flag(
        "Whether the training files, which may be larger than memory, are read row by row and kept on the disk only; "
        "needs --validation_file.",
        False,
    )
    validation_share: float = flag(
        "Share of the training rows held out, between 0 and 1, if there are no validation rows.", 0.1
    )
    teacher: str | None = flag(
        "Folder or hub name of a transformer whose logits are learnt beside the labels: a sequence classifier with the "
        "same classes, or any encoder with --finetune_teacher."
    )
    finetune_teacher: bool = flag("Whether the teacher first learns from the training texts itself.", False)
    teacher_epochs: int = flag("Passes over the training texts in which --finetune_teacher learns.", 3)
    augmented_copies: int = flag("Varied copies of each text that the teacher labels too.", 8)
    unlabelled_file: Files = flag("Files of more texts for the teacher to label.")
    cache_dir: str | None = flag(
        "Folder where token ids and teachers' logits are kept for the next training; in the cache of the `datasets` "
        "library when absent."
    )
    overwrite_cache: bool = flag("Whether texts are tokenized anew although the cache knows them.", False)
    num_proc: int | None = flag("Processes that tokenize; without it this one, which uses all cores already.")

    def __post_init__(self) -> None:
        if (self.train_file is None) == (self.dataset is None):
            raise InputError("train_file: give either --train_file FILE or --dataset NAME")
        if self.text_column == self.label_column:
            raise InputError(f"label_column must be another column than text_column, got {self.label_column!r}")
        if self.dataset is not None and (self.validation_file or self.test_file):
            raise InputError(
                "dataset: it brings its own splits; --validation_file and --test_file go with --train_file"
            )
        if not 0 < self.validation_share < 1:
            raise InputError(f"validation_share must be between 0 and 1, got {self.validation_share}")
        if self.teacher_epochs < 1:
            raise InputError(f"teacher_epochs must be at least 1, got {self.teacher_epochs}")
        if self.augmented_copies < 0:
            raise InputError(f"augmented_copies must be at least 0, got {self.augmented_copies}")
        if self.teacher is None and (self.finetune_teacher or self.unlabelled_file):
            given = "finetune_teacher" if self.finetune_teacher else "unlabelled_file"
            raise InputError(f"{given}: there is no --teacher that it is for")
        if self.num_proc is not None and self.num_proc < 1:
            raise InputError(f"num_proc must be at least 1, got {self.num_proc}")
        if self.streaming:
            self._require_streamable()

    def _require_streamable(self) -> None:
        if self.dataset is not None:
            raise InputError("streaming is for files: give --train_file, not --dataset")
        if self.validation_file is None:
            raise InputError("streaming: give --validation_file FILE; of streamed files no rows are held out")
        if self.teacher is not None:
            raise InputError("streaming: a --teacher labels texts in memory; give one of both")

    @property
    def cache_folder(self) -> Path:
        """Where files for the next training are kept."""
        from datasets import config  # knows HF_HOME and the like, after two seconds of imports

        return Path(self.cache_dir or Path(config.HF_DATASETS_CACHE) / "textcnn")


@dataclass
class ModelArguments:
    """What to train: tokenizer and network."""

    _argument_group_name: ClassVar[str] = "model"

    tokenizer: str | None = flag(
        "Kind to learn from the training texts (wordpiece, bpe, unigram, word, char), "
        "or folder or hub name of a pretrained fast tokenizer; wordpiece, or that of --vectors, when absent."
    )
    vectors: str | None = flag(
        "Embeddings to start from: file of word vectors (word2vec .txt or .bin, GloVe, fastText .vec, each also .gz), "
        "or folder or hub name of a transformer, whose tokenizer is then taken too."
    )
    embedding_mode: EmbeddingMode | None = flag(
        "What becomes of the embeddings: random (from nothing), static (--vectors, kept), non_static (learnt on) "
        "or multichannel (one kept, one learnt on); non_static with --vectors, else random, when absent."
    )
    vocab_size: int = flag("Most tokens that a learnt tokenizer may have.", 16_000)
    min_frequency: int = flag("Occurrences that a token needs to enter the vocabulary.", 1)
    lowercase: bool = flag("Whether a learnt tokenizer ignores case.", True)
    squeeze_repeats: bool = flag(
        "Whether a learnt tokenizer cuts three or more of the same character to two, digits excepted.", True
    )
    simplify_chinese: bool = flag("Whether a learnt tokenizer reads traditional Chinese as simplified.", False)
    add_special_tokens: bool = flag("Whether the tokenizer frames each text, as in [CLS] ... [SEP].", True)
    max_length: int | None = flag("Tokens a text is padded or cut to; taken from the training texts when absent.")
    padding: Literal["longest", "max_length"] = flag(
        "Width of a training batch: its longest text, or max_length always; the network learns the same.", "longest"
    )
    padding_side: Side = flag("Side of a text that padding is added to.", "right")
    truncation_side: Side = flag("Side of a too long text that is cut off.", "right")
    embedding_dim: int | None = flag("Channels of the embedding of a token; 300, or those of --vectors, when absent.")
    kernel_sizes: list[int] = flag("Tokens that each convolution looks at; one convolution each.", [1, 2, 3, 4])
    num_filters: int = flag("Filters of each convolution.", 160)
    stride: int = flag("Tokens from one window of a convolution to the next.", 1)
    conv_padding: str = flag("Zeros that a convolution adds on each side in tokens, or same, or valid.", "0")
    dilation: int = flag("Tokens between the taps of a window.", 1)
    groups: int = flag("Blocks of channels that are convolved apart.", 1)
    bias: bool = flag("Whether the convolutions have a bias.", True)
    dropout: float = flag("Probability that a pooled feature is dropped in training.", 0.3)
    embedding_dropout: float = flag("Probability that an embedded channel is dropped in training.", 0.0)
    initial_embedding_std: float = flag("Standard deviation of the random embeddings that training starts from.", 0.1)
    ngram_buckets: int = flag(
        "Rows that the character n-grams of the tokens share while embeddings are learnt from nothing; 0 shares none.",
        50_000,
    )
    max_bigrams: int = flag(
        "Most pairs of neighbouring tokens that the linear part beside the filters knows, the most frequent ones, for "
        "one class a text; 0 leaves it out.",
        100_000,
    )

    def __post_init__(self) -> None:
        for name in ("vocab_size", "min_frequency"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("ngram_buckets", "max_bigrams"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 <= self.initial_embedding_std < math.inf:  # nan is neither
            raise InputError(f"initial_embedding_std must be finite and at least 0, got {self.initial_embedding_std}")
        if self.conv_padding not in ("same", "valid") and not self.conv_padding.isdecimal():
            raise InputError(f"conv_padding must be a number of tokens, same or valid, got {self.conv_padding!r}")
        if self.embedding_mode is None:
            self.embedding_mode = "random" if self.vectors is None else "non_static"
        if (self.embedding_mode == "random") != (self.vectors is None):
            need = "starts from nothing: give no --vectors" if self.vectors else "needs --vectors"
            raise InputError(f"embedding_mode {self.embedding_mode} {need}")
        self._settle_tokenizer()

    def _settle_tokenizer(self) -> None:
        """A transformer's embeddings are rows of its own vocabulary."""
        if self.vectors is not None and not Path(self.vectors).is_file():
            if self.tokenizer not in (None, self.vectors):
                raise InputError(
                    f"tokenizer: the embeddings of {self.vectors!r} go with its own, got {self.tokenizer!r}"
                )
            self.tokenizer = self.vectors
        if self.tokenizer is None:
            self.tokenizer = "wordpiece"


def distils(data: DataArguments, model: ModelArguments) -> bool:
    """Whether a teacher labels texts for pretrained embeddings."""
    return data.teacher is not None and model.vectors is not None


def parse(argv: Sequence[str] | None) -> tuple[DataArguments, ModelArguments, TextCnnTrainingArguments]:
    """The arguments on the command line over those of `--config`; raises `InputError` for any that does not fit."""
    parser = ArgumentParser([DataArguments, ModelArguments, TextCnnTrainingArguments], prog="textcnn-train")
    arguments = list(sys.argv[1:] if argv is None else argv)
    config = parser.parse_known_args(arguments)[0].config
    if config is not None:
        arguments = read_config_file(Path(config), parser) + arguments
    try:
        data, model, training = parser.parse(arguments)
    except InputError:
        raise
    except (ImportError, OSError, ValueError) as error:  # what TrainingArguments says of packages, files and values
        raise InputError(" ".join(str(error).split())) from error
    if training.learning_rate is None:
        training.learning_rate = default_learning_rate(training.optim, distils(data, model))
    return data, model, training
