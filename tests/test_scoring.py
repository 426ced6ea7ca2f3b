"""`textcnn-classify --output`: every kind of file, rows kept, bad rows told."""

import io
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from model.__main__ import main
from model.classifier import TextClassifier
from model.errors import InputError
from model.folders import Job, share_of
from model.options import InferenceOptions
from model.rows import first_repeated
from model.scoring import ScoringOptions
from tests.checkpoints import TEXTS, write_checkpoint
from tests.scored import ROWS, classify, content_of, read, write

BEFORE = [{"text": "fine"}, {"text": "fine too"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("random"))


@pytest.fixture(scope="module")
def classifier(folder: Path) -> TextClassifier:
    return TextClassifier.from_pretrained(folder, "cpu")


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


def test_the_labels_of_fasttext_files_are_no_text(folder: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.train", b"__label__a one two\nthree __label__b four\nno label\n")
    assert classify(folder, source, tmp_path / "out.jsonl") == 0
    assert [row["text"] for row in read(tmp_path / "out.jsonl")] == ["one two", "three four", "no label"]
    assert classify(folder, write(tmp_path / "in.txt", b"a __label__b c\n"), tmp_path / "plain.jsonl") == 0
    assert [row["text"] for row in read(tmp_path / "plain.jsonl")] == ["a __label__b c"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("in.csv", b"id,text\r1,a\r2,b\r"),
        ("in.tsv", b"\n\nid\ttext\n1\ta\n2\tb\n"),
        ("in.ndjson", b'{"text":"a"}\n{"text":"b"}'),
    ],
)
def test_other_ends_of_lines_blank_ones_and_other_names(
    folder: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    assert classify(folder, write(tmp_path / name, content), tmp_path / "out.jsonl") == 0
    assert [row["text"] for row in read(tmp_path / "out.jsonl")] == ["a", "b"]


def test_an_empty_file_has_no_texts(folder: Path, tmp_path: Path) -> None:
    for name in ("in.txt", "in.jsonl"):
        assert classify(folder, write(tmp_path / name, b""), tmp_path / f"{name}.jsonl") == 0
        assert (tmp_path / f"{name}.jsonl").read_bytes() == b""


def test_a_table_without_rows_keeps_its_header(folder: Path, tmp_path: Path) -> None:
    results = ["predicted_label", "predicted_score", "predicted_scores", "predicted_abstained"]
    contents = {"in.csv": b"id,text\n", "bad.csv": b"id,text\nshort\n", "in.parquet": _no_rows()}
    for name, content in contents.items():
        source, target = write(tmp_path / name, content), tmp_path / f"{name}.out.csv"
        assert classify(folder, source, target, "--on_error", "skip") == 0
        assert target.read_text().split("\n")[0].strip().split(",") == ["id", "text", *results]
        assert read(target) == []
    assert classify(folder, write(tmp_path / "in.txt", b""), tmp_path / "texts.csv") == 0
    assert (tmp_path / "texts.csv").read_bytes() == b"text,label,score,scores,abstained\r\n"


def _no_rows() -> bytes:
    file = io.BytesIO()
    parquet.write_table(pyarrow.table({"id": pyarrow.array([], "int64"), "text": pyarrow.array([], "string")}), file)
    return file.getvalue()


@pytest.mark.parametrize("name", ["OUT.CSV.GZ", "out.jsonl.Gz"])
def test_an_ending_in_capitals_is_compressed_too(folder: Path, tmp_path: Path, name: str) -> None:
    source = write(tmp_path / "in.csv", content_of(ROWS, ".csv"))
    assert classify(folder, source, tmp_path / name) == 0
    lower = (tmp_path / name).rename(tmp_path / name.lower().replace("out", "found"))
    assert len(read(lower)) == len(ROWS)


def test_a_gzip_of_nothing_is_a_gzip(folder: Path, tmp_path: Path) -> None:
    assert classify(folder, write(tmp_path / "in.txt", b""), tmp_path / "out.jsonl.gz") == 0
    assert (tmp_path / "out.jsonl.gz").read_bytes() != b""
    assert read(tmp_path / "out.jsonl.gz") == []


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (pyarrow.array([3_000_000], pyarrow.date32()), "date value out of range"),  # in the year 10183
        (pyarrow.array([0], pyarrow.timestamp("us", "+25:00")), ""),
    ],
)
def test_what_python_cannot_hold_of_a_parquet_file_is_one_sentence(
    folder: Path, tmp_path: Path, values: pyarrow.Array, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in.parquet"
    parquet.write_table(pyarrow.table({"text": ["fine"], "day": values}), source)
    assert classify(folder, source, tmp_path / "out.csv") == 2
    error = capsys.readouterr().err
    assert f"error: input '{source}' has a value in column 'day' that Python cannot hold ({reason}" in error
    assert error.count("\n") == 1


def test_a_bad_row_of_a_parquet_file_is_a_row_however_the_ending_is_written(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "IN.PARQUET", content_of([{"text": 5}], ".parquet"))
    assert classify(folder, source, tmp_path / "out.csv") == 2
    assert "IN.PARQUET: row 1 'text' must be a string, got int" in capsys.readouterr().err


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
            "has no column 'body'; found 'id', 'text' (choose with --text_column)",
        ),
        ("in.csv", "out.csv", ("--ray", "true"), "ray needs a folder as --input"),
        ("in.parquet", "out.csv", (), "is a broken Parquet file ("),
        ("in.csv.gz", "out.csv", (), "cannot be read (Not a gzipped file"),
        ("quoting.csv", "out.csv", (), "has a broken header ("),
        ("latin.csv", "out.jsonl", (), "has a header that is not UTF-8"),
        ("utf16.csv", "out.csv", (), "has a header that is not UTF-8"),
        ("empty.csv", "out.csv", (), "is empty"),
        (
            "sheet.xlsx",
            "out.csv",
            (),
            "input must end in .csv, .tsv, .jsonl, .ndjson, .parquet, .gz may follow, or have",
        ),
        ("page.json.gz", "out.csv", (), "or have a text a line, got"),
        ("twice.csv", "out.csv", (), "has the column 'id' twice"),
        ("scored.csv", "out.csv", (), "column 'predicted_label' of the input has the name of a result; rename it"),
        (".", "in.csv", (), "must be a folder that can be written (Not a directory)"),
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
    (tmp_path / "utf16.csv").write_bytes("id,text\n1,a\n".encode("utf-16"))
    (tmp_path / "empty.csv").write_bytes(b"\n")
    (tmp_path / "quoting.csv").write_bytes(b'"te"xt,id\na,1\n')
    (tmp_path / "latin.csv").write_bytes("text,café\na,1\n".encode("latin-1"))
    (tmp_path / "twice.csv").write_bytes(b"id,text,id\n1,a,2\n")
    (tmp_path / "scored.csv").write_bytes(b"text,predicted_label\na,b\n")
    assert classify(folder, tmp_path / source, tmp_path / target, *flags) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_a_parquet_file_that_breaks_on_the_way_is_one_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Iterator[dict[str, object]]:
        yield {"text": "fine"}
        raise pyarrow.ArrowInvalid("Index not in dictionary bounds")

    monkeypatch.setattr("model.rows._records", broken)
    source = write(tmp_path / "in.parquet", content_of([{"text": "fine"}], ".parquet"))
    assert classify(folder, source, tmp_path / "out.jsonl") == 2
    assert "is a broken Parquet file (Index not in dictionary bounds)" in capsys.readouterr().err


