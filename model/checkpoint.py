"""Reading a checkpoint folder, the only thing that training and service share, with `InputError` for every defect."""

import json
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer

from .abstention import Abstention, check_abstention, unpack_tokens
from .errors import InputError
from .files import CONFIG, METRICS, TOKENIZER, WEIGHTS
from .network_textcnn import TextCnn, TextCnnShape
from .prediction import check_thresholds

MODEL_TYPE = "textcnn"
FORMAT_VERSION = 1  # the newest that this code reads; it reads every older one too
PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression")
_WRAPPER = "network."  # first part of the weights' names in the file


@dataclass(kw_only=True)
class CheckpointConfig(TextCnnShape):
    """What inference needs of `config.json`; reading it never imports transformers."""

    labels: list[str]
    problem_type: str
    thresholds: list[float] | None = None  # multi-label: the probability from which on each label applies
    abstention_certainty: str = "lead"
    abstention_threshold: float | None = None
    abstention_unseen_tokens: str | None = None

    @property
    def abstention(self) -> Abstention | None:
        """The rule by which a text gets no answer, if there is one."""
        if self.abstention_threshold is None:
            return None
        unseen = self.abstention_unseen_tokens
        tokens = frozenset() if unseen is None else unpack_tokens(unseen, self.vocab_size)
        return Abstention(self.abstention_certainty, self.abstention_threshold, tokens)


def read_config(folder: Path) -> CheckpointConfig:
    """Configuration of a checkpoint folder; raises `InputError` when it is missing, broken, foreign or too new."""
    _require_folder(folder)
    raw = _read_json(folder / CONFIG)
    if raw.get("model_type") != MODEL_TYPE:
        raise InputError(f"{folder / CONFIG}: model_type must be {MODEL_TYPE!r}, got {raw.get('model_type')!r}")
    version = raw.get("format_version")
    if not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION:
        raise InputError(f"{folder / CONFIG}: format_version must be at most {FORMAT_VERSION}, got {version!r}")
    known = {field.name for field in fields(CheckpointConfig)} - {"labels", "problem_type"}
    try:
        labels = [raw["id2label"][str(index)] for index in range(len(raw["id2label"]))]
        config = CheckpointConfig(
            labels=labels, problem_type=raw["problem_type"], **{key: raw[key] for key in known & raw.keys()}
        )
        config.check()
        check_thresholds(config.thresholds, len(labels))
        check_abstention(
            config.abstention_certainty,
            config.abstention_threshold,
            config.abstention_unseen_tokens,
            config.vocab_size,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / CONFIG}: {_reason(error)}") from error
    if config.problem_type not in PROBLEM_TYPES:
        raise InputError(f"{folder / CONFIG}: problem_type must be one of {PROBLEM_TYPES}, got {config.problem_type!r}")
    return config


def read_network(folder: Path, config: CheckpointConfig) -> TextCnn:
    """The network with its weights, in evaluation mode; raises `InputError` when they are missing, broken or misfit."""
    path = folder / WEIGHTS
    try:
        network = TextCnn(config, len(config.labels))
        # Copies: what is loaded shares its memory with the file, which somebody may overwrite while it serves.
        weights = {name.removeprefix(_WRAPPER): tensor.clone() for name, tensor in load_file(path).items()}
        network.load_state_dict(weights, assign=True)
        if network.bigrams is not None:
            network.bigrams.check()
    except FileNotFoundError as error:  # of one that may not be read too
        if path.exists():
            raise InputError(f"{path} must be readable for user {os.geteuid()}, it is not") from error
        raise InputError(f"checkpoint has no {WEIGHTS}: {str(folder)!r}") from error
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is broken or cut off ({error})") from error
    except RuntimeError as error:
        raise InputError(f"{path} does not fit {CONFIG}: {str(error).splitlines()[-1].strip()}") from error
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    return network.eval().requires_grad_(False)


def read_tokenizer(folder: Path, config: CheckpointConfig) -> Tokenizer:
    """The tokenizer; raises `InputError` when it is missing, broken or has tokens that the network does not know."""
    path = folder / TOKENIZER
    if not path.is_file():
        raise InputError(f"checkpoint has no {TOKENIZER}: {str(folder)!r}")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        raise InputError(f"{path} is broken ({error})") from error
    highest = max(tokenizer.get_vocab().values(), default=0)
    if highest >= config.vocab_size:
        raise InputError(
            f"{path} does not fit {CONFIG}: ids must be less than vocab_size {config.vocab_size}, got {highest}"
        )
    return tokenizer


def read_examples(folder: Path) -> list[str]:
    """A few texts to try the checkpoint with, from metrics.json; none where it has none."""
    try:
        examples = json.loads((folder / METRICS).read_text(encoding="utf-8"))["data"]["examples"]
    except (OSError, ValueError, KeyError, TypeError):  # an answer does not depend on it
        return []
    return [text for text in examples if isinstance(text, str)] if isinstance(examples, list) else []


def _require_folder(path: Path) -> None:
    try:
        found = "is a file" if path.is_file() else "" if path.is_dir() else "does not exist"
    except OSError as error:  # a name that is too long
        found = f"cannot be read ({error.strerror})"
    if found:
        raise InputError(f"checkpoint must be a folder, {str(path)!r} {found}")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"checkpoint has no {path.name}: {str(path.parent)!r}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no readable JSON ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a JSON object, got {type(content).__name__}")
    return content


def _reason(error: Exception) -> str:
    return f"{error} is missing or incomplete" if isinstance(error, KeyError) else str(error)
