"""`textcnn-classify --output`: every kind of file, rows kept, interruptions survived, bad rows told."""

import csv
import gzip
import io
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from model import scoring
from model.__main__ import main
from model.classifier import TextClassifier
from model.prediction import Prediction
from model.resumption import ResumableFile
from tests.checkpoints import TEXTS, write_checkpoint
from tests.servers import eventually

ROWS: list[dict[str, Any]] = [
    {"id": index, "label": "gold", "text": text} for index, text in enumerate([*TEXTS, "", 'a,"b"\nc', "x" * 9])
]
BEFORE = [{"text": "fine"}, {"text": "fine too"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("random"))


@pytest.fixture(scope="module")
def classifier(folder: Path) -> TextClassifier:
    return TextClassifier.from_pretrained(folder, "cpu")


def content_of(rows: Sequence[dict[str, Any]], kind: str) -> bytes:
    if kind == ".jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    if kind == ".parquet":
        file = io.BytesIO()
        parquet.write_table(pyarrow.Table.from_pylist(list(rows)), file)
        return file.getvalue()
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter="\t" if kind == ".tsv" else ",")
    writer.writeheader()
    writer.writerows(rows)
    return b"\xef\xbb\xbf" + text.getvalue().encode()  # as Excel begins it


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def read(path: Path) -> list[dict[str, Any]]:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if ".csv" in path.suffixes:
        return list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    return [json.loads(line) for line in content.decode().split("\n")[:-1]]


def classify(folder: Path, source: Path, target: Path, *flags: str) -> int:
    return main(
        ["--checkpoint", str(folder), "--device", "cpu", "--input", str(source), "--output", str(target), *flags]
    )


@pytest.mark.parametrize("target", ["out.jsonl", "out.jsonl.gz", "out.csv", "out.csv.gz"])
@pytest.mark.parametrize("source", ["in.csv", "in.tsv.gz", "in.jsonl", "in.jsonl.gz", "in.parquet", "in.parquet.gz"])
def test_every_kind_of_file_keeps_its_columns(
    folder: Path, classifier: TextClassifier, tmp_path: Path, source: str, target: str
) -> None:
    path = write(tmp_path / source, content_of(ROWS, "." + source.split(".")[1]))
    if ".jsonl" in source and ".csv" in target:
        assert classify(folder, path, tmp_path / target) == 2
        return
    assert classify(folder, path, tmp_path / target) == 0
    assert sorted(found.name for found in tmp_path.iterdir()) == sorted([source, target])
    found = read(tmp_path / target)
    for row, kept, prediction in zip(ROWS, found, classifier([row["text"] for row in ROWS]), strict=True):
        assert [str(kept[name]) for name in row] == [str(value) for value in row.values()]
        assert kept["predicted_label"] == prediction.label
        scores = kept["predicted_scores"]
        assert (json.loads(scores) if ".csv" in target else scores) == prediction.scores


def test_a_file_of_texts_becomes_what_standard_output_would_get(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "texts.txt", "\n".join(TEXTS).encode())
    assert main(["--checkpoint", str(folder), "--device", "cpu", "--input", str(source)]) == 0
    printed = capsys.readouterr().out
    assert classify(folder, source, tmp_path / "out.jsonl") == 0
    assert (tmp_path / "out.jsonl").read_text() == printed
    assert f"out.jsonl: {len(TEXTS)} texts in" in capsys.readouterr().err
    assert classify(folder, source, tmp_path / "out.txt", "--format", "fasttext") == 0
    assert (tmp_path / "out.txt").read_text().count("__label__") == len(TEXTS)


class Interrupted:
    """A classifier during whose n-th call the user presses Ctrl-C."""

    pass_texts = 3

    def __init__(self, classifier: TextClassifier, calls: int, is_parallel: bool) -> None:
        self.revision, self.windows, self.is_parallel = classifier.revision, classifier.windows, is_parallel
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
    for calls in (2, 0, 9):
        stopped: Any = Interrupted(classifier, calls, is_parallel=True)
        with suppress(KeyboardInterrupt):
            scoring.score_file(stopped, str(source), target, options, lambda sentence: None, lambda count: None)
    assert [row["text"] for row in read(target)] == ["fine", "fine too"]


