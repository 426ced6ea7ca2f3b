"""What several test modules share: tiny data files, checkpoints trained from them once a session, a server, a page."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from playwright.sync_api import Browser, Page

from tests.browser import chromium, page
from tests.servers import ROOT, RunningServer, server

# In a background job SIGINT is ignored, by the programs under test too, which inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
# How long an example takes says something of the machine, not of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Token ids and datasets are cached for this session only; in servers and trainings under test too.
_CACHE = tempfile.TemporaryDirectory(prefix="textcnn-cache-")
os.environ["HF_DATASETS_CACHE"] = _CACHE.name

WORDS = {
    "refund": ["money back", "refund please", "return it", "退款", "wrong charge", "cancel the order"],
    "delivery": ["where is my parcel", "late courier", "track shipment", "快递 到哪里", "not arrived", "delivery date"],
    "praise": ["thank you", "great service", "love it", "非常 满意", "five stars", "well done"],
}
FRAMES = ["{}", "{} !", "hello , {}", "{} today", "i said {}", "{} again", "so {} now", "um {}"]

# Flags of a network that trains in a second and still learns the data above.
TINY = (
    *("--vocab_size", "200", "--embedding_dim", "16", "--num_filters", "8", "--kernel_sizes", "1", "2"),
    *("--num_train_epochs", "8", "--learning_rate", "0.02", "--per_device_train_batch_size", "16", "--device", "cpu"),
    *("--seed", "7", "--disable_tqdm", "true"),
)


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write one JSON object a line."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def labelled_texts() -> list[dict[str, str]]:
    """144 texts of three classes, each told by its words."""
    return [
        {"text": frame.format(words), "label": label}
        for frame in FRAMES
        for label, phrases in WORDS.items()
        for words in phrases
    ]


def multi_labelled_texts() -> list[dict[str, Any]]:
    """Texts with one, two or no label."""
    single = [{"text": row["text"], "labels": [row["label"]]} for row in labelled_texts()]
    double = [
        {"text": f"{refund} and {delivery}", "labels": ["refund", "delivery"]}
        for refund in WORDS["refund"]
        for delivery in WORDS["delivery"]
    ]
    return [*single, *double, {"text": "lorem ipsum", "labels": []}]


def train(folder: Path, rows: Iterable[Mapping[str, Any]], *flags: str, figures: bool = False) -> Path:
    """Checkpoint folder trained by the real command in this process, all rows in training, validation and test.

    Without `figures` those of the report are blank: drawing takes longer than training.
    """
    from training.__main__ import main

    file = write_json_lines(folder / "texts.jsonl", rows)
    files = ["--train_file", str(file), "--validation_file", str(file), "--test_file", str(file)]
    checkpoint = folder / "checkpoint"
    with pytest.MonkeyPatch.context() as patch:
        if not figures:
            patch.setattr("training.report.page.draw", _blank_figures)
        assert main([*files, "--output_dir", str(checkpoint), *TINY, *flags]) == 0
    return checkpoint


def _blank_figures(problem_type: str, *_: Any) -> dict[str, bytes]:
    from training.report.figures import FIGURES

    return dict.fromkeys(FIGURES[problem_type], b"")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a trained single-label checkpoint with the classes refund, delivery and praise."""
    return train(tmp_path_factory.mktemp("single"), labelled_texts(), figures=True)


@pytest.fixture(scope="session")
def multi_label_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a trained multi-label checkpoint with the same classes."""
    return train(tmp_path_factory.mktemp("multi"), multi_labelled_texts())


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the quickstart checkpoint, trained by the command that `make serve` runs."""
    folder = tmp_path_factory.mktemp("runs") / "quickstart"
    config = ("--config", "training/configs/quickstart.yaml")
    command = [sys.executable, "-m", "training", *config, "--output_dir", str(folder), "--device", "cpu"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "Traceback" not in finished.stderr
    assert f"textcnn-serve --checkpoint {folder}" in finished.stdout
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for one module alone: Playwright holds an event loop while it lives."""
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def service(checkpoint: Path) -> Iterator[RunningServer]:
    """A server of `checkpoint`."""
    with server(checkpoint) as running:
        yield running


@pytest.fixture
def opened(browser: Browser, service: RunningServer) -> Iterator[Page]:
    """The page of `service`, fresh."""
    with page(browser, service.url) as found:
        yield found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none."""
    import torch

    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
