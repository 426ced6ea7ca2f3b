"""Messages between an API process and a worker: length-prefixed frames of JSON, never pickle."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from struct import Struct
from typing import Any

from pydantic_core import from_json, to_json

_LENGTH = Struct(">I")


@dataclass(frozen=True)
class Options:
    """What a request wants to know of its texts; the defaults are left out of messages."""

    top_k: int | None = None  # how many scores, the highest; None keeps all
    explain: bool = False  # whether each prediction comes with its evidence
    explain_label: str | None = None  # for this label instead of the best one


@dataclass(frozen=True)
class Task:
    """One pass over `texts`: the first `counts[0]` of them with `options[0]`, and so on for each share."""

    texts: list[str]
    counts: list[int]
    options: list[Options]


@dataclass(frozen=True)
class Answer:
    """What one pass gave: for each share its predictions as JSON, or the error of its first text that failed.

    A fragment holds the elements of a JSON array without its brackets, so that those of several passes can be joined.
    `errors` maps a share to the place of that text in the share and to what is wrong with it. `started` is
    `time.monotonic()`, one clock for every process of the machine.
    """

    started: float
    device: str
    clock: str
    tokenize_ms: float
    inference_ms: float
    batch_size: int
    passes: int
    tokens: list[int]  # of each share's texts
    longest: list[int]  # tokens of the longest of them
    fragments: list[bytes]
    errors: dict[int, tuple[int, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Hello:
    """How a worker introduces itself, once it has answered a real inference."""

    pid: int
    worker: int
    generation: int  # rises each time that the service is told to load checkpoints
    generation_size: int  # workers that take over together with it
    device: str
    model: dict[str, str]  # name, revision
    labels: list[str]
    problem_type: str
    max_length: int
    folded_bytes: int = 0  # of the table that the worker looks answers up in
    examples: list[str] = field(default_factory=list)  # texts to try
    precision: str = "float32"
    windows: dict[str, Any] | None = None  # by which long texts are read; None: they are cut to `max_length`

    def explains(self, label: str | None) -> bool:
        """Whether its evidence may be for that label; None stands for the best one."""
        return label is None or (self.problem_type != "regression" and label in self.labels)


def frame(payload: bytes) -> bytes:
    """`payload` behind its length, ready to be sent."""
    return _LENGTH.pack(len(payload)) + payload


class FrameReader:
    """Cuts a byte stream into the frames' payloads, whatever the chunks in which it arrives."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The payloads that `chunk` completes, in order."""
        self._buffer += chunk
        while len(self._buffer) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._buffer)[0]
            if len(self._buffer) < end:
                return
            payload = bytes(memoryview(self._buffer)[_LENGTH.size : end])
            del self._buffer[:end]
            yield payload


_DEFAULT = Options()


def encode_task(task: Task) -> bytes:
    """A task's payload."""
    return to_json({"texts": task.texts, "counts": task.counts, "options": list(map(_given, task.options))})


def decode_task(payload: bytes) -> Task:
    """The task in `payload`."""
    raw = from_json(payload)
    return Task(raw["texts"], raw["counts"], [Options(**given) if given else _DEFAULT for given in raw["options"]])


def encode_hello(hello: Hello) -> bytes:
    """A hello's payload."""
    return to_json(asdict(hello))


def decode_hello(payload: bytes) -> Hello:
    """The hello in `payload`."""
    return Hello(**from_json(payload))


def encode_answer(answer: Answer) -> bytes:
    """An answer's payload: a frame with the figures, then the fragments, so that nobody parses them again."""
    header: dict[str, Any] = dict(vars(answer))
    header["fragments"] = [len(fragment) for fragment in answer.fragments]
    return frame(to_json(header)) + b"".join(answer.fragments)


def decode_answer(payload: bytes) -> Answer:
    """The answer in `payload`."""
    start = _LENGTH.size + _LENGTH.unpack_from(payload)[0]
    header = from_json(payload[_LENGTH.size : start])
    header["fragments"] = _cut(payload, start, header["fragments"])
    header["errors"] = {int(share): (place, message) for share, (place, message) in header["errors"].items()}
    return Answer(**header)


def _given(options: Options) -> dict[str, Any] | None:
    return None if options == _DEFAULT else vars(options)


def _cut(payload: bytes, start: int, lengths: Sequence[int]) -> list[bytes]:
    fragments = []
    for length in lengths:
        fragments.append(payload[start : start + length])
        start += length
    return fragments
