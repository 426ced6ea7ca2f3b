"""Which checkpoints are served, and by which names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from model.errors import InputError
from model.files import revision
from model.hub import local_folder

_NAME = re.compile(r"[\w.-]+")


@dataclass(frozen=True)
class Served:
    """One of the checkpoints that a service holds."""

    folder: str
    name: str | None = None  # None: that of its folder, whichever folder takes its place
    generation: int = 0  # rises each time that the service is told to load checkpoints
    generation_size: int = 0  # workers of that generation; the first one counts none
    shadow: bool = False  # scores what the others have answered, and never answers
    source: str = ""  # the folder that the workers of the generation load, wherever a link leads later
    revision: str = ""  # what it held when the first of them was started; none where it could not be read

    @property
    def shown(self) -> str:
        """The name that requests know it by."""
        return self.name or Path(self.folder).resolve().name

    def pinned(self) -> "Served":
        """For a new generation: what the folder holds at present."""
        source = self.folder
        try:
            source = str(Path(source).resolve())
            return replace(self, source=source, revision=revision(Path(source)))
        except (OSError, RuntimeError, ValueError):  # a worker says what is wrong; of links in a circle, of bad names
            return replace(self, source=source, revision="")


def read_served(entries: Sequence[str], shadow: str | None = None) -> list[Served]:
    """What `--checkpoint` names, each FOLDER or NAME=FOLDER; a folder alone follows its name, others keep theirs.

    Raises `InputError` for a folder that holds no checkpoint (the workers check it in depth), for a name given twice,
    and for a `shadow` that is none of those after the first.
    """
    served = [_read(entry) for entry in entries]
    if len(served) > 1:
        served = [Served(one.folder, one.shown, shadow=one.shown == shadow) for one in served]
    names = [one.shown for one in served]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"checkpoint names must differ, got {name!r} twice; write --checkpoint NAME=FOLDER ...")
    if shadow is not None and shadow not in names[1:]:
        raise InputError(f"shadow must be the name of a checkpoint after the first, which answers, got {shadow!r}")
    return served


def _read(entry: str) -> Served:
    name, equals, folder = entry.partition("=")
    named = bool(equals and _NAME.fullmatch(name)) and not Path(entry).is_dir()  # a folder may be called "rate=0.1"
    folder = local_folder(folder if named else entry)
    path = Path(folder)
    if not folder or not path.is_dir():
        raise InputError(f"checkpoint folder does not exist: {folder!r}")
    if not (path / "config.json").is_file():
        raise InputError(f"checkpoint has no config.json: {folder!r}")
    return Served(folder, name if named else None)
