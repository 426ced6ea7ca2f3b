"""How a flag is written down: as a field of a dataclass, with its help."""

from dataclasses import field
from typing import Any


def flag(help: str, default: Any = None, **metadata: Any) -> Any:
    """A field of a dataclass that is a flag, with one sentence of help that names the unit."""
    metadata["help"] = help
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)
