"""What a checkpoint-N must have for a training to go on from it."""

import json
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from safetensors import safe_open
from tokenizers import Tokenizer

from model.errors import InputError
from model.files import CONFIG, TOKENIZER, WEIGHTS
from model.network_textcnn import TextCnnShape
from training.output import STATE, best_so_far
from training.preparation import Prepared
from training.subwords import SubwordEmbedding, learnt_ngram_rows

_SAVED_BY_TORCH = ("optimizer.pt", "scheduler.pt")
_MAY_CHANGE = ("dropout", "embedding_dropout")  # of the network


def require_whole(checkpoint: Path) -> None:
    """Raise `InputError` where a file is missing or cut off, as a power cut leaves them: `Trainer` goes on without."""
    random_states = sorted(path.name for path in checkpoint.glob("rng_state*.pth")) or ["rng_state.pth"]
    readers: dict[str, Callable[[Path], object]] = {
        STATE: lambda path: json.loads(path.read_text(encoding="utf-8")),
        CONFIG: lambda path: json.loads(path.read_text(encoding="utf-8")),
        TOKENIZER: lambda path: Tokenizer.from_file(str(path)),
        WEIGHTS: lambda path: safe_open(path, framework="pt"),
        **dict.fromkeys((*_SAVED_BY_TORCH, *random_states), lambda path: zipfile.ZipFile(path).close()),
    }
    for name, read in readers.items():
        try:
            read(checkpoint / name)
        except Exception as error:  # `tokenizers` and `safetensors` have no types of their own for it
            reason = "it is missing" if not (checkpoint / name).exists() else f"it is broken ({error})"
            raise InputError(
                f"resume_from_checkpoint: {str(checkpoint)!r} must hold a whole {name}, {reason}"
            ) from error


def require_best(checkpoint: Path) -> None:
    """Raise `InputError` unless the best epoch so far is there, which may be what is kept in the end."""
    best = best_so_far(checkpoint)
    if best is not None and not best.is_dir():
        raise InputError(
            f"resume_from_checkpoint: {best.name}, the best so far, must lie beside {str(checkpoint)!r}, it does not; "
            "--load_best_model_at_end false goes on without it"
        )


def require_same_network(checkpoint: Path, prepared: Prepared) -> None:
    """Raise `InputError` for another network or tokenizer: the weights of one training make no sense in another."""
    then = json.loads((checkpoint / CONFIG).read_text(encoding="utf-8"))
    now = json.loads(prepared.network.config.to_json_string())
    then["ngram_buckets"] = learnt_ngram_rows(checkpoint / WEIGHTS)
    embedding = prepared.network.network.embedding
    now["ngram_buckets"] = embedding.grams.num_embeddings if isinstance(embedding, SubwordEmbedding) else 0
    foreign = f"resume_from_checkpoint: {str(checkpoint)!r} was trained from other data or settings: "
    shape = [field.name for field in fields(TextCnnShape) if field.name not in _MAY_CHANGE]
    for name in ("problem_type", "id2label", *shape, "ngram_buckets"):
        if then.get(name) != now.get(name):
            raise InputError(f"{foreign}{name} was {then.get(name)!r}, is {now.get(name)!r}")
    both = Tokenizer.from_file(str(checkpoint / TOKENIZER)), prepared.tokenizer.backend_tokenizer
    tokenizer, present = (json.loads(each.to_str()) for each in both)
    if tokenizer != present:
        raise InputError(f"{foreign}its tokenizer is another one")
