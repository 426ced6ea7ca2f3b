"""A user's mistake, and a disk that does not take what is written: their exceptions, and how a message shows values."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_LISTED = 10  # names in a message
_SHOWN = 60  # characters of each


class InputError(ValueError):
    """A mistake in what the user gave: the message is one clear sentence naming the field, the rule and the value."""


class UnwritableError(InputError):
    """A folder that cannot be written: what a user can mend and go on from, whatever the settings."""


class TableError(ValueError):
    """What keeps a file of rows as a whole from being read."""


def listed(names: Sequence[str]) -> str:
    """Names for a message, which is a sentence however many and long they are.

    >>> listed(["spam", "ham"])
    "'spam', 'ham'"
    """
    return ", ".join([*map(shown, names[:_LISTED]), *(["..."] if len(names) > _LISTED else [])])


def shown(value: object) -> str:
    """A value for a message, cut where it is long."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


@contextmanager
def named(mistake: str) -> Iterator[None]:
    """Raise `InputError` with `mistake` and the reason for whatever a library raises at a file that it cannot read.

    Libraries raise many types there, some of them plain `Exception`.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"{mistake}: {reason}") from error
