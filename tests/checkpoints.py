"""Small untrained checkpoints, made in milliseconds."""

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from model.configuration_textcnn import TextCnnConfig
from model.modeling_textcnn import TextCnnForSequenceClassification
from model.saving import save_checkpoint
from model.tokenizer import train_tokenizer
from tests.strategies import fill_bigrams

TEXTS = [
    "where is my parcel",
    "i want my money back",
    "the kettle arrived broken",
    "我的快递到哪里了",
    "什么时候退款",
    "please send the invoice to my company",
]
LABELS = ["delivery", "refund", "invoice"]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A word tokenizer of `TEXTS`."""
    return train_tokenizer(TEXTS, "word", 100)


def build_network(vocab_size: int, **options: Any) -> TextCnnForSequenceClassification:
    """A network with random weights, the same ones each time."""
    torch.manual_seed(0)
    labels = LABELS[:1] if options.get("problem_type") == "regression" else LABELS
    settings: dict[str, Any] = {
        "vocab_size": vocab_size,
        "embedding_dim": 8,
        "num_filters": 6,
        "kernel_sizes": [1, 2, 3],
        "max_length": 6,
        "initial_embedding_std": 1.0,
        "problem_type": "single_label_classification",
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
    }
    network = TextCnnForSequenceClassification(TextCnnConfig(**settings | options))
    network.train(False)
    if network.network.bigrams is not None:
        fill_bigrams(network.network.bigrams, vocab_size)
    return network


def write_checkpoint(folder: Path, **options: Any) -> Path:
    """A complete checkpoint folder with random weights."""
    tokenizer = build_tokenizer()
    save_checkpoint(build_network(len(tokenizer), **options), tokenizer, folder, {"README.md": "# Random weights\n"})
    return folder
