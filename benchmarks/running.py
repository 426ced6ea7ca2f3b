"""Servers under measurement: started in a process group of their own, paused while another has its turn."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
BENTOML_PINS = ROOT / "benchmarks" / "peers" / "bentoml.txt"
BENTOML_ENVIRONMENT = ROOT / ".venv" / "bentoml"  # of its own: its dependencies are not those of the lock file
START_SECONDS = 120


@dataclass
class Server:
    """A server that answers `POST /predict`; `as_list` where it wants every text in a list.

    PORT in its command or environment stands for the free port that it gets.
    """

    name: str
    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    as_list: bool = False
    address: tuple[str, int] = ("127.0.0.1", 0)
    root: psutil.Process = field(default_factory=psutil.Process)

    def body(self, inputs: str | list[str]) -> bytes:
        """The request for a text or a list of texts."""
        as_given = [inputs] if self.as_list and isinstance(inputs, str) else inputs
        return json.dumps({"inputs": as_given}, ensure_ascii=False).encode()

    @contextmanager
    def running(self) -> Iterator["Server"]:
        """Started and answering; its group is ended afterwards."""
        port = free_port()
        self.address = ("127.0.0.1", port)
        command = [part.replace("PORT", str(port)) for part in self.command]
        places = {name: value.replace("PORT", str(port)) for name, value in self.environment.items()}
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **places}
        with tempfile.TemporaryFile("w+") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )
            self.root = psutil.Process(process.pid)
            try:
                self._wait(process, log)
                yield self
            finally:
                if process.poll() is None:
                    for one in self.processes():  # some have left the group
                        one.kill()
                process.wait()

    def _wait(self, process: "subprocess.Popen[bytes]", log: Any) -> None:
        end = time.monotonic() + START_SECONDS
        url = f"http://127.0.0.1:{self.address[1]}/predict"
        request = urllib.request.Request(url, self.body("warm up"), {"Content-Type": "application/json"})
        while process.poll() is None and time.monotonic() < end:
            with suppress(OSError), urllib.request.urlopen(request, timeout=10) as reply:
                json.load(reply)
                return
            time.sleep(0.1)
        log.seek(0)
        sys.exit(f"error: {self.name} does not answer:\n{log.read()[-2000:]}")

    def terminate(self) -> int:
        """Its exit status after SIGTERM."""
        self.root.terminate()
        return int(self.root.wait(60))

    def pause(self) -> None:
        """Take the processors away from it."""
        for process in self.processes():
            process.suspend()

    def resume(self) -> None:
        """Give them back."""
        for process in self.processes():
            process.resume()

    def processes(self) -> list[psutil.Process]:
        """The process that was started and all that came from it."""
        return [self.root, *self.root.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """Processor time that its processes have used."""
        times = [process.cpu_times() for process in self.processes()]
        return float(sum(one.user + one.system for one in times))

    def memory_mb(self) -> float:
        """Proportional set size of its processes, 10^6 bytes: pages that they share count once."""
        return float(round(sum(process.memory_full_info().pss for process in self.processes()) / 1e6, 1))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def ours(checkpoint: Path, *flags: str) -> Server:
    """The service with its default settings."""
    command = [sys.executable, "-m", "service", "--checkpoint", str(checkpoint), "--port", "PORT", "--device", "cpu"]
    return Server("ours", [*command, *flags])


def peers(checkpoint: Path) -> list[Server]:
    """The peers that run here."""
    names = ("stock_litserve", "fastapi_classifier", "fastapi_pipeline")
    python = [sys.executable, "-m"]
    found = [Server(name, [*python, f"benchmarks.peers.{name}", str(checkpoint), "PORT"]) for name in names]
    bento = [str(bentoml_environment() / "bin" / "python"), "-m", "bentoml", "serve"]
    bento += ["benchmarks.peers.bentoml_service:Classifier", "--port", "PORT"]
    environment = {"CHECKPOINT": str(checkpoint), "BENTOML_DO_NOT_TRACK": "1"}
    return [*found, Server("bentoml", bento, environment, as_list=True)]


def bentoml_environment() -> Path:
    """BentoML in its pinned versions; what it does not pin itself, torch above all, is that of this environment."""
    if not (BENTOML_ENVIRONMENT / "ready").exists():
        venv.create(BENTOML_ENVIRONMENT, with_pip=True, clear=True)
        pip = [str(BENTOML_ENVIRONMENT / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(BENTOML_PINS)], check=True)
        site = next((BENTOML_ENVIRONMENT / "lib").glob("python*/site-packages"))
        libraries = next(path for path in sys.path if path.endswith("site-packages"))
        (site / "beside.pth").write_text(libraries + "\n")
        (BENTOML_ENVIRONMENT / "ready").touch()
    return BENTOML_ENVIRONMENT
