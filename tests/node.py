"""What tests take from npm: the packages of tests/package.json, installed when the first of them is asked for."""

import shutil
import subprocess
from pathlib import Path

import pytest

_FOLDER = Path(__file__).parent


def node_module(name: str) -> Path:
    """Folder of an installed package; skips the test where npm cannot bring it."""
    folder = _FOLDER / "node_modules" / name
    if not folder.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip(f"needs npm, for {name}")
        command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        if subprocess.run(command, cwd=_FOLDER, capture_output=True, check=False).returncode != 0:
            pytest.skip(f"needs a registry of npm packages, for {name}")
    return folder
