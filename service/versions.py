"""Versions of what runs."""

import importlib.metadata
from functools import cache


@cache
def version(distribution: str) -> str:
    """That of an installed distribution, "unknown" of one that is not: this one may run from its source tree."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
