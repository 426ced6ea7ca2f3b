"""The one exception that stands for a user's mistake."""


class InputError(ValueError):
    """A mistake in what the user gave: the message is one clear sentence naming the field, the rule and the value."""