def test_standard_input_that_is_closed_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert main(["--checkpoint", str(folder), "--device", "cpu"]) == 2
    assert capsys.readouterr().err == "error: input: standard input is closed\n"


def test_numbers_and_bytes_of_a_parquet_file_become_what_json_can_say(folder: Path, tmp_path: Path) -> None:
    rows = [{"text": "fine", "weight": math.nan, "photo": b"\xff\x00"}]
    source = write(tmp_path / "in.parquet", content_of(rows, ".parquet"))
    assert classify(folder, source, tmp_path / "out.jsonl") == 0
    assert "NaN" not in (tmp_path / "out.jsonl").read_text()
    found = read(tmp_path / "out.jsonl")[0]
    assert (found["weight"], found["photo"]) == (None, "_wA=")
    assert classify(folder, source, tmp_path / "out.csv") == 0
    assert read(tmp_path / "out.csv")[0]["photo"] == "_wA="


def test_names_are_compared_with_few_others() -> None:
    class Name(str):
        __slots__ = ()
        __hash__ = str.__hash__
        compared = 0

        def __eq__(self, other: object) -> bool:
            Name.compared += 1
            return str.__eq__(self, other)

    names = [Name(f"{number}.csv") for number in range(500)]
    assert first_repeated(names) is None
    assert first_repeated([*names, *names[7:]]) == "7.csv"
    assert Name.compared < 10 * len(names)


def test_two_files_of_a_folder_never_become_one(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for name in ("a.txt", "a.txt.gz", "B.CSV"):
        write(source / name, b"text\n" * 2)
    assert classify(folder, source, tmp_path / "out") == 2
    assert "holds 'a.txt' and 'a.txt.gz', which would both become 'a.txt.jsonl'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    (source / "a.txt.gz").unlink()
    for told in ("B.CSV: 1 texts", "B.CSV: was complete before"):
        assert classify(folder, source, tmp_path / "out") == 0
        assert told in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_an_output_that_takes_no_more_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "texts.txt", b"fine\n")
    command = [sys.executable, "-m", "model", "--checkpoint", str(folder), "--device", "cpu", "--input", str(source)]
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (
        2,
        "error: standard output cannot be written (No space left on device)\n",
    )


@pytest.mark.parametrize(
    ("device", "gpus", "expected"),
    [
        ("auto", 0, ("cpu", 1, 16, {"num_cpus": 1})),
        ("cpu", 2, ("cpu", 1, 16, {"num_cpus": 1})),
        ("auto", 2, ("auto", 8, 2, {"num_gpus": 1})),
        ("cuda:1", 2, ("cuda", 8, 2, {"num_gpus": 1})),
    ],
)
def test_the_workers_of_a_ray_cluster_share_its_cores_and_gpus(
    device: str, gpus: int, expected: tuple[str, int, int, dict[str, int]]
) -> None:
    job = Job("runs/any", device, InferenceOptions(), ScoringOptions())
    share, room, needs = share_of(job, {"CPU": 16.0, "memory": 1e9} | ({"GPU": float(gpus)} if gpus else {}))
    assert (share.device, share.cores, room, needs) == expected


def test_a_ray_cluster_without_a_gpu_cannot_lend_one() -> None:
    job = Job("runs/any", "cuda", InferenceOptions(), ScoringOptions())
    with pytest.raises(InputError, match="device must be auto or cpu, for the Ray cluster has no GPU, got 'cuda'"):
        share_of(job, {"CPU": 2.0})
