"""`textcnn-classify --output` interrupted, killed or begun anew: no row is lost or scored twice."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import scoring
from model.classifier import TextClassifier
from model.errors import InputError
from model.prediction import Prediction
from model.resumption import ResumableFile
from tests.checkpoints import TEXTS, write_checkpoint
from tests.scored import ROWS, classify, content_of, read, write
from tests.servers import eventually


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("random"))


@pytest.fixture(scope="module")
def classifier(folder: Path) -> TextClassifier:
    return TextClassifier.from_pretrained(folder, "cpu")


class Interrupted:
    """A classifier during whose n-th call the user presses Ctrl-C."""

    pass_texts = 3

    def __init__(self, classifier: TextClassifier, calls: int, is_parallel: bool) -> None:
        self.revision, self.windows, self.is_parallel = classifier.revision, classifier.windows, is_parallel
        self.precision = classifier.precision
        self._classifier, self._calls = classifier, calls

    def __call__(self, texts: list[str], top_k: int | None) -> list[Prediction]:
        self._calls -= 1
        if self._calls < 0:
            raise KeyboardInterrupt
        return self._classifier(texts, top_k)


@given(
    kind=st.sampled_from(["jsonl", "csv", "csv.gz"]),
    rows=st.integers(1, 30),
    interruptions=st.lists(st.integers(0, 4), max_size=4),
    lost=st.booleans(),
    is_parallel=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_no_interruption_repeats_or_loses_a_row(
    classifier: TextClassifier,
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    rows: int,
    interruptions: list[int],
    lost: bool,
    is_parallel: bool,
) -> None:
    here = tmp_path_factory.mktemp("run")
    source = write(
        here / "in.csv", content_of([{"id": index, "text": TEXTS[index % 6]} for index in range(rows)], ".csv")
    )
    options, target = scoring.ScoringOptions(), here / f"out.{kind}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "BATCH_ROWS", 3)
        for calls in interruptions:
            stopped: Any = Interrupted(classifier, calls, is_parallel)
            try:
                scoring.score_file(stopped, str(source), target, options, print, lambda count: None)
            except KeyboardInterrupt:
                if lost:  # a power cut: written, but not recorded
                    with (here / f"{target.name}.partial").open("ab") as file:
                        file.write(b"half a ro")
                assert not target.exists()
            else:
                break
        if not target.exists():
            scoring.score_file(classifier, str(source), target, options, print, lambda count: None)
    assert [int(row["id"]) for row in read(target)] == list(range(rows))


def test_the_columns_have_their_names_though_an_interruption_followed_bad_rows(
    classifier: TextClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.resumption.COMMIT_SECONDS", 0)
    source = write(tmp_path / "in.csv", b"text,b\n" + b"short\n" * 9 + b"fine,1\nfine too,2\n")
    options, target = scoring.ScoringOptions(on_error="skip"), tmp_path / "out.csv"
    for calls in (3, 0, 9):  # the first one tells the names of the results
        stopped: Any = Interrupted(classifier, calls, is_parallel=True)
        with suppress(KeyboardInterrupt):
            scoring.score_file(stopped, str(source), target, options, lambda sentence: None, lambda count: None)
    assert [row["text"] for row in read(target)] == ["fine", "fine too"]


def test_nothing_recorded_outlives_the_work_it_stands_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.resumption.COMMIT_SECONDS", 0)
    first = ResumableFile(tmp_path / "out", {"input": 1}).__enter__()
    first.write(b"one\n", 5)
    first._file.close()  # and no more: a kill leaves no time to end in order
    with ResumableFile(tmp_path / "out", {"input": 1}) as again:
        assert again.rows == 5
        again.write(b"two\n", 1)
    assert (tmp_path / "out").read_bytes() == b"one\ntwo\n"


def test_a_record_without_its_file_is_of_no_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.resumption.COMMIT_SECONDS", 0)

    def begin(rows: int) -> ResumableFile:
        file = ResumableFile(tmp_path / "out", {"input": 1}).__enter__()
        assert file.rows == rows
        return file

    first = begin(0)
    first.write(b"one\n", 5)
    first._file.close()
    (tmp_path / "out.partial").write_bytes(b"on")  # somebody has cut it off
    begin(0)._file.close()  # and a kill ends this one before its first record
    with ResumableFile(tmp_path / "out", {"input": 1}) as again:
        assert again.rows == 0
        again.write(b"one\n", 5)
    assert (tmp_path / "out").read_bytes() == b"one\n"


@pytest.mark.parametrize("record", [b"", b'{"run": {"inp', b"\0" * 40])
def test_a_record_that_a_power_cut_broke_is_of_no_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: bytes
) -> None:
    monkeypatch.setattr("model.resumption.COMMIT_SECONDS", 0)
    first = ResumableFile(tmp_path / "out", {"input": 1}).__enter__()
    first.write(b"one\n", 5)
    first._file.close()
    (tmp_path / "out.progress").write_bytes(record)
    with ResumableFile(tmp_path / "out", {"input": 1}) as again:
        assert again.rows == 0
        again.write(b"two\n", 5)
    assert (tmp_path / "out").read_bytes() == b"two\n"


def test_a_record_reaches_the_disk_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_disk, fsync, replace = set[int](), os.fsync, Path.replace

    def remember(number: int) -> None:
        on_disk.add(os.fstat(number).st_ino)
        fsync(number)

    def check(path: Path, target: Path) -> Path:
        assert path.stat().st_ino in on_disk
        return replace(path, target)

    monkeypatch.setattr("model.resumption.os.fsync", remember)
    monkeypatch.setattr(Path, "replace", check)
    with ResumableFile(tmp_path / "out", {}, tmp_path / "made_by") as file:
        file.write(b"one\n", 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made_by", "out"]


def test_a_second_process_leaves_alone_what_another_one_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.resumption.COMMIT_SECONDS", 0)
    target = tmp_path / "out"
    with ResumableFile(target, {"input": 1}) as first:
        first.write(b"one\n", 1)
        for run in ({"input": 1}, {"input": 2}):
            with pytest.raises(InputError, match=r"output '.*out' is being written by another process"):
                ResumableFile(target, run).__enter__()
        first.write(b"two\n", 1)
    assert target.read_bytes() == b"one\ntwo\n"


def test_a_second_process_leaves_alone_what_another_one_has_just_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one ends after the second one has opened the file, and before it has the lock."""
    target, lock = tmp_path / "out", fcntl.flock
    first = ResumableFile(target, {}).__enter__()
    first.write(b"one\n", 1)

    def lock_late(file: IO[bytes], how: int) -> None:
        first.__exit__(None, None, None)
        lock(file, how)

    monkeypatch.setattr("model.resumption.fcntl.flock", lock_late)
    with pytest.raises(InputError, match=r"output '.*out' exists; remove it or give another name"):
        ResumableFile(target, {}).__enter__()
    assert target.read_bytes() == b"one\n"


