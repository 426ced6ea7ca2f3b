"""A teacher: a transformer that classifies, and its logits for many texts, kept on disk and resumed."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging

from model.errors import InputError, named
from training.neighbours import neighbours
from training.precision import half_precision
from training.stored import writing

# N texts, B texts of a batch, C classes.

LONGEST = 512  # tokens; longer texts are cut for the teacher
_BATCH = {"cpu": 64, "cuda": 512}  # texts in a pass
_CHUNK = 2048  # texts between two writes; sorted by length within


class Teacher:
    """A sequence classifier of transformers whose logits are in the order of `labels`."""

    def __init__(self, network: Any, tokenizer: Any, order: list[int], device: torch.device) -> None:
        self.parameters = sum(parameter.numel() for parameter in network.parameters())
        self.revision = _revision(network, tokenizer)
        self._network, self._tokenizer, self._order = network.to(device).eval(), tokenizer, order
        self._device, self.half = device, half_precision(device)

    @classmethod
    def load(cls, name: str, labels: Sequence[str], device: torch.device) -> "Teacher":
        """The classifier in a folder or of a hub name; raises `InputError` when it is none for these classes."""
        network, tokenizer = load_transformer(name)
        return cls(network, tokenizer, _order(name, network.config, labels), device)

    def logits(self, texts: Sequence[str], folder: Path) -> NDArray[np.float32]:
        """Logits (N, C), those of an earlier call from `folder`; a call that was interrupted is gone on with."""
        path = folder / f"teacher-{_fingerprint(self.revision, texts)}.npy"
        if not path.exists():
            _create(path, (len(texts), len(self._order)))
        kept: NDArray[np.float32] = open_memmap(path, mode="r+")
        with tqdm(total=len(texts), desc="teacher", unit="text", disable=None, dynamic_ncols=True) as bar:
            for start in range(0, len(texts), _CHUNK):
                chunk = texts[start : start + _CHUNK]
                if np.isnan(kept[start : start + _CHUNK]).any():
                    kept[start : start + _CHUNK] = self.score(chunk)
                    kept.flush()  # type: ignore[attr-defined]
                bar.update(len(chunk))
        return np.array(kept)[:, self._order]

    def alike(self, words: Iterable[str]) -> dict[str, list[str]]:
        """For each word that it has an embedding of, those whose embeddings are nearest."""
        return neighbours(words, self._tokenizer, self._network.get_input_embeddings().weight.cpu())

    @torch.inference_mode()
    def score(self, texts: Sequence[str], half: bool | None = None) -> NDArray[np.float32]:
        """Logits (N, C) in the teacher's own order, computed now; in bfloat16 if `half`, or where that is fast."""
        half = self.half if half is None else half
        by_length = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        logits = np.empty((len(texts), len(self._order)), dtype=np.float32)
        size = _BATCH[self._device.type]
        for start in range(0, len(texts), size):
            chosen = by_length[start : start + size]
            batch = encode(self._tokenizer, [texts[index] for index in chosen], padding=True, return_tensors="pt")
            with torch.autocast(self._device.type, torch.bfloat16, enabled=half):
                logits[chosen] = self._network(**batch.to(self._device)).logits.float().cpu().numpy()
        return logits


def load_transformer(name: str, **options: Any) -> tuple[Any, Any]:
    """Sequence classifier and tokenizer of a folder or hub name; raises `InputError` when there are none."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # a new last layer is no news
    try:
        with named(f"teacher must be a folder or hub name of a transformer, got {name!r}"):
            tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            network = AutoModelForSequenceClassification.from_pretrained(
                name,
                trust_remote_code=False,
                dtype=torch.float32,  # whatever it was saved in
                **options,
            )
    finally:
        logging.set_verbosity(verbosity)
    if tokenizer.pad_token is None:
        raise InputError(f"teacher: the tokenizer of {name!r} must have a padding token, it has none")
    if getattr(network.config, "pad_token_id", None) is None:
        network.config.pad_token_id = tokenizer.pad_token_id  # a decoder finds the last token of a text by it
    tokenizer.model_max_length = min(tokenizer.model_max_length, LONGEST, _positions(network.config))
    return network, tokenizer


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], **options: Any) -> Any:
    """What the tokenizer of a teacher makes of the texts, cut to what the teacher can read."""
    return tokenizer(list(texts), truncation=True, **options)


def _positions(config: Any) -> int:
    """Tokens that a network has positions for; `LONGEST` where it needs none."""
    positions = getattr(config, "max_position_embeddings", None)
    return positions if positions is not None and positions > 0 else LONGEST  # XLNet says -1


def _order(name: str, config: Any, labels: Sequence[str]) -> list[int]:
    """The teacher's index of each of our labels."""
    is_classifier = any("SequenceClassification" in each for each in config.architectures or [])
    if not is_classifier:
        raise InputError(f"teacher: {name!r} is no sequence classifier yet; --finetune_teacher makes it one")
    own = {str(label): index for index, label in config.id2label.items()}
    if len(own) == len(labels) and all(re.fullmatch(r"LABEL_\d+", label) for label in own):
        return list(range(len(labels)))  # unnamed: they must stand in the order of ours
    unknown = set(labels) ^ set(own)
    if unknown:
        raise InputError(f"teacher: {name!r} must have the classes of the data, {sorted(unknown)[0]!r} is in one only")
    return [own[label] for label in labels]


def _create(path: Path, shape: tuple[int, int]) -> None:
    """A file of unknown logits; it appears under its name when it is whole."""
    beside = path.with_suffix(".new")
    with writing(path.parent):
        open_memmap(beside, mode="w+", dtype=np.float32, shape=shape)[:] = np.nan
        beside.rename(path)


def _revision(network: nn.Module, tokenizer: Any) -> str:
    digest = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode() if tokenizer.is_fast else b"")
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _fingerprint(revision: str, texts: Sequence[str]) -> str:
    digest = hashlib.sha256(revision.encode())
    for text in texts:
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()[:32]