def test_whoever_reads_may_stop(folder: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "texts.txt", "\n".join(TEXTS * 2000).encode())
    command = [sys.executable, "-m", "model", "--checkpoint", str(folder), "--device", "cpu", "--input", str(source)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout
        assert running.stderr
        assert json.loads(running.stdout.readline())["text"] == TEXTS[0]
        running.stdout.close()
        assert running.stderr.read() == ""
    assert running.returncode == 0


def test_an_empty_file_has_no_texts(folder: Path, tmp_path: Path) -> None:
    for name in ("in.txt", "in.jsonl"):
        assert classify(folder, write(tmp_path / name, b""), tmp_path / f"{name}.jsonl") == 0
        assert (tmp_path / f"{name}.jsonl").read_bytes() == b""


def test_nothing_recorded_outlives_the_work_it_stands_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.resumption.COMMIT_SECONDS", 0)
    first = ResumableFile(tmp_path / "out", {"input": 1}).__enter__()
    first.write(b"one\n", 5)  # and no more: a kill leaves no time to end in order
    with ResumableFile(tmp_path / "out", {"input": 1}) as again:
        assert again.rows == 5
        again.write(b"two\n", 1)
    assert (tmp_path / "out").read_bytes() == b"one\ntwo\n"
    first._file.close()


BAD = {
    "in.jsonl": (
        content_of(BEFORE, ".jsonl")
        + b'{"text": 5}\n{"tex": "x"}\nno\n[]\n{"text": "\\ud800"}\n\xff\n\n{"text": "ok"}\n',
        6,
    ),
    "in.csv": (b'text,b\nfine,1\nfine too,2\nshort\ncaf\xe9,3\n"a"b,4\nok,5\n', 3),
    "in.txt": (b"fine\nfine too\ncaf\xe9\nok\n", 1),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_told_with_their_lines_and_skipped_or_end_it(
    folder: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content, bad = BAD[name]
    source, target = write(tmp_path / name, content), tmp_path / "out.jsonl"
    assert classify(folder, source, target) == 2
    first = len(content.split(b"fine too")[0].split(b"\n")) + 1
    assert f"{name}: line {first} " in capsys.readouterr().err
    assert not target.exists()
    assert classify(folder, source, target, "--on_error", "skip") == 0  # goes on where the other ended
    captured = capsys.readouterr()
    told = [line for line in captured.err.splitlines() if line.endswith("; skipped")]
    assert [f"line {first + index} " in line for index, line in enumerate(told)] == [True] * bad
    assert [row["text"] for row in read(target)] == ["fine", "fine too", "ok"]


@pytest.mark.parametrize(
    ("source", "target", "flags", "sentence"),
    [
        ("in.csv", "out.xlsx", (), "output must end in .jsonl or .csv, .gz may follow, got"),
        ("in.csv", "in.csv", (), "exists; remove it or give another name"),
        ("in.csv", "no/where.csv", (), "cannot be written (No such file or directory)"),
        ("missing.csv", "out.csv", (), "cannot be read (No such file or directory)"),
        (
            "in.csv",
            "out.csv",
            ("--text_column", "body"),
            "has no column 'body'; found id, text (choose with --text_column)",
        ),
        ("in.csv", "out.csv", ("--ray", "true"), "ray needs a folder as --input"),
        ("in.parquet", "out.csv", (), "is no Parquet file"),
        ("in.csv.gz", "out.csv", (), "cannot be read (Not a gzipped file"),
    ],
)
def test_mistakes_are_one_sentence(
    folder: Path,
    tmp_path: Path,
    source: str,
    target: str,
    flags: tuple[str, ...],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("in.csv", "in.parquet", "in.csv.gz"):
        (tmp_path / name).write_text("id,text\n1,a\n")
    assert classify(folder, tmp_path / source, tmp_path / target, *flags) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_another_input_does_not_continue_what_was_begun(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "in.txt", b"fine\n\xff\n")
    assert classify(folder, source, tmp_path / "out.jsonl") == 2
    write(source, b"other\nfine\n")
    assert classify(folder, source, tmp_path / "out.jsonl") == 2
    assert "was begun with another input; remove it to begin anew" in capsys.readouterr().err


def test_a_folder_is_scored_file_by_file_and_continued(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    write(source / "a.csv", content_of(ROWS, ".csv"))
    write(source / "b.txt.gz", b"one\ntwo\n")
    write(source / "c.jsonl", b"no\n")
    write(source / "notes.md", b"# not read\n")
    assert classify(folder, source, target) == 2
    assert "1 of 3 files are not complete; the first: " in capsys.readouterr().err
    assert sorted(path.name for path in target.iterdir()) == [
        "a.csv",
        "b.txt.jsonl",
        "c.jsonl.partial",
        "c.jsonl.progress",
    ]
    before = (target / "a.csv").stat().st_mtime_ns
    assert classify(folder, source, target, "--on_error", "skip") == 0
    assert (target / "a.csv").stat().st_mtime_ns == before
    assert len(read(target / "a.csv")) == len(ROWS)


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
