"""Starting and ending processes the way LitServe does not."""

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

_UNHEARD = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}  # by workers: the API processes tell them when to end


class NoManager:
    """Stands where LitServe closes its queues and the process that held them."""

    def close(self, send_sentinel: bool) -> None:
        """Nothing to close."""

    def shutdown(self) -> None:
        """Nothing to shut down."""


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Processes and threads started inside never get the signals that are meant for the main process."""
    resource_tracker.ensure_running()  # else starting a process starts it first, which unblocks SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _UNHEARD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def kill_children() -> None:
    """End whatever process is still there."""
    for child in multiprocessing.active_children():
        child.kill()
        child.join()
