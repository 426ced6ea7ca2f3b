"""How the processes of one service tell each other what is not about requests: pipes with one JSON message a frame."""

import asyncio
import multiprocessing
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection

from pydantic_core import from_json, to_json

_LONGEST = 600  # characters of a sentence, 6 bytes each at most: a pipe takes 4096 at once, so that writers never mix


@dataclass(frozen=True)
class Report:
    """What a worker says of its loading: `ready`, or `error` with a sentence where the user can repair it."""

    pid: int
    status: str
    sentence: str = ""


class WorkerReports:
    """The pipe through which all workers report to the main process."""

    def __init__(self) -> None:
        self.reader, writer = multiprocessing.Pipe(duplex=False)
        self.sink = ReportSink(writer)

    def read(self) -> Report:
        """The next report."""
        return Report(**from_json(self.reader.recv_bytes()))


class ReportSink:
    """A worker's end; LitServe writes `sink["predict_0"] = "ready"` to what it takes for a shared dictionary."""

    def __init__(self, writer: "Connection") -> None:
        self._writer = writer

    def __setitem__(self, _: str, status: str) -> None:
        self.write(status)

    def write(self, status: str, sentence: str = "") -> None:
        """Send a report of this process."""
        said = sentence[:_LONGEST].encode(errors="replace").decode()  # the name of a folder may be no Unicode
        self._writer.send_bytes(to_json(asdict(Report(os.getpid(), status, said))))


@dataclass(frozen=True)
class ReloadOutcome:
    """What came of loading a checkpoint: a new `generation` of workers, or the sentence that says why not."""

    generation: int = 0
    sentence: str = ""
    busy: bool = False  # another one is being loaded


class ApiChannel:
    """The pipe between the main process and one API process, which ends when either of them does."""

    def __init__(self) -> None:
        self.main_end, self.api_end = multiprocessing.Pipe()
        self._reload: asyncio.Future[ReloadOutcome] | None = None

    def open_in_api_process(self, main_has_ended: Callable[[], None]) -> None:
        """Listen in the API process, and tell the main process that requests are answered."""
        self._main_has_ended = main_has_ended
        asyncio.get_running_loop().add_reader(self.api_end.fileno(), self._receive)
        self.api_end.send_bytes(to_json({"ready": True}))

    async def reload(self, checkpoint: str | None, place: int | None) -> ReloadOutcome:
        """Have the main process load `checkpoint`, or the present one anew, for one of the models or for all."""
        if self._reload is not None:
            return ReloadOutcome(busy=True)
        self._reload = asyncio.get_running_loop().create_future()
        self.api_end.send_bytes(to_json({"reload": [checkpoint, place]}))
        return await self._reload

    def _receive(self) -> None:
        try:
            outcome = ReloadOutcome(**from_json(self.api_end.recv_bytes()))
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(self.api_end.fileno())
            self._main_has_ended()
            return
        if self._reload is not None:
            if not self._reload.done():  # its client may have gone
                self._reload.set_result(outcome)
            self._reload = None

    def answer(self, outcome: ReloadOutcome) -> None:
        """Tell the API process what came of the reload that it asked for."""
        with suppress(OSError):  # it has ended
            self.main_end.send_bytes(to_json(asdict(outcome)))


def keep_one_end(channels: list[ApiChannel], own: int) -> ApiChannel:
    """In API process `own`: close what the fork has copied, so that the end of the main process is seen."""
    for index, channel in enumerate(channels):
        channel.main_end.close()
        if index != own:
            channel.api_end.close()
    return channels[own]
