"""The output folder: what is refused, what is deleted and, above all, what is not."""

import errno
import json
import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from model.errors import InputError, UnwritableError
from tests.conftest import TINY, labelled_texts, write_json_lines
from training.__main__ import main
from training.output import OutputFolder, best_so_far


def fill(folder: Path, *names: str, model_type: str = "textcnn") -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"model_type": model_type}) if path.name == "config.json" else "content")
    return folder


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


FINISHED = (
    *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md", "metrics.json"),
    *("report.html", "report.json", "predictions.parquet", "report-curves.png"),
)
MODELLING = ("modeling_textcnn.py", "configuration_textcnn.py", "network_textcnn.py", "bigrams_textcnn.py")


@pytest.mark.parametrize("overwrite", [False, True])
def test_absent_and_empty_folders_are_fine(tmp_path: Path, overwrite: bool) -> None:
    for path in (tmp_path, tmp_path / "a" / "b"):
        folder = OutputFolder.checked(path, overwrite, None)
        folder.begin()
        assert path.is_dir()
    assert not OutputFolder.checked(tmp_path / "absent", False, "false").path.exists()  # checking creates nothing


def test_non_empty_folder_needs_a_flag(tmp_path: Path) -> None:
    fill(tmp_path, *FINISHED)
    with pytest.raises(InputError, match=r"is not empty; --overwrite_output_dir replaces an earlier training$"):
        OutputFolder.checked(tmp_path, False, None)
    assert names(tmp_path) == set(FINISHED)


@pytest.mark.parametrize(
    ("begun", "searches"), [("checkpoint-7/trainer_state.json", False), (".writing-search/trials.json", True)]
)
def test_only_what_was_begun_can_be_gone_on_with(tmp_path: Path, begun: str, searches: bool) -> None:
    fill(tmp_path, *FINISHED, begun)
    with pytest.raises(InputError, match=r"an earlier training, --resume_from_checkpoint true goes on with it$"):
        OutputFolder.checked(tmp_path, False, None, searches)
    with pytest.raises(InputError, match=r"replaces an earlier training$"):
        OutputFolder.checked(tmp_path, False, None, not searches)


def test_overwriting_deletes_only_when_training_begins(tmp_path: Path) -> None:
    fill(tmp_path, *FINISHED, *MODELLING, "checkpoint-7/trainer_state.json", ".writing-x/model.safetensors")
    before = names(tmp_path)
    folder = OutputFolder.checked(tmp_path, True, None)
    assert names(tmp_path) == before
    folder.begin()
    assert names(tmp_path) == set()


@pytest.mark.parametrize("foreign", ["notes.txt", "checkpoint-7b/x", "src/config.json", "train.py", ".git/HEAD"])
def test_a_folder_with_foreign_files_is_never_touched(tmp_path: Path, foreign: str) -> None:
    fill(tmp_path, *FINISHED, foreign)
    before = names(tmp_path)
    with pytest.raises(InputError, match=r"holds '.*', which no training wrote"):
        OutputFolder.checked(tmp_path, True, None)
    assert names(tmp_path) == before


@pytest.mark.parametrize("present", [("README.md",), ("model.safetensors", "config.json"), ("tokenizer.json",)])
def test_a_folder_that_only_looks_alike_is_never_touched(tmp_path: Path, present: tuple[str, ...]) -> None:
    fill(tmp_path, *present, model_type="bert")
    with pytest.raises(InputError, match="holds no earlier training"):
        OutputFolder.checked(tmp_path, True, None)


def test_a_checkpoint_of_another_kind_does_not_make_a_folder_ours(tmp_path: Path) -> None:
    fill(tmp_path, "config.json", "README.md", "checkpoint-500/adapter.safetensors", model_type="bert")
    with pytest.raises(InputError, match="holds no earlier training"):
        OutputFolder.checked(tmp_path, True, None)
    (tmp_path / "config.json").unlink()  # a training that was killed has none yet
    with pytest.raises(InputError, match="holds no earlier training"):
        OutputFolder.checked(tmp_path, True, None)
    fill(tmp_path, "checkpoint-500/config.json")
    OutputFolder.checked(tmp_path, True, None).begin()
    assert names(tmp_path) == set()


def test_a_folder_that_another_training_goes_on_in_is_not_its_own(tmp_path: Path) -> None:
    begun = fill(tmp_path / "begun", "checkpoint-9/trainer_state.json")
    other = fill(tmp_path / "other", *FINISHED, "checkpoint-9/config.json")
    with pytest.raises(InputError, match="is not empty"):
        OutputFolder.checked(other, False, str(begun / "checkpoint-9"))
    fill(other, "notes.txt")
    with pytest.raises(InputError, match=r"holds 'notes.txt', which no training wrote"):
        OutputFolder.checked(other, True, str(begun / "checkpoint-9"))
    (other / "notes.txt").unlink()
    OutputFolder.checked(other, True, str(begun / "checkpoint-9")).begin()
    assert (names(begun), names(other)) == ({"checkpoint-9/trainer_state.json"}, set())


def test_resuming_keeps_earlier_checkpoints_and_foreign_files(tmp_path: Path) -> None:
    states = ("checkpoint-9/trainer_state.json", "checkpoint-10/trainer_state.json")
    fill(tmp_path, *FINISHED, *states, "checkpoint-11/model.safetensors", "notes.txt", ".writing-checkpoint/x")
    folder = OutputFolder.checked(tmp_path, False, "true")
    assert folder.resume_from == tmp_path / "checkpoint-10"  # the last complete one, by number
    folder.begin()
    assert names(tmp_path) == {*states, "notes.txt"}


