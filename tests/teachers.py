"""Teachers of one layer."""

from pathlib import Path
from typing import Any

from transformers import BertConfig

from model.tokenizer import train_tokenizer
from tests.conftest import labelled_texts

TEXTS = [row["text"] for row in labelled_texts()]


def save_tokenizer(folder: Path, max_length: int | None = 16) -> int:
    """Write a tokenizer of the texts' words; how many it knows."""
    tokenizer = train_tokenizer(TEXTS, "word", 200)
    if max_length is not None:
        tokenizer.model_max_length = max_length
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def tiny_bert(vocab_size: int, **options: Any) -> BertConfig:
    """An encoder that reads 16 tokens."""
    size: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    return BertConfig(vocab_size=vocab_size, max_position_embeddings=16, **size, **options)
