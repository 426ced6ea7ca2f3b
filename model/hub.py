"""Checkpoints on the Hugging Face hub: `hf://organisation/name`, or `hf://organisation/name@revision`."""

import re
from pathlib import Path

from .errors import InputError

SCHEME = "hf://"
_NAME = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w.-]+))?")
_DATA = ["*.json", "*.safetensors"]  # the modelling files stay there: our commands run no code of a checkpoint


def local_folder(checkpoint: str) -> str:
    """`checkpoint` itself if it is a folder, else the folder that its files were fetched to, unchanged ones once.

    They lie in Hugging Face's cache (`HF_HOME`); without a connection the files of the last time are taken. Raises
    `InputError` for what is no name, does not exist or cannot be fetched.
    """
    if not checkpoint.startswith(SCHEME):
        return checkpoint
    name = checkpoint.removeprefix(SCHEME)
    match = _NAME.fullmatch(name)
    if match is None:
        raise InputError(f"checkpoint must be a folder or {SCHEME}organisation/name[@revision], got {checkpoint!r}")
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # Errors of the library that it speaks HTTP with come through as they are; which one that is, its version decides.
    transport_error: type[Exception] = HfHubHTTPError.__bases__[0]

    folder = Path(constants.HF_HOME) / "textcnn" / name  # its last part names the model
    try:
        snapshot_download(
            match["repository"], revision=match["revision"], local_dir=folder, allow_patterns=_DATA, etag_timeout=5
        )
    except (OSError, HFValidationError, transport_error) as error:
        raise InputError(f"checkpoint {checkpoint!r} cannot be fetched ({_first_sentence(error)})") from error
    return str(folder)


def _first_sentence(error: Exception) -> str:
    return " ".join(str(error).split("\n\n")[-1].split("\n")[0].split())
