"""The process that classifies.

LitServe starts it, loads the checkpoint through `ClassifierAPI.setup`, and leaves it in `SocketLoop.run`, which sleeps
in the kernel until a task comes and never polls.
"""

import gc
import logging
import os
import selectors
import socket
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, cast

import numpy as np
from litserve import LitAPI
from litserve.loops import LitLoop

from model.command import EXIT_MISTAKE
from model.errors import InputError
from model.options import InferenceOptions

from .channels import ReportSink
from .passes import Classifier, perform
from .served import Served
from .wire import FrameReader, Hello, decode_task, encode_answer, encode_hello, frame

EXIT_FAILURE = 1
_CHUNK = 1 << 18  # bytes read at once
_SHADOW_NICENESS = 10  # a processor that those who answer want gives it a tenth of what it gives them
_logger = logging.getLogger(__name__)


Load = Callable[[str, str, int], Classifier]  # of checkpoint, device and threads


class ClassifierAPI(LitAPI):  # type: ignore[misc]  # LitServe ships no types
    """LitServe's hook into the worker process; `load` makes a classifier of checkpoint, device and threads."""

    def __init__(self, served: Served, threads: int, loop: LitLoop, reports: ReportSink, load: Load) -> None:
        super().__init__(loop=loop)
        self.served = served
        self._threads = threads
        self._reports = reports
        self._load = load

    def setup(self, device: str) -> None:
        """Load the checkpoint and answer a first real inference; a user's mistake is reported and ends the process."""
        if self.served.shadow:
            os.nice(_SHADOW_NICENESS)
        try:
            self.classifier = self._load(self.served.source, device, self._threads)
            check_revision(self.served, self.classifier)
        except InputError as mistake:
            self._reports.write("error", str(mistake))
            raise SystemExit(EXIT_MISTAKE) from None
        except Exception:
            _logger.exception("the checkpoint cannot be loaded")  # LitServe would log it to stdout, and go on
            raise SystemExit(EXIT_FAILURE) from None


class SocketLoop(LitLoop):  # type: ignore[misc]  # LitServe ships no types
    """Answers the tasks of the API processes that listen on `addresses`, until all of them have gone."""

    def __init__(self, addresses: list[str]) -> None:
        super().__init__()
        self._addresses = addresses

    def run(self, lit_api: ClassifierAPI, device: str, worker_id: int, *_: Any) -> None:
        """Serve for as long as there is an API process, then end this worker.

        Signals are blocked: the API processes answer what is in flight, then hang up.
        """
        gc.collect()
        gc.freeze()  # what was loaded stays: no collection walks through it again
        connections = [_connect(address) for address in self._addresses]
        serve(lit_api.classifier, worker_id, lit_api.served, connections)
        raise SystemExit(0)


def check_revision(served: Served, classifier: Classifier) -> None:
    """Raise `InputError` for another revision than the other workers of the generation have: one model, one answer."""
    if served.revision and classifier.revision != served.revision:
        raise InputError(f"checkpoint {served.source!r} must stay what it was when it was loaded, it has changed")


def load_classifier(checkpoint: str, device: str, threads: int, options: InferenceOptions | None = None) -> Classifier:
    """The classifier after a first inference on `threads` threads; raises `InputError` if its scores are no numbers."""
    import torch  # here: the API process imports this module too, and must not pay two seconds for torch

    from model.classifier import TextClassifier
    from model.encoding import use_threads

    torch.set_num_threads(threads)
    use_threads(threads)
    classifier = TextClassifier.from_pretrained(checkpoint, device, **asdict(options or InferenceOptions()))
    outputs, _ = classifier.score(["warm up"])
    if not np.isfinite(outputs).all():
        raise InputError(f"checkpoint {checkpoint!r} must give finite scores, it gives {outputs.tolist()}")
    return cast(Classifier, classifier)


def serve(classifier: Classifier, worker_id: int, served: Served, connections: Sequence[socket.socket]) -> None:
    """Say hello on every connection, then answer every task, until all connections are closed."""
    hello = frame(encode_hello(_hello(classifier, worker_id, served)))
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            connection.sendall(hello)
            selector.register(connection, selectors.EVENT_READ, FrameReader())
        while selector.get_map():
            for key, _ in selector.select():
                connection = cast(socket.socket, key.fileobj)
                if not _answer_waiting(classifier, connection, key.data):
                    selector.unregister(connection)
                    connection.close()


def _answer_waiting(classifier: Classifier, connection: socket.socket, reader: FrameReader) -> bool:
    """Answer the tasks that `connection` holds; False when its API process has gone."""
    try:
        chunk = connection.recv(_CHUNK)
        for payload in reader.feed(chunk):
            connection.sendall(frame(encode_answer(perform(classifier, decode_task(payload)))))
    except ConnectionError:
        return False
    return bool(chunk)


def _hello(classifier: Classifier, worker_id: int, served: Served) -> Hello:
    return Hello(
        os.getpid(),
        worker_id,
        served.generation,
        served.generation_size,
        classifier.device,
        {"name": served.name or classifier.name, "revision": classifier.revision},
        list(classifier.labels),
        classifier.problem_type,
        classifier.max_length,
        classifier.folded_bytes,
        list(classifier.examples),
        classifier.precision,
        _windows(classifier),
    )


def _windows(classifier: Classifier) -> dict[str, Any] | None:
    found = classifier.windows
    return found and {"window": found.window, "stride": found.stride, "pooling": found.pooling}


def _connect(address: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(address)
    return connection
