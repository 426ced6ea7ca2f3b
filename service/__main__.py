"""`textcnn-serve`, also `python -m service`: from a checkpoint folder to an HTTP service.

Every worker process imports this module again, so it imports the rest only when it runs.
"""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from model.command import run

if TYPE_CHECKING:
    from model.options import InferenceOptions

    from .config import Limits, ServiceArguments
    from .exchange import Observer
    from .passes import Classifier


def main(argv: Sequence[str] | None = None, load: "Callable[..., Classifier] | None" = None) -> int:
    """Serve until a signal; the exit status: 0, 1 for a failure of the service, else as `model.command` has it.

    `load` makes the workers' classifiers, by default `service.worker.load_classifier`.
    """
    statuses = []

    def command() -> None:
        from model.cli import ArgumentParser
        from model.options import InferenceOptions

        from .config import Limits, ServiceArguments

        arguments, limits, options = ArgumentParser([ServiceArguments, Limits, InferenceOptions]).parse(argv)
        statuses.append(serve(arguments, limits, options, _print_at_once, load))

    return run(command) or statuses[0]


def serve(
    arguments: "ServiceArguments",
    limits: "Limits",
    options: "InferenceOptions",
    announce: Callable[[str], None],
    load: "Callable[..., Classifier] | None" = None,
) -> int:
    """Check everything that can be checked beforehand, then serve; raises `InputError` for what is wrong."""
    from .config import bind, check_dialects, check_numbers, choose_devices
    from .log import AccessLog
    from .routes import Keys
    from .served import read_served
    from .server import Server, StartUpError
    from .tracing import Traces, endpoint_is_configured
    from .worker import load_classifier

    check_numbers(arguments, limits)
    arguments.dialects = check_dialects(arguments.dialects)
    served = read_served(arguments.checkpoint, arguments.shadow)
    devices = choose_devices(arguments.device, arguments.devices)
    traced = endpoint_is_configured()
    listener = bind(arguments.host, arguments.port)
    host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    url = f"http://{host}:{listener.getsockname()[1]}"
    names = ", ".join(f"{one.shown} (shadow)" if one.shadow else one.shown for one in served)
    greeting = f"Serving {names} on {url} ({', '.join(devices)})\n{_invitation(url)}"
    keys = Keys(os.environ.get("LIT_SERVER_API_KEY"), os.environ.get("TEXTCNN_ADMIN_KEY"))
    observers: list[Observer] = [AccessLog()] if arguments.access_log else []
    observers += [Traces()] if traced else []
    load = partial(load or load_classifier, options=options)
    server = Server(served, arguments, limits, devices, listener, lambda: announce(greeting), keys, observers, load)
    try:
        return server.serve()
    except StartUpError as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1


def _invitation(url: str) -> str:
    """What to open and what to paste into a shell."""
    body = """'{"inputs": ["where is my parcel?", "我要退款"], "top_k": 2}'"""
    curl = f"curl -s {url}/predict -H 'Content-Type: application/json' -d {body}"
    return f"page: {url}/ui\ntry:  {curl}"


def _print_at_once(sentence: str) -> None:
    with suppress(OSError, UnicodeError):  # of who reads it, or does not; the service is up all the same
        print(sentence, flush=True)


if __name__ == "__main__":
    sys.exit(main())
