"""The commands of the README, run as they stand there; another port is all that differs."""

import csv
import gzip
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.conftest import labelled_texts
from tests.servers import ROOT, eventually, is_ready

pytestmark = pytest.mark.slow
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```bash\n(.*?)```", flags=re.DOTALL)
INLINE = re.compile(r"`(\.venv/bin/textcnn-[^`]+)`")


def block(heading: str, number: int = 0) -> str:
    """A section's block of commands."""
    found: list[str] = BLOCK.findall(README.split(f"## {heading}\n")[1])
    return found[number].strip()


def inline(start: str) -> list[str]:
    """The commands in the running text that start so."""
    return [command for command in INLINE.findall(README) if command.startswith(f".venv/bin/{start}")]


def run(folder: Path, command: str) -> str:
    """What a command writes to stdout."""
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def served(folder: Path, command: str) -> Iterator[int]:
    """Port of the service that a command starts; `{port}` in it stands for that."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    started = ["bash", "-c", command.format(port=port)]
    with subprocess.Popen(started, cwd=folder, env=environment, start_new_session=True) as process:
        try:
            assert eventually(lambda: is_ready(f"http://127.0.0.1:{port}"), 120)
            yield port
        finally:
            os.killpg(process.pid, signal.SIGTERM)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a user's files, the environment, and the checkpoint that the README trains."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / ".venv").symlink_to(sys.prefix)
    with (folder / "requests.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(labelled_texts() * 4)
    with gzip.open(folder / "texts.csv.gz", "wt", encoding="utf-8") as packed:
        packed.write((folder / "requests.csv").read_text(encoding="utf-8"))
    (folder / "texts.txt").write_text("money back\nthank you\n", encoding="utf-8")
    train, _ = block("Train on your own texts").split("\n")
    run(folder, train)
    for name in ("better", "other"):
        shutil.copytree(folder / "runs" / "mine", folder / "runs" / name)
    return folder


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.skipif(not (ROOT / ".venv" / ".ready").exists(), reason="needs the environment that make brings")
def test_make_serve_answers_what_the_readme_asks(quickstart: Path, tmp_path: Path) -> None:
    for path in ROOT.iterdir():
        if path.name != "runs":
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "quickstart").symlink_to(quickstart)  # what `make serve` trains where there is none
    make, ask = block("Try it: one command"), block("Try it: one command", 1)
    with served(tmp_path, f"{make} PORT={{port}}") as port:
        reply = json.loads(run(tmp_path, ask.replace("8000", str(port))))
    assert [prediction["label"] for prediction in reply["predictions"]] == ["track_order", "invoice"]


def test_both_readmes_give_the_same_commands() -> None:
    chinese = (ROOT / "README.zh.md").read_text(encoding="utf-8")
    for pattern in (BLOCK, INLINE):
        assert pattern.findall(chinese) == pattern.findall(README)


def test_what_is_trained_is_served(place: Path) -> None:
    assert (place / "runs" / "mine" / "report.html").exists()
    _, serve = block("Train on your own texts").split("\n")
    with served(place, f"{serve} --port {{port}}") as port:
        asked = {"inputs": "money back"}
        assert httpx.post(f"http://127.0.0.1:{port}/predict", json=asked).json()["model"]["name"] == "mine"


def test_several_models_are_served(place: Path) -> None:
    (serve,) = inline("textcnn-serve")
    with served(place, f"{serve} --port {{port}}") as port:
        asked = {"inputs": "money back", "model": "next"}
        assert httpx.post(f"http://127.0.0.1:{port}/predict", json=asked).json()["model"]["name"] == "next"


def test_texts_are_classified_in_the_shell(place: Path) -> None:
    lines, rows = inline("textcnn-classify")
    run(place, lines)
    predictions = (place / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["label"] for line in predictions] == ["refund", "praise"]
    run(place, rows)
    with (place / "scored.csv").open(encoding="utf-8", newline="") as file:
        scored = list(csv.DictReader(file))
    assert [row["text"] for row in scored] == [row["text"] for row in labelled_texts() * 4]


def test_reports_are_compared(place: Path) -> None:
    (compare,) = inline("textcnn-report")
    assert run(place, compare)
