"""Flags from a YAML file, checked as on the command line."""

import argparse
import difflib
import json
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from model.errors import InputError
from model.rows import first_repeated


def read_config_file(path: Path, parser: argparse.ArgumentParser) -> list[str]:
    """The file's entries as command-line arguments of `parser`; a null entry leaves the default.

    Raises `InputError` for a file that is no mapping, an unknown key (naming the closest known one) or a wrong value.
    """
    arguments: list[str] = []
    for key, value in _read_mapping(path).items():
        action = _find(key, path, parser)
        arguments += [] if value is None else _as_arguments(key, value, action, path)
    try:
        parser.parse_known_args(arguments)
    except InputError as mistake:
        raise InputError(f"{path}: {mistake}") from mistake
    return arguments


def _read_mapping(path: Path) -> dict[Any, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        content, tree = yaml.safe_load(text), yaml.compose(text, yaml.SafeLoader)
    except OSError as error:
        raise InputError(f"config: cannot read {str(path)!r}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: not YAML in UTF-8: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InputError(f"{path}: must hold `key: value` lines, got a {type(content).__name__}")
    if (twice := first_repeated(key.value for key, _ in tree.value)) is not None:  # YAML would keep the last
        lines = [str(key.start_mark.line + 1) for key, _ in tree.value if key.value == twice]
        raise InputError(f"{path}: {twice} must be given once, got it in lines {' and '.join(lines)}")
    return content


def _find(key: object, path: Path, parser: argparse.ArgumentParser) -> argparse.Action:
    known = {option.removeprefix("--"): action for option, action in parser._option_string_actions.items()}
    known = {name: action for name, action in known.items() if action.dest not in ("help", "config")}
    if key in known:
        return known[str(key)]
    close = difflib.get_close_matches(str(key), known, n=1)
    suggestion = f"; did you mean {close[0]!r}?" if close else ""
    raise InputError(f"{path}: unknown key {str(key)!r}{suggestion}")


def _as_arguments(key: str, value: object, action: argparse.Action, path: Path) -> list[str]:
    if not isinstance(value, list):
        return [f"--{key}={_as_text(value, action)}"]
    if action.nargs != "+" or not value:
        raise InputError(
            f"{path}: {key} must be {'a list of values' if action.nargs == '+' else 'one value'}, got {value}"
        )
    return [f"--{key}", *(_as_text(item, action) for item in value)]


def _as_text(value: object, action: argparse.Action) -> str:
    if value is False and "no" in (action.choices or ()):
        return "no"  # YAML reads the bare word as false
    # YAML reads 2024-01-01 as a date, JSON would put a text of it in quotation marks.
    return str(value) if isinstance(value, str | date) else json.dumps(value, default=str)
