"""What every command of ours ends with: an exit status, and one sentence on stderr for a user's mistake.

Imports next to nothing, so that a command which imports the rest within `run` is as quiet on Ctrl-C in the seconds that
this takes as it is later.
"""

import errno
import sys
from collections.abc import Callable

from .errors import InputError

EXIT_MISTAKE = 2  # the user gave something wrong
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
_REFUSED = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP)  # names and rights


def run(command: Callable[[], None]) -> int:
    """Exit status of `command`: 0, or 2 with a sentence on stderr for its `InputError`, or 130 when interrupted.

    A file or folder that the system refuses, for the length of its name or its permissions, is such a mistake too.
    """
    try:
        command()
    except InputError as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return EXIT_MISTAKE
    except OSError as error:
        if error.errno not in _REFUSED or error.filename is None:
            raise
        print(f"error: {str(error.filename)!r} cannot be used ({error.strerror})", file=sys.stderr)
        return EXIT_MISTAKE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0
