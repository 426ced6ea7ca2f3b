"""What the tests of the service share: a classifier that costs nothing, an application in process, a real server."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, TypeVar

import httpx
from starlette.applications import Starlette

from model.windows import Windows
from service.config import Limits
from service.endpoint import Service
from service.gateway import Gateway, Rendezvous, make_gateway
from service.metrics import Metrics
from service.routes import ENDPOINTS, Keys, install
from service.served import Served
from service.worker import serve

T = TypeVar("T")
POISON = "poison"
ROOT = Path(__file__).parents[1]


@dataclass
class FakePrediction:
    """Says how long the text is."""

    text: str
    evidence: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        scores = {self.text[:20]: 0.75, "other": 0.2, "third": 0.05}
        return {"label": self.text[:20], "score": 0.75, "scores": scores, **self.evidence}


@dataclass
class FakeTiming:
    device: str = "cpu"
    clock: str = "perf_counter"
    tokenize_ms: float = 0.0
    inference_ms: float = 0.0
    batch_size: int = 1
    passes: int = 1
    token_counts: list[int] = field(default_factory=list)


@dataclass
class FakeClassifier:
    """Labels a text with itself; fails on every pass that holds `POISON`; `before` runs in each pass."""

    before: Callable[[Sequence[str]], object] = len
    name: str = "fake"
    revision: str = "sha256:00"
    labels: list[str] = field(default_factory=lambda: ["a", "other", "third"])
    problem_type: str = "single_label_classification"
    max_length: int = 8
    device: str = "cpu"
    folded_bytes: int = 0
    precision: str = "float32"
    windows: Windows | None = None
    examples: list[str] = field(default_factory=lambda: ["try me"])
    passes: list[list[str]] = field(default_factory=list)

    def classify(
        self, texts: Sequence[str], top_k: int | None = None, explained: Mapping[int, str | None] | None = None
    ) -> tuple[list[FakePrediction], FakeTiming]:
        """All of an explained text speaks for its label; a text that says so cannot be explained."""
        self.passes.append(list(texts))
        self.before(texts)
        if POISON in texts:
            raise RuntimeError("this text's content must not be repeated")
        predictions = [FakePrediction(text) for text in texts]
        for index, label in (explained or {}).items():
            text = texts[index]
            if text == "riddle":
                raise RuntimeError("this text's content must not be repeated")
            piece = {"start": 0, "end": len(text), "text": text, "contribution": 1.0 if label is None else 2.0}
            predictions[index].evidence = {"bias": 0.5, "evidence": [piece]}
        return predictions, FakeTiming(batch_size=len(texts), token_counts=[len(text) for text in texts])


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """The result of `scenario`, which must end within ten seconds."""
    return asyncio.run(asyncio.wait_for(scenario, 10))


class Client(httpx.AsyncClient):
    """A client that can also look behind the counter."""

    gateway: Gateway


@asynccontextmanager
async def application(
    classifier: FakeClassifier, limits: Limits | None = None, api_key: str | None = None, **options: Any
) -> AsyncIterator[Client]:
    """A client of the whole service but for LitServe: routes, batcher, real sockets, and a worker in a thread.

    `options` are those of `service.endpoint.Service`, `admin_key` with `reload`, `others` to serve after the first
    classifier, and `shadow`, the name of one of them.
    """
    limits = limits or Limits()
    rendezvous = Rendezvous(1)
    classifiers = [classifier, *options.pop("others", ())]
    shadow = options.pop("shadow", None)
    served = [Served("nowhere", one.name, shadow=one.name == shadow) for one in classifiers]
    metrics = Metrics(
        [kind.route for kind in ENDPOINTS], shadowed=[one.shown for one in served if shadow and not one.shadow]
    )
    gateway = make_gateway(served, 1, limits, metrics)
    workers = [
        threading.Thread(target=_work, args=(one, index, served[index], rendezvous.addresses[0]))
        for index, one in enumerate(classifiers)
    ]
    for worker in workers:
        worker.start()
    app = Starlette()
    keys, reload = Keys(api_key, options.pop("admin_key", None)), options.pop("reload", None)
    install(app, Service(gateway, limits, metrics, api_key, **options), keys, reload)
    async with gateway.listening(rendezvous.listeners[0]):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with Client(transport=transport, base_url="http://service") as client:
            client.gateway = gateway
            yield client
    for worker in workers:
        await asyncio.to_thread(worker.join)
    rendezvous.close()


def _work(classifier: FakeClassifier, index: int, served: Served, address: str) -> None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(address)
    serve(classifier, index, served, [connection])


@dataclass
class RunningServer:
    """`python -m service` in a process of its own."""

    process: "subprocess.Popen[str]"
    url: str
    greeting: str

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.url.removeprefix("http://").split(":")
        return host, int(port)

    @contextmanager
    def connection(self) -> Iterator[HTTPConnection]:
        """A bare connection, for tests that send thousands of requests."""
        connection = HTTPConnection(*self.address, timeout=30)
        try:
            yield connection
        finally:
            connection.close()

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30, **options)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """The exit status after a signal."""
        self.process.send_signal(number)
        return self.process.wait(30)


def eventually(condition: Callable[[], bool], seconds: float = 10) -> bool:
    """Whether `condition` comes true in time; what it looks at gives no signal to wait for."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def is_ready(url: str) -> bool:
    """Whether a service that takes requests answers there."""
    try:
        return httpx.get(f"{url}/ready").status_code == 200
    except httpx.TransportError:
        return False


def group_is_empty(group: int) -> bool:
    """Whether no process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def group_size(group: int) -> int:
    """How many processes it has."""
    found = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(ProcessLookupError):
            found += os.getpgid(int(folder.name)) == group
    return found


def command(*flags: str, module: str = "service") -> list[str]:
    return [sys.executable, "-m", module, *flags]


def ended(*flags: str, module: str = "service", **environment: str) -> "subprocess.CompletedProcess[str]":
    """The service after it has refused to start."""
    return subprocess.run(
        command(*flags, module=module),
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
    )


@contextmanager
def server(checkpoint: Path | str, *flags: str, module: str = "service", **environment: str) -> Iterator[RunningServer]:
    """A real server on a free port; it must end with its group, whatever the test does."""
    process = subprocess.Popen(
        command("--checkpoint", str(checkpoint), "--port", "0", "--device", "cpu", *flags, module=module),
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    try:
        greeting = process.stdout.readline()
        assert greeting.startswith("Serving "), f"the server said {greeting!r} and ended with {process.wait(30)}"
        url = greeting.split(" on ")[1].split(" ")[0]
        assert process.stdout.readline() == f"page: {url}/ui\n"
        assert process.stdout.readline().startswith(f"try:  curl -s {url}/predict ")
        yield RunningServer(process, url, greeting)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
        process.stdout.close()