def test_resuming_from_an_earlier_checkpoint_deletes_those_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = [f"out/checkpoint-{number}/trainer_state.json" for number in (2, 9, 10, 11)]
    fill(tmp_path, *states)
    monkeypatch.chdir(tmp_path)
    folder = OutputFolder.checked(Path("out"), False, str(tmp_path / "out" / "checkpoint-9"))
    assert folder.resume_from == Path("out/checkpoint-9")  # spelt as the folder is
    folder.begin()
    assert names(tmp_path) == set(states[:2])


def test_the_best_checkpoint_is_beside_the_last_or_where_it_was(tmp_path: Path) -> None:
    old, new = tmp_path / "old" / "checkpoint-3", fill(tmp_path / "new" / "checkpoint-8", "weights")
    for recorded in (None, str(old)):
        (new / "trainer_state.json").write_text(json.dumps({"best_model_checkpoint": recorded}), encoding="utf-8")
        assert best_so_far(new) == (recorded and new.with_name("checkpoint-3"))
    fill(old, "weights")  # of a training that went on in another folder
    assert best_so_far(new) == old
    fill(new.with_name("checkpoint-3"), "weights")
    assert best_so_far(new) == new.with_name("checkpoint-3")


def test_resuming_from_a_folder_elsewhere(tmp_path: Path) -> None:
    fill(tmp_path, "old/checkpoint-3/trainer_state.json")
    folder = OutputFolder.checked(tmp_path / "new", False, str(tmp_path / "old" / "checkpoint-3"))
    assert folder.resume_from == tmp_path / "old" / "checkpoint-3"


@pytest.mark.parametrize("resume", ["true", "nowhere"])
def test_nothing_to_resume_from(tmp_path: Path, resume: str) -> None:
    with pytest.raises(InputError, match="resume_from_checkpoint"):
        OutputFolder.checked(tmp_path, False, resume)


def test_finishing_deletes_what_only_resuming_needs(tmp_path: Path) -> None:
    fill(tmp_path, *FINISHED, "checkpoint-7/trainer_state.json", ".writing-checkpoint/x")
    OutputFolder(tmp_path).finish(keep_checkpoints=True)
    assert names(tmp_path) == {*FINISHED, "checkpoint-7/trainer_state.json"}
    OutputFolder(tmp_path).finish(keep_checkpoints=False)
    assert names(tmp_path) == set(FINISHED)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("No space left on device"),
        RuntimeError("[enforce fail] PytorchStreamWriter failed: No space left on device\nmore"),
        Exception("No space left on device (os error 28)"),  # of the tokenizer's own writer
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_full_disk_is_told_with_what_is_left(tmp_path: Path, error: Exception) -> None:
    fill(tmp_path, "checkpoint-7/trainer_state.json", ".writing-checkpoint/checkpoint-8/half")
    with pytest.raises(UnwritableError) as caught, OutputFolder(tmp_path).writing("checkpoint-8"):
        raise error
    assert str(caught.value).startswith(f"output_dir: cannot write checkpoint-8 in '{tmp_path}': ")
    assert str(caught.value).endswith(
        "No space left on device; --resume_from_checkpoint true goes on from checkpoint-7"
    )
    assert names(tmp_path) == {"checkpoint-7/trainer_state.json"}


_POSITION = "[enforce fail at inline_container.cc:672] . unexpected pos 500352 vs 500240"


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (f"{_POSITION}\nmore", f"the disk is full or broken ({_POSITION})"),
        ("basic_ios::clear: iostream error", "the disk is full or broken (basic_ios::clear: iostream error)"),
        ("Input/output error (os error 5)", "Input/output error"),
    ],
)
def test_what_a_writer_says_of_a_disk_is_told(tmp_path: Path, message: str, told: str) -> None:
    with pytest.raises(UnwritableError) as caught, OutputFolder(tmp_path).writing("checkpoint-8"):
        raise RuntimeError(message)
    assert str(caught.value) == f"output_dir: cannot write checkpoint-8 in '{tmp_path}': {told}"


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA out of memory"), InputError("optim: x (os error 5)"), OSError("no network")]
)
def test_what_is_of_no_disk_is_raised_as_it_is(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as caught, OutputFolder(tmp_path).writing("anything"):
        raise error
    assert caught.value is error


def test_a_folder_without_the_right_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != tmp_path)  # root may write everywhere
    with pytest.raises(InputError, match=rf"output_dir: no right to write in '{tmp_path}'"):
        OutputFolder.checked(tmp_path / "a" / "b", False, None)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs Linux' /proc, where nobody can create a folder")
def test_a_folder_that_cannot_be_created(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_json_lines(tmp_path / "texts.jsonl", labelled_texts())
    assert main(["--train_file", str(file), "--output_dir", "/proc/none", *TINY]) == 2
    assert "error: output_dir: cannot write anything in '/proc/none': No such file" in capsys.readouterr().err


@pytest.mark.parametrize("inner", ["", "deeper"])
def test_a_file_in_the_place_of_the_folder(tmp_path: Path, inner: str) -> None:
    fill(tmp_path, "file")
    with pytest.raises(InputError, match=r"output_dir must be a folder, but '.*file' is a file"):
        OutputFolder.checked(tmp_path / "file" / inner, True, None)


def test_a_link_is_removed_without_its_target(tmp_path: Path) -> None:
    kept = fill(tmp_path / "elsewhere", "weights")
    output = fill(tmp_path / "output", "config.json")
    (output / "checkpoint-1").symlink_to(kept)
    OutputFolder.checked(output, True, None).begin()
    assert names(kept) == {"weights"}
    assert not list(output.iterdir())
