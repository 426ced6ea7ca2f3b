"""The flags of `textcnn-serve`, and what is checked of them before anything is started."""

import errno
import importlib.metadata
import math
import socket
import subprocess
import sys
from dataclasses import dataclass, field, fields

from model.errors import InputError

# Exits with 1 where there is no driver. Without devices `cuInit` fails, and the count stays 0.
_COUNT_DEVICES = """
import ctypes
driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
print(count.value)
"""

DIALECTS = ("hf", "tei", "vllm", "kserve")


@dataclass
class ServiceArguments:
    """What is served, where, and on which device."""

    checkpoint: list[str] = field(
        metadata={
            "action": "extend",  # of a flag that is given twice too
            "help": "Checkpoint folder, as textcnn-train writes it, or several: NAME=FOLDER NAME=FOLDER ...",
        }
    )
    shadow: str | None = field(
        default=None,
        metadata={"help": "Name of one of them that scores what the others have answered, and never answers."},
    )
    host: str = field(default="127.0.0.1", metadata={"help": "Address or name to listen on; 0.0.0.0 for every one."})
    port: int = field(default=8000, metadata={"help": "TCP port to listen on; 0 picks a free one."})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda or cuda:N."})
    devices: str = field(default="1", metadata={"help": "How many GPUs, from the chosen one on: a number or all."})
    workers_per_device: int = field(default=1, metadata={"help": "Processes that classify, on each device."})
    api_servers: int = field(default=1, metadata={"help": "Processes that speak HTTP."})
    threads: int = field(default=1, metadata={"help": "Torch threads of each worker."})
    cors_origins: list[str] = field(
        default_factory=list, metadata={"help": "Origins whose pages may ask from a browser; none by default."}
    )
    dialects: list[str] = field(
        default_factory=lambda: list(DIALECTS),
        metadata={"help": "Other services' APIs to speak as well: hf, tei, vllm, kserve; none for no other."},
    )
    access_log: bool = field(default=False, metadata={"help": "Write one JSON object a request to stdout."})


@dataclass
class Limits:
    """What is refused, cut or given up."""

    max_batch_size: int = field(default=64, metadata={"help": "Texts in one pass through the network."})
    max_texts: int = field(default=1024, metadata={"help": "Texts in one request; more are refused."})
    max_characters: int = field(default=100_000, metadata={"help": "Characters of one text; more are refused."})
    max_body_bytes: int = field(default=2_097_152, metadata={"help": "Bytes of a request body; more are refused."})
    max_waiting_texts: int = field(
        default=8192, metadata={"help": "Texts accepted and not yet answered, per API process; more are refused."}
    )
    timeout_s: float = field(default=30.0, metadata={"help": "Seconds after which a request is given up."})
    pass_timeout_s: float = field(
        default=10.0, metadata={"help": "Seconds of one pass after which its worker counts as hung and is replaced."}
    )


def check_dialects(names: list[str]) -> list[str]:
    """The dialects to speak; raises `InputError` for one that is not known."""
    for name in names:
        if name not in DIALECTS and names != ["none"]:
            raise InputError(f"dialects must be among {', '.join(DIALECTS)}, or none alone, got {name!r}")
    return [] if names == ["none"] else names


def check_numbers(arguments: ServiceArguments, limits: Limits) -> None:
    """Raise `InputError` for a number out of its range."""
    if not 0 <= arguments.port <= 65535:
        raise InputError(f"port must be from 0 to 65535, got {arguments.port}")
    counts = {name: getattr(arguments, name) for name in ("workers_per_device", "api_servers", "threads")}
    for name, value in (counts | {entry.name: getattr(limits, entry.name) for entry in fields(limits)}).items():
        if not 0 < value < math.inf:
            raise InputError(f"{name} must be a number greater than 0, got {value}")


def choose_devices(device: str, devices: str) -> list[str]:
    """`cpu`, or `cuda:N` and its successors, for what the user wrote; raises `InputError` when there is no such device.

    The driver is asked by another process: this one forks, and a forked CUDA does not work.
    """
    if devices != "all" and not (devices.isdecimal() and int(devices)):
        raise InputError(f"devices must be a number from 1 on or all, got {devices!r}")
    kind, _, number = device.partition(":")
    if device not in ("auto", "cpu") and (
        kind != "cuda" or (number and not number.isdecimal()) or device.endswith(":")
    ):
        raise InputError(f"device must be auto, cpu, cuda or cuda:N, got {device!r}")
    count = 0 if device == "cpu" else _cuda_devices()
    if device == "cpu" or (device == "auto" and not count):
        if devices not in ("1", "all"):
            raise InputError(f"devices must be 1 on a CPU, got {devices}; --workers_per_device starts more workers")
        return ["cpu"]
    first = int(number or 0)
    if first >= count:
        raise InputError(f"device {device!r} does not exist: there are {count} CUDA devices that torch can use here")
    last = count if devices == "all" else first + int(devices)
    if last > count:
        raise InputError(f"devices must be at most {count - first} from cuda:{first} on, got {devices}")
    return [f"cuda:{index}" for index in range(first, last)]


def _cuda_devices() -> int:
    """How many GPUs torch would find, whatever `CUDA_VISIBLE_DEVICES` says: numbers, names, nothing."""
    if importlib.metadata.version("torch").endswith("+cpu"):
        return 0
    asked = subprocess.run([sys.executable, "-c", _COUNT_DEVICES], capture_output=True, check=False)  # noqa: S603
    return int(asked.stdout) if asked.returncode == 0 else 0


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens on `host` and `port`; raises `InputError` when that cannot be."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise InputError(f"host must be an address or a name of this machine, got {host!r}") from error
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of an ended server may linger
    # Every connection inherits it; without it the body of a reply waits 40 ms for the client to acknowledge the head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise InputError(_why_not(error, host, port)) from error
    return listener


def _why_not(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use; stop what listens there or give another --port"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights than this user has; give a --port from 1024 on"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"host must be an address of this machine, got {host!r}"
    return f"cannot listen on {host} port {port}: {error.strerror}"
