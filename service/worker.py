"""The process that classifies.

LitServe starts it, loads the checkpoint through `ClassifierAPI.setup`, and leaves it in `SocketLoop.run`, which sleeps
in the kernel until a task comes and never polls.
"""

import gc
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any, Protocol, cast

from litserve import LitAPI
from litserve.loops import LitLoop
from pydantic_core import to_json

from model.errors import InputError

from .wire import Answer, FrameReader, Hello, Task, decode_task, encode_answer, encode_hello, frame

EXIT_MISTAKE = 2  # the user gave something wrong: a checkpoint or a device
_CHUNK = 1 << 18  # bytes read at once
_logger = logging.getLogger(__name__)


class Prediction(Protocol):
    """What the worker needs of `model.classifier.Prediction`."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON-ready form."""


class Timing(Protocol):
    """What the worker needs of `model.classifier.Timing`."""

    device: str
    clock: str
    tokenize_ms: float
    inference_ms: float
    batch_size: int
    passes: int


class Classifier(Protocol):
    """What the worker needs of `model.classifier.TextClassifier`."""

    name: str
    revision: str
    labels: list[str]
    problem_type: str
    max_length: int
    device: str

    def classify(self, texts: Sequence[str]) -> tuple[Sequence[Prediction], Timing]:
        """Predictions in the texts' order, and what they cost."""


class ClassifierAPI(LitAPI):  # type: ignore[misc]  # LitServe ships no types
    """LitServe's hook into the worker process."""

    def __init__(self, checkpoint: str, threads: int, loop: LitLoop) -> None:
        super().__init__(loop=loop)
        self._checkpoint = checkpoint
        self._threads = threads

    def setup(self, device: str) -> None:
        """Load the checkpoint and answer a first real inference; a user's mistake ends the process with status 2."""
        try:
            self.classifier = load_classifier(self._checkpoint, device, self._threads)
        except InputError as mistake:
            sys.stderr.write(f"error: {mistake}\n")
            raise SystemExit(EXIT_MISTAKE) from None


class SocketLoop(LitLoop):  # type: ignore[misc]  # LitServe ships no types
    """Answers the tasks of the API processes that listen on `addresses`, until all of them have gone."""

    def __init__(self, addresses: list[str]) -> None:
        super().__init__()
        self._addresses = addresses

    def run(self, lit_api: ClassifierAPI, device: str, worker_id: int, *_: Any) -> None:
        """Serve for as long as there is an API process, then end this worker.

        A group's SIGTERM must not take the requests in flight along: the API processes answer them, then hang up.
        """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        gc.collect()
        gc.freeze()  # what was loaded stays: no collection walks through it again
        connections = [_connect(address) for address in self._addresses]
        serve(lit_api.classifier, worker_id, connections)
        raise SystemExit(0)


def load_classifier(checkpoint: str, device: str, threads: int) -> Classifier:
    """The classifier after a first inference on `threads` threads."""
    import torch  # here: the API process imports this module too, and must not pay two seconds for torch

    from model.classifier import TextClassifier

    torch.set_num_threads(threads)
    classifier = TextClassifier.from_pretrained(checkpoint, device)
    classifier.classify(["warm up"])
    return cast(Classifier, classifier)


def serve(classifier: Classifier, worker_id: int, connections: Sequence[socket.socket]) -> None:
    """Say hello on every connection, then answer every task, until all connections are closed."""
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            connection.sendall(frame(encode_hello(_hello(classifier, worker_id))))
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


def perform(classifier: Classifier, task: Task) -> Answer:
    """The answer to `task`; a text that the classifier fails on gets an error, and its neighbours their predictions."""
    started = time.monotonic()
    try:
        predictions, timing = classifier.classify(task.texts)
    except Exception as error:  # noqa: BLE001  # whatever it is, it must stay within the pass that met it
        return _perform_apart(classifier, task, error, started)
    return Answer(
        started,
        timing.device,
        timing.clock,
        timing.tokenize_ms,
        timing.inference_ms,
        timing.batch_size,
        timing.passes,
        [_fragment(prediction, top_k) for prediction, top_k in zip(predictions, task.top_k, strict=True)],
    )


def _perform_apart(classifier: Classifier, task: Task, error: Exception, started: float) -> Answer:
    """Halve the pass until the text that fails stands alone."""
    if len(task.texts) == 1:
        _logger.error("the classifier failed on a text of %d characters: %s", len(task.texts[0]), type(error).__name__)
        sentence = f"the classifier failed on it ({type(error).__name__})"
        return Answer(started, classifier.device, "", 0.0, 0.0, 1, 1, [b""], {0: sentence})
    middle = len(task.texts) // 2
    first = perform(classifier, Task(task.texts[:middle], task.top_k[:middle]))
    second = perform(classifier, Task(task.texts[middle:], task.top_k[middle:]))
    return Answer(
        started,
        first.device,
        first.clock or second.clock,
        first.tokenize_ms + second.tokenize_ms,
        first.inference_ms + second.inference_ms,
        first.batch_size + second.batch_size,
        first.passes + second.passes,
        first.fragments + second.fragments,
        first.errors | {middle + index: sentence for index, sentence in second.errors.items()},
    )


def _fragment(prediction: Prediction, top_k: int | None) -> bytes:
    document = prediction.to_dict()
    if top_k is not None and "scores" in document:
        document["scores"] = dict(list(document["scores"].items())[:top_k])
    return to_json(document)


def _hello(classifier: Classifier, worker_id: int) -> Hello:
    return Hello(
        os.getpid(),
        worker_id,
        classifier.device,
        {"name": classifier.name, "revision": classifier.revision},
        list(classifier.labels),
        classifier.problem_type,
        classifier.max_length,
    )


def _connect(address: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(address)
    return connection
