"""Prometheus metrics of all processes in one piece of shared memory, made before the processes fork.

Each process writes to a row of its own, so nobody locks; a scrape, whichever API process answers it, adds up the rows.
"""

import mmap
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from .errors import ErrorType
from .exchange import CLIENT_GONE, OTHER_ROUTE, Exchange
from .timing import Latency

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Those of the contract, of the other dialects' errors, and of redirections and ranges of the pages for people.
STATUSES = sorted({200, CLIENT_GONE, 424, 429, 206, 304, 307, 416} | {kind.status for kind in ErrorType})
_SECONDS = (5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_HISTOGRAMS = {
    "queue_seconds": ("From the arrival of an answered request to the start of its first pass", _SECONDS),
    "tokenize_seconds": ("In the tokenizer, summed over the passes of an answered request", _SECONDS),
    "inference_seconds": ("In the network, summed over the passes of an answered request", _SECONDS),
    "request_seconds": ("From the arrival of an answered request to the making of its reply", _SECONDS),
    "pass_texts": ("Texts in a pass through the network", _TEXTS),
}
_SCALARS = {
    "texts_total": ("counter", "Texts of answered requests"),
    "requests_in_flight": ("gauge", "Requests accepted and not replied to"),
    "worker_restarts_total": ("counter", "Workers that were replaced because they ended or hung"),
    "reloads_total": ("counter", "Reloads after which checkpoints were loaded anew or in the place of others"),
    "failed_reloads_total": ("counter", "Reloads that failed, and changed nothing"),
}
_SHADOW_COUNTERS = {  # for each model whose answers are compared with the shadow's
    "shadow_compared_texts_total": "Texts of answered requests that the shadow has scored too",
    "shadow_agreeing_texts_total": "Those of them that the shadow gave the same label",
    "shadow_dropped_texts_total": "Texts of answered requests that the shadow was too busy for, or failed on",
}
_SHADOW_HISTOGRAMS = {
    "shadow_inference_seconds": ("In the shadow's network, summed over the passes of a compared request", _SECONDS),
    "shadow_request_seconds": ("From the reply to a compared request to the shadow's answer", _SECONDS),
}


class Metrics:
    """Counters and histograms of `processes` processes, each of which takes a row with `use_row`.

    `shadowed` are the names of the models whose answers are compared with those of a shadow, if there is one.
    """

    def __init__(self, routes: Sequence[str] = (), processes: int = 1, shadowed: Sequence[str] = ()) -> None:
        self._shadowed = shadowed
        self._histograms = _HISTOGRAMS | (_SHADOW_HISTOGRAMS if shadowed else {})
        self._places: dict[str, int] = {}  # of series in a row
        self._requests: dict[tuple[str, int], int] = {}
        size = 0
        for route in (*routes, OTHER_ROUTE):
            for status in STATUSES:
                self._requests[route, status] = size
                size += 1
        for name in (*_SCALARS, *(_of(name, model) for name in _SHADOW_COUNTERS for model in shadowed)):
            self._places[name] = size
            size += 1
        for name, (_, bounds) in self._histograms.items():
            self._places[name] = size
            size += len(bounds) + 2  # one for each bound, one beyond, the sum
        self._row_size, self._processes, self._row = size, processes, 0
        self._cells = memoryview(mmap.mmap(-1, 8 * size * processes)).cast("d")

    def use_row(self, process: int) -> None:
        """Write to that row from now on; two processes must never share one."""
        self._row = process * self._row_size

    def add(self, name: str, amount: float = 1.0) -> None:
        """Add to one of the counters or gauges."""
        self._cells[self._row + self._places[name]] += amount

    def passed(self, texts: int) -> None:
        """A pass over `texts` texts has ended."""
        self._observe("pass_texts", texts)

    def replied(self, exchange: Exchange) -> None:
        """A request has got its reply."""
        place = self._requests.get((exchange.route, exchange.status))
        if place is None:  # a status that only the framework's routes have
            return
        self._cells[self._row + place] += 1
        latency = exchange.latency
        if exchange.status == 200 and latency.passes:
            self.add("texts_total", exchange.texts)
            self._observe("queue_seconds", latency.queue_us / 1e6)
            self._observe("tokenize_seconds", latency.tokenize_us / 1e6)
            self._observe("inference_seconds", latency.inference_us / 1e6)
            self._observe("request_seconds", latency.total_us / 1e6)

    def compared(self, model: str, texts: int, agreeing: int, latency: Latency) -> None:
        """The shadow has scored the texts of a request that `model` has answered."""
        self.add(_of("shadow_compared_texts_total", model), texts)
        self.add(_of("shadow_agreeing_texts_total", model), agreeing)
        self._observe("shadow_inference_seconds", latency.inference_us / 1e6)
        self._observe("shadow_request_seconds", latency.total_us / 1e6)

    def dropped(self, model: str, texts: int) -> None:
        """The shadow has not scored the texts of a request that `model` has answered."""
        self.add(_of("shadow_dropped_texts_total", model), texts)

    def _observe(self, name: str, value: float) -> None:
        bounds = self._histograms[name][1]
        place = self._row + self._places[name]
        self._cells[place + bisect_left(bounds, value)] += 1
        self._cells[place + len(bounds) + 1] += value

    def exposition(self) -> str:
        """The text format of Prometheus, version 0.0.4, over all processes."""
        return "\n".join(
            (*self._request_lines(), *self._scalar_lines(), *self._shadow_lines(), *self._histogram_lines(), "")
        )

    def _request_lines(self) -> Iterator[str]:
        yield from _head("requests_total", "counter", "Requests replied to; status 499 is a client that hung up")
        for (route, status), place in self._requests.items():
            if count := self._sum(place):
                yield f'textcnn_requests_total{{route="{route}",status="{status}"}} {count:.17g}'

    def _scalar_lines(self) -> Iterator[str]:
        for name, (kind, explanation) in _SCALARS.items():
            yield from _head(name, kind, explanation)
            yield f"textcnn_{name} {self._sum(self._places[name]):.17g}"

    def _shadow_lines(self) -> Iterator[str]:
        for name, explanation in _SHADOW_COUNTERS.items() if self._shadowed else ():
            yield from _head(name, "counter", explanation)
            for series in (_of(name, model) for model in self._shadowed):
                yield f"textcnn_{series} {self._sum(self._places[series]):.17g}"

    def _histogram_lines(self) -> Iterator[str]:
        for name, (explanation, bounds) in self._histograms.items():
            yield from _head(name, "histogram", explanation)
            place, count = self._places[name], 0.0
            for bound in (*bounds, "+Inf"):
                count += self._sum(place)
                place += 1
                yield f'textcnn_{name}_bucket{{le="{bound}"}} {count:.17g}'
            yield f"textcnn_{name}_sum {self._sum(place):.17g}"
            yield f"textcnn_{name}_count {count:.17g}"

    def _sum(self, place: int) -> float:
        return sum(self._cells[row * self._row_size + place] for row in range(self._processes))


def label(value: str) -> str:
    """`value` as it stands between the quotes of a label."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _of(name: str, model: str) -> str:
    return f'{name}{{model="{label(model)}"}}'


def _head(name: str, kind: str, explanation: str) -> tuple[str, str]:
    return f"# HELP textcnn_{name} {explanation}.", f"# TYPE textcnn_{name} {kind}"
