"""A training that is killed at any moment leaves whole checkpoints or none, and can be resumed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from model.checkpoint import read_config
from model.errors import InputError
from tests.conftest import TINY, labelled_texts, write_json_lines
from training.__main__ import main
from training.trainer import TextCnnTrainer

pytestmark = pytest.mark.slow

STEPS = ("--save_strategy", "steps", "--eval_strategy", "steps")


def command(folder: Path, output: Path, *flags: str) -> list[str]:
    file = write_json_lines(folder / "texts.jsonl", labelled_texts())
    files = ["--train_file", str(file), "--validation_file", str(file), "--output_dir", str(output)]
    return [*files, *TINY, "--num_train_epochs", "400", "--early_stopping_patience", "0", *flags]


def checkpoints(output: Path) -> list[Path]:
    return [path for path in output.glob("checkpoint-*") if path.is_dir()]


def is_complete(checkpoint: Path) -> bool:
    return (checkpoint / "trainer_state.json").is_file()


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("delay", [0, 0.01, 0.03])
def test_a_training_killed_while_it_writes_leaves_no_half_written_checkpoint(tmp_path: Path, delay: float) -> None:
    output = tmp_path / "output"
    # A larger network, so that writing takes long enough to be hit.
    flags = command(tmp_path, output, "--embedding_dim", "2000", "--num_filters", "1000")
    with subprocess.Popen([sys.executable, "-m", "training", *flags], stderr=subprocess.PIPE) as training:
        wait_for(lambda: any(map(is_complete, checkpoints(output))))
        wait_for(lambda: not all(map(is_complete, output.rglob("checkpoint-*"))))
        time.sleep(delay)
        training.kill()
    assert training.returncode == -signal.SIGKILL
    found = checkpoints(output)
    assert found
    for checkpoint in found:
        assert load_file(checkpoint / "model.safetensors")
        state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        assert state["global_step"] == int(checkpoint.name.rpartition("-")[2])
    with pytest.raises(InputError, match=r"has no config\.json"):
        read_config(output)
    assert {path.name for path in output.iterdir()} - {path.name for path in found} <= {".writing-checkpoint"}


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("--optim", "adadelta", "--max_norm", "3", "--sampler", "weighted", "--bf16"),
        ("--sparse_embedding", "on", "--sampler", "length_grouped", "--save_steps", "7", "--eval_steps", "7", *STEPS),
    ],
    ids=["plain", "adadelta", "sparse"],
)
def test_kill_resume_and_finish(tmp_path: Path, settings: tuple[str, ...]) -> None:
    output = tmp_path / "output"
    flags = command(tmp_path, output, "--num_train_epochs", "12", *settings)
    with subprocess.Popen([sys.executable, "-m", "training", *flags], stderr=subprocess.PIPE) as training:
        wait_for(lambda: len(checkpoints(output)) >= 2)
        training.kill()
    assert main([*flags, "--resume_from_checkpoint", "true"]) == 0
    assert read_config(output).labels == ["delivery", "praise", "refund"]
    assert not checkpoints(output)
    uninterrupted = tmp_path / "uninterrupted"
    assert main(command(tmp_path, uninterrupted, "--num_train_epochs", "12", *settings)) == 0
    assert (output / "model.safetensors").read_bytes() == (uninterrupted / "model.safetensors").read_bytes()


def test_a_killed_search_goes_on_with_its_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "output"
    flags = command(tmp_path, output, "--num_train_epochs", "12")
    trials = output / ".writing-search" / "trials.json"

    def known() -> Any:
        return json.loads(trials.read_text(encoding="utf-8"))

    with subprocess.Popen(
        [sys.executable, "-m", "training", *flags, "--autotune_minutes", "9"], stderr=subprocess.PIPE
    ) as training:
        wait_for(lambda: trials.is_file() and len(known()["trials"]) >= 2)
        wait_for(lambda: any(map(is_complete, checkpoints(trials.parent / "trial-2"))))
        training.kill()
    killed = known()
    minutes = (killed["seconds"] + 0.1) / 60  # of which a moment is left
    went_on: list[Any] = []
    train = TextCnnTrainer.train

    def spy(trainer: TextCnnTrainer, resume_from_checkpoint: str | None) -> Any:
        went_on.append(resume_from_checkpoint)
        return train(trainer, resume_from_checkpoint=resume_from_checkpoint)

    monkeypatch.setattr(TextCnnTrainer, "train", spy)
    command_again = [*flags, "--autotune_minutes", str(minutes)]
    assert main(command_again) == 2  # the folder is not empty
    assert main([*command_again, "--resume_from_checkpoint", "true"]) == 0
    assert len(went_on) == 1  # no trial was repeated, and no other begun past the budget
    assert Path(went_on[0]).parent == trials.parent / "trial-2"
    report = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    assert report["autotune"][:2] == killed["trials"]
    assert [trial["trial"] for trial in report["autotune"]] == [0, 1, 2]
    assert report["validation"]["accuracy"] == max(trial["accuracy"] for trial in report["autotune"])
    assert read_config(output).labels == ["delivery", "praise", "refund"]
    assert not [path for path in output.iterdir() if path.name.startswith(".") or path.is_dir()]


def test_interrupting_is_quiet_and_can_be_resumed(tmp_path: Path) -> None:
    output = tmp_path / "output"
    with subprocess.Popen(
        [sys.executable, "-m", "training", *command(tmp_path, output)],
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        text=True,
    ) as training:
        wait_for(lambda: bool(checkpoints(output)))
        training.send_signal(signal.SIGINT)
        _, err = training.communicate(timeout=60)
    assert training.returncode == 130
    assert "Traceback" not in err
    assert not (output / "config.json").exists()


def test_the_command_speaks_only_of_what_matters(tmp_path: Path) -> None:
    file = write_json_lines(tmp_path / "texts.jsonl", labelled_texts())
    flags = ["--train_file", str(file), "--output_dir", str(tmp_path / "out"), *TINY]
    done = subprocess.run([sys.executable, "-m", "training", *flags], capture_output=True, text=True, check=True)
    *notes, linear = done.stderr.splitlines()
    assert notes == [
        "no validation rows given: 14 of the 144 training rows held out",
        "max_length 16 tokens cuts 0.0 % of the training texts",
    ]
    assert re.fullmatch(r"the linear part weighs \d+ %", linear)
    assert done.stdout.splitlines()[0].split() == ["texts", "accuracy", "f1_macro", "loss"]


@pytest.mark.parametrize(
    ("place", "method", "limit", "what"),
    [
        ("training.trainer.TextCnnTrainer", "_save_checkpoint", 4096, "checkpoint-18"),
        ("training.trainer.TextCnnTrainer", "log", 1, "the logs"),
        ("training.run", "save_checkpoint", 4096, "the checkpoint"),
    ],
    ids=["checkpoint", "logs", "end"],
)
def test_a_full_disk_is_one_sentence_and_keeps_the_last_checkpoint(
    tmp_path: Path, place: str, method: str, limit: int, what: str
) -> None:
    """Files of more than so many bytes cannot be written: the limit strikes once the first checkpoint is there."""
    output = tmp_path / "output"
    flags = command(tmp_path, output, "--embedding_dim", "300", "--num_train_epochs", "3")
    program = (
        "import pydoc, resource, signal, sys\n"
        "from pathlib import Path\n"
        "from training.__main__ import main\n"
        "import training.run\n"
        f"place, output = pydoc.locate({place!r}), Path({str(output)!r})\n"
        f"write = place.{method}\n"
        "def full(*arguments, **options):\n"
        "    if any(output.glob('checkpoint-*')):\n"
        f"        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))\n"
        "    return write(*arguments, **options)\n"
        f"place.{method} = full\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *flags], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    error = done.stderr.splitlines()[-1]
    assert error.startswith(f"error: output_dir: cannot write {what} in '{output}': ")
    left = output / error.rpartition("--resume_from_checkpoint true goes on from ")[2]
    assert is_complete(left)
    assert load_file(left / "model.safetensors")
    assert not (output / "config.json").exists()
    assert main([*flags, "--resume_from_checkpoint", "true"]) == 0
