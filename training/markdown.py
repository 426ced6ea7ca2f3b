"""Markdown that people read as text, too."""

from typing import Any


def table(head: list[str], rows: list[tuple[Any, ...]]) -> str:
    """A table; what would break a cell is taken out of it."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())
