"""Writing a checkpoint folder so that no reader ever meets half of one."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from transformers import PreTrainedTokenizerFast
from transformers.utils import logging

from .configuration_textcnn import TextCnnConfig
from .files import CONFIG, WEIGHTS
from .modeling_textcnn import TextCnnForSequenceClassification


def save_checkpoint(
    network: TextCnnForSequenceClassification,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    extra_files: Mapping[str, str | bytes],
) -> None:
    """Write weights, tokenizer, modelling files and `extra_files` (name -> content) to `folder`.

    All is written to a folder beside the final names first, then moved by rename, `config.json` very last: a folder
    with a `config.json` is complete. What `OSError`, or of its own, a library raises when the disk does not
    take it, is raised with nothing moved.
    """
    TextCnnConfig.register_for_auto_class()  # type: ignore[no-untyped-call]
    TextCnnForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")  # type: ignore[no-untyped-call]
    config = network.config
    tokenizer.padding_side, tokenizer.truncation_side = config.padding_side, config.truncation_side
    tokenizer.model_max_length = config.max_length
    tokenizer.backend_tokenizer.no_truncation()  # who loads it decides
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as name:
        beside = Path(name)
        _without_progress_bar(network, beside)
        shutil.copymode(beside / CONFIG, beside / WEIGHTS)  # safetensors lets nobody else read what it writes
        tokenizer.save_pretrained(beside)
        for file_name, content in extra_files.items():
            (beside / file_name).write_bytes(content.encode() if isinstance(content, str) else content)
        (folder / CONFIG).unlink(missing_ok=True)  # from here on the old checkpoint is no longer one
        for path in sorted(beside.iterdir(), key=lambda path: path.name == CONFIG):
            shutil.move(path, folder / path.name)


def _without_progress_bar(network: TextCnnForSequenceClassification, folder: Path) -> None:
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        network.save_pretrained(folder)
    finally:
        if shown:
            logging.enable_progress_bar()
