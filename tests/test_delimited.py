"""CSV and TSV: what is read where, and how little a broken quote costs."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import rows
from model.errors import InputError
from training import readers

LINES = st.lists(st.text(['"', "\t", ",", "a", "b", " "], max_size=8), min_size=1, max_size=6)


@given(ending=st.sampled_from([".csv", ".tsv"]), lines=LINES, newline=st.sampled_from(["\n", "\r\n", "\r"]))
def test_classifying_reads_what_training_reads(
    tmp_path_factory: pytest.TempPathFactory, ending: str, lines: list[str], newline: str
) -> None:
    delimiter = {".csv": ",", ".tsv": "\t"}[ending]
    path = tmp_path_factory.mktemp("same") / f"data{ending}"
    path.write_bytes(newline.join([f"text{delimiter}label", *lines, ""]).encode())
    try:
        table = readers.read_table(path)
    except InputError:
        return
    found = list(rows.read_table(str(path), "text").rows)
    read = [row.columns for row in found if isinstance(row, rows.Row)]
    pairs = zip(table.columns["text"], table.columns["label"], strict=True)
    assert read == [{"text": text, "label": label} for text, label in pairs]
    assert len(found) == len(table)


def read(path: Path, content: bytes) -> tuple[list[str], list[tuple[int, str]]]:
    path.write_bytes(content)
    found = list(rows.read_table(str(path), "text").rows)
    texts = [row.text for row in found if isinstance(row, rows.Row)]
    return texts, [(row.number, row.reason) for row in found if isinstance(row, rows.BadRow)]


@pytest.mark.parametrize(
    ("content", "texts", "bad"),
    [
        (
            b'one,1\n"open,2\nthree,3\nfour\nfive,5\n',
            ["one", "three", "five"],
            {3: "broken quoting (unexpected", 5: "1 fields where the header has 2"},
        ),
        (b'"open,1\ntwo,2\n\n"four,4\nfive,5\n', ["five"], {2: "broken quoting up to line 5 (',' expected after"}),
        (b'"a\nb",1,2\nc,3\n', ["c"], {2: "3 fields up to line 3 where the header has 2"}),
        (b'one,1\n"open', ["one"], {3: "broken quoting (unexpected end of data)"}),
    ],
)
def test_what_a_broken_record_costs(tmp_path: Path, content: bytes, texts: list[str], bad: dict[int, str]) -> None:
    read_texts, told = read(tmp_path / "data.csv", b"text,id\n" + content)
    assert read_texts == texts
    assert [number for number, _ in told] == list(bad)
    assert all(reason in sentence for reason, (_, sentence) in zip(bad.values(), told, strict=True))


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b'" one\tA\ntwo\tB\nthree "\tA\n', ['" one', "two", 'three "']),
        (b'"two" words\tA\nnext\tB\n', ['"two" words', "next"]),
        (b'"open\tA\nshort\nnext\tB\n', ['"open', "next"]),
        (b'"a ""b""\nc"\tA\nshort\nnext\tB\n', ['a "b"\nc', "next"]),
        (b'"a\tb"\tA\nnext\tB\n', ["a\tb", "next"]),
    ],
)
def test_quotes_of_tsv_mean_what_makes_the_most_records_whole(tmp_path: Path, content: bytes, texts: list[str]) -> None:
    assert read(tmp_path / "data.tsv", b"text\tid\n" + content)[0] == texts


def test_what_the_largest_field_cuts_off_costs_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.delimited.LARGEST_FIELD", 100)
    before = csv.field_size_limit()
    try:
        texts, bad = read(tmp_path / "data.csv", b'text,id\n"open,0\n' + b"fine,1\n" * 50 + b'"open,0\nlast,2\n')
    finally:
        csv.field_size_limit(before)  # of the whole process
    assert texts == ["fine"] * 50 + ["last"]
    assert [number for number, _ in bad] == [2, 53]