def test_the_lock_holds_until_the_file_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = Path.replace

    def check(path: Path, target: Path) -> Path:
        if path.suffix == ".partial":
            with path.open("ab") as other, pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", check)
    with ResumableFile(tmp_path / "out", {}) as file:
        file.write(b"one\n", 1)
    assert (tmp_path / "out").exists()


def test_a_disk_that_stays_full_is_one_sentence(tmp_path: Path) -> None:
    """Also when what did not fit is tried again at the end."""
    program = """
import resource, sys
from pathlib import Path
from model.errors import InputError
from model.resumption import ResumableFile
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    with ResumableFile(Path(sys.argv[1]), {}) as file:
        file.write(b"x" * 1000, 1)
except InputError as error:
    print(error)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "out")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.stderr == ""
    assert ended.stdout == f"output {str(tmp_path / 'out')!r} cannot be written (File too large)\n"


def test_a_full_disk_costs_nothing_but_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("model.resumption.os.fsync", full)
        sentence = r"output '.*out' cannot be written \(No space left on device\)"
        with pytest.raises(InputError, match=sentence), ResumableFile(tmp_path / "out", {}) as file:
            file.write(b"one\n", 1)
    with ResumableFile(tmp_path / "out", {}) as file:
        assert file.rows == 0
        file.write(b"two\n", 1)
    assert (tmp_path / "out").read_bytes() == b"two\n"


def test_another_input_does_not_continue_what_was_begun(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for content in (b"\xff\n", b"fine\n\xff\n"):  # nothing comes of the first
        source = write(tmp_path / "in.txt", content)
        assert classify(folder, source, tmp_path / "out.jsonl") == 2
        assert f"line {len(content.splitlines())} is not UTF-8" in capsys.readouterr().err
    write(source, b"other\nfine\n")
    assert classify(folder, source, tmp_path / "out.jsonl") == 2
    assert "out.jsonl.partial' was begun with another input; remove it to begin anew" in capsys.readouterr().err
    (tmp_path / "out.jsonl.partial").unlink()
    assert classify(folder, source, tmp_path / "out.jsonl") == 0


def test_a_folder_is_scored_file_by_file_and_continued(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    write(source / "a.csv", content_of(ROWS, ".csv"))
    write(source / "b.txt.gz", b"one\ntwo\n")
    write(source / "c.jsonl", b"no\n")
    write(source / "notes.md", b"# not read\n")
    write(source / "._a.csv", b"what another system keeps beside a.csv")
    assert classify(folder, source, target) == 2
    assert "1 of 3 files are not complete; the first: " in capsys.readouterr().err
    assert sorted(path.name for path in target.iterdir()) == [
        ".runs",
        "a.csv",
        "b.txt.jsonl",
        "c.jsonl.partial",
        "c.jsonl.progress",
    ]
    before = (target / "a.csv").stat().st_mtime_ns
    assert classify(folder, source, target, "--on_error", "skip") == 0
    assert (target / "a.csv").stat().st_mtime_ns == before
    assert len(read(target / "a.csv")) == len(ROWS)


def test_outputs_of_a_folder_are_kept_only_of_the_same_run(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in ("a.csv", "b.csv"):
        write(source / name, content_of(ROWS, ".csv"))
    assert classify(folder, source, target) == 0
    made = (target / "a.csv").read_bytes()
    other = write_checkpoint(tmp_path / "other", num_filters=5)
    capsys.readouterr()
    for checkpoint, flags, changed in ((other, (), "checkpoint"), (folder, ("--top_k", "1"), "top_k")):
        assert classify(checkpoint, source, target, *flags) == 2
        told = capsys.readouterr().err
        assert f"a.csv' was made with another {changed}; remove it or give another --output" in told
        assert "2 of 2 files are not complete" in told
    write(source / "a.csv", content_of(ROWS[:2], ".csv"))
    assert classify(folder, source, target) == 2
    told = capsys.readouterr().err
    assert "a.csv' was made with another input; remove it or give another --output" in told
    assert "b.csv: was complete before" in told
    assert (target / "a.csv").read_bytes() == made
    (target / "a.csv").unlink()
    assert classify(folder, source, target) == 0
    assert len(read(target / "a.csv")) == 2
    (target / ".runs" / "a.csv.json").unlink()
    assert classify(folder, source, target) == 2
    assert "a.csv' exists, and no record says what made it; remove it" in capsys.readouterr().err


def test_a_folder_is_not_its_own_output(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in"
    source.mkdir()
    write(source / "a.csv", content_of(ROWS, ".csv"))
    (tmp_path / "link").symlink_to(source)
    for target in (source, source / ".." / "in", tmp_path / "link"):
        assert classify(folder, source, target) == 2
        assert f"output must be another folder than the input, got '{target}'" in capsys.readouterr().err
    assert [path.name for path in source.iterdir()] == ["a.csv"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_program_is_continued(folder: Path, tmp_path: Path, number: signal.Signals) -> None:
    rows = 150_000
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    write(source, content_of([{"id": index, "text": TEXTS[index % 6] * 3} for index in range(rows)], ".csv"))
    command = [
        sys.executable,
        "-m",
        "model",
        "--checkpoint",
        str(folder),
        "--input",
        str(source),
        "--output",
        str(target),
    ]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "out.csv.progress").exists():
        assert running.poll() is None, running.stderr and running.stderr.read()
        time.sleep(0.01)
    running.send_signal(number)
    assert running.wait(30) != 0
    running.communicate()
    assert not target.exists()
    begun = json.loads((tmp_path / "out.csv.progress").read_text())["rows"]
    assert 0 < begun < rows
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert f"{rows - begun:,} texts in" in finished.stderr
    assert [int(row["id"]) for row in read(target)] == list(range(rows))


def kill_a_worker_in_the_middle(target: Path) -> Path:
    """End a process that has recorded a part of a long file and goes on with it; that file."""

    def begun() -> list[Path]:
        return list(target.glob("[01].csv.progress"))

    assert eventually(lambda: begun() != [], 60)
    file = begun()[0].with_suffix(".partial")
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if str(file) in [opened.path for opened in process.open_files()]:
                process.kill()
                return target / file.stem
    raise AssertionError(f"nobody writes to {file}")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Ray about itself
def test_two_workers_of_a_ray_cluster_score_a_folder_though_one_is_killed(
    folder: Path, classifier: TextClassifier, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ray = pytest.importorskip("ray", reason="needs ray: pip install 'textcnn-service[ray]'")
    rows, source, target = 150_000, tmp_path / "in", tmp_path / "out"
    source.mkdir()
    target.mkdir()
    many = content_of([{"id": index, "text": TEXTS[index % 6] * 3} for index in range(rows)], ".csv")
    for name, content in {"0.csv": many, "1.csv": many, "2.csv": content_of(ROWS, ".csv")}.items():
        write(source / name, content)
    write(source / "bad.jsonl", b'{"text": "fine"}\nno\n')
    ray.init(num_cpus=2, include_dashboard=False)
    try:
        with ThreadPoolExecutor(1) as beside:
            killed = beside.submit(kill_a_worker_in_the_middle, target)
            assert classify(folder, source, target, "--ray", "true") == 2
    finally:
        ray.shutdown()
    told = capsys.readouterr().err
    assert "bad.jsonl: line 2 is no JSON" in told
    continued = re.search(rf"{killed.result()}: ([0-9,]+) texts", told)
    assert continued
    assert int(continued[1].replace(",", "")) < rows  # the rest, by another worker
    for name in ("0.csv", "1.csv"):
        assert [int(row["id"]) for row in read(target / name)] == list(range(rows))
    found = [row["predicted_label"] for row in read(target / "2.csv")]
    assert found == [prediction.label for prediction in classifier([row["text"] for row in ROWS])]
