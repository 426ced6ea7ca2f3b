"""Command lines made of dataclasses."""

import difflib
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from transformers.hf_argparser import HfArgumentParser

from .errors import InputError


class ArgumentParser(HfArgumentParser):
    """`HfArgumentParser` that never guesses a flag from its prefix and raises `InputError` instead of exiting."""

    def __init__(self, dataclass_types: Sequence[Any], **kwargs: Any) -> None:
        super().__init__(dataclass_types, allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Raise `InputError`; argparse would print the usage and exit."""
        raise InputError(message)

    def parse(self, argv: Sequence[str] | None) -> tuple[Any, ...]:
        """One instance per dataclass; raises `InputError` for an unknown flag or a value of the wrong type."""
        arguments = sys.argv[1:] if argv is None else list(argv)
        _, unknown = self.parse_known_args(arguments)
        if unknown:  # before the values are looked at: what is missing may be what is misspelt
            raise InputError(f"unknown argument {unknown[0]!r}{self._suggestion(unknown[0])}")
        instances: tuple[Any, ...] = self.parse_args_into_dataclasses(arguments, look_for_args_file=False)
        return instances

    def _suggestion(self, argument: str) -> str:
        given, known = argument.split("=")[0], list(self._option_string_actions)
        begun = [option for option in known if option.startswith(given)]
        close = begun or difflib.get_close_matches(given, known, n=1)
        return f"; did you mean {close[0]!r}?" if close else ""
