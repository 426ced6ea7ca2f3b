"""The exception that stands for a user's mistake, and the one for a disk that does not take what is written."""


class InputError(ValueError):
    """A mistake in what the user gave: the message is one clear sentence naming the field, the rule and the value."""


class UnwritableError(InputError):
    """A folder that cannot be written: what a user can mend and go on from, whatever the settings."""
