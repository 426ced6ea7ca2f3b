"""Where a benchmark's figures come from: machine, versions, threads."""

import platform
import shlex
import sys
from pathlib import Path
from typing import Any

import torch


def describe(command: str | None = None) -> dict[str, Any]:
    """The command, as it was given unless one is named, and what it ran on, for the head of a result file."""
    return {
        "command": shlex.join(["python", *sys.orig_argv[1:]]) if command is None else command,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else _processor(),
        "torch_threads": torch.get_num_threads(),
    }


def _processor() -> str:
    """Model name of the CPU, where the system tells it."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.machine()
