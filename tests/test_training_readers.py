"""Files to columns: every format gives back what was written, every defect is named with its place."""

import csv
import gzip
import io
import json
from pathlib import Path

import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from model.errors import InputError
from training.readers import data_files, read_table

in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
rows = st.lists(st.tuples(cells, cells), min_size=1, max_size=8)


def columns_of(path: Path) -> list[list[object]]:
    table = read_table(path)
    return [list(table.columns[name]) for name in ("text", "label")]


@in_one_folder
@given(rows=rows)
def test_csv_round_trip(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([("text", "label"), *rows])
    path = tmp_path / "data.csv"
    path.write_bytes(buffer.getvalue().encode())
    assert columns_of(path) == [list(column) for column in zip(*rows, strict=True)]


@in_one_folder
@given(rows=rows, blank=st.booleans())
def test_json_lines_round_trip(tmp_path: Path, rows: list[tuple[str, str]], blank: bool) -> None:
    lines = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in rows]
    path = tmp_path / "data.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(["", *lines] if blank else lines).encode()))
    assert columns_of(path) == [list(column) for column in zip(*rows, strict=True)]
    assert list(read_table(path).numbers) == list(range(1 + blank, len(rows) + 1 + blank))  # lines, blank ones counted


@in_one_folder
@given(rows=rows)
def test_parquet_round_trip(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    texts, labels = (list(column) for column in zip(*rows, strict=True))
    path = tmp_path / "data.parquet"
    parquet.write_table(pyarrow.table({"text": texts, "label": labels}), path)
    assert columns_of(path) == [texts, labels]


@pytest.mark.parametrize("kind", [pyarrow.timestamp("s"), pyarrow.duration("s")], ids=str)
def test_parquet_values_that_python_cannot_hold_are_a_mistake(tmp_path: Path, kind: pyarrow.DataType) -> None:
    path = tmp_path / "data.parquet"
    parquet.write_table(pyarrow.table({"text": ["x"], "at": pyarrow.array([2**60 // 10**3], kind)}), path)
    with pytest.raises(InputError, match=rf"^{path} has a value in column 'at' that Python cannot hold \("):
        read_table(path)


words = st.text("abc退款_:,.", min_size=1, max_size=4)


@in_one_folder
@given(lines=st.lists(st.tuples(st.lists(words, max_size=3), st.lists(words, min_size=1, max_size=4)), min_size=1))
def test_fasttext_round_trip(tmp_path: Path, lines: list[tuple[list[str], list[str]]]) -> None:
    lines = [(["first"], ["text"]), *lines]
    path = tmp_path / "cooking.train"  # no ending tells the format, the first word does
    written = [" ".join([*(f"__label__{name}" for name in labels), *text]) for labels, text in lines]
    path.write_text("\n".join(written), encoding="utf-8")
    table = read_table(path)
    assert table.columns["text"] == [" ".join(text) for _, text in lines]
    assert table.columns["labels"] == [labels for labels, _ in lines]
    assert ("label" in table.columns) == all(len(labels) < 2 for labels, _ in lines)


def test_fasttext_labels_stand_anywhere_and_are_whole_words(tmp_path: Path) -> None:
    path = tmp_path / "train.ft.txt.gz"
    path.write_bytes(
        gzip.compress("\ufeff__label__a\tone two\r\n\nno__label__ three\u2003__label__x __label__b four".encode())
    )
    table = read_table(path)
    assert columns_of(path) == [["one two", "no__label__ three\u2003__label__x four"], ["a", "b"]]
    assert [table.place(index) for index in range(2)] == [f"{path}, line 1", f"{path}, line 3"]


def test_tsv_with_quotes_as_spreadsheets_write_them(tmp_path: Path) -> None:
    path = tmp_path / "data.tsv"
    path.write_bytes(b'text\tlabel\n"he said ""no""\nand left"\ta\nplain\tb\n')
    assert columns_of(path) == [['he said "no"\nand left', "plain"], ["a", "b"]]


def test_tsv_with_tabs_in_quotes(tmp_path: Path) -> None:
    path = tmp_path / "data.tsv"
    path.write_bytes(b'text\tlabel\n"one\ttab"\ta\nplain\tb\n')
    assert columns_of(path) == [["one\ttab", "plain"], ["a", "b"]]


@pytest.mark.parametrize("body", [b'"open\ta\nplain\tb\n', b'"open\ta\nclose"\tb\n', b'"two" words\ta\nplain\tb\n'])
def test_tsv_with_quotes_that_mean_nothing(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "data.tsv"
    path.write_bytes(b"text\tlabel\n" + body)
    expected = [line.split("\t") for line in body.decode().splitlines()]
    assert columns_of(path) == [list(column) for column in zip(*expected, strict=True)]


def test_byte_order_mark_windows_lines_and_quoted_newlines(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(b'\xef\xbb\xbftext,label\r\n"two\nlines, one field",001\r\n"last",NA')
    assert columns_of(path) == [["two\nlines, one field", "last"], ["001", "NA"]]


def test_line_separators_inside_json_are_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "one\u2028two", "label": "a"}\n', encoding="utf-8")
    assert columns_of(path) == [["one\u2028two"], ["a"]]


def test_field_longer_than_the_csv_module_allows(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("text,label\n" + "x" * 200_000 + ",a\n")
    assert len(str(columns_of(path)[0][0])) == 200_000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data.csv", b"", "data.csv: the file is empty"),
        ("data.csv", b"text,label\n", "data.csv: no rows"),
        ("data.jsonl", b"\n \n", "data.jsonl: no rows"),
        ("data.csv", b"text,text\na,b\n", "data.csv: column names must differ, got 'text', 'text'"),
        ("data.csv", b"text,label\na,b\nc,d,e\n", "data.csv, row 2: 3 fields where the header has 2"),
        ("data.csv", b'text,label\n"a,b\n', "data.csv: broken quoting before line 2"),
        ("data.csv", b"text,label\ncaf\xe9,b\n", "data.csv: not UTF-8: byte 0xe9 at offset 14, line 2"),
        ("data.jsonl", b'{"text": "a"}\n{"text": \n', "data.jsonl, line 2: broken JSON"),
        ("data.jsonl", b"[" * 100_000, "data.jsonl, line 1: broken JSON"),
        ("data.jsonl", b'{"text": "a"}\n["b"]\n', "data.jsonl, line 2: must be a JSON object, got '[\"b\"]'"),
        ("data.parquet", b"PAR1 not really", "data.parquet is a broken Parquet file ("),
        ("data.csv.gz", b"text,label\na,b\n", "data.csv.gz: broken or cut off gzip"),
        ("data.csv.gz", gzip.compress(b"text,label\na,b\n")[:-9], "data.csv.gz: broken or cut off gzip"),
        ("data.xlsx", b"PK", "data.xlsx: unknown kind of file; must end in .csv, .tsv, .jsonl, .ndjson, .parquet"),
        ("data.gz", gzip.compress(b"plain words"), "data.gz: unknown kind of file"),
        ("data.txt", b"words without __label__a", "data.txt: unknown kind of file; must end in .csv"),
        ("data.txt", b"__label__a\xff", "data.txt: not UTF-8: byte 0xff at offset 10, line 1"),
    ],
)
def test_defects_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_table(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: no such file"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match=r"folder\.csv: cannot be read: Is a directory"):
        read_table(tmp_path / "folder.csv")


def test_files_folders_and_patterns(tmp_path: Path) -> None:
    names = ["b.csv", "a.csv.gz", "c/d.csv", "x[1].csv", ".hidden.csv", "notes.md"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def found(*asked: str) -> list[str]:
        files = data_files("train_file", [str(tmp_path / name) for name in asked])
        return [str(file.relative_to(tmp_path)) for file in files]

    assert found("") == ["a.csv.gz", "b.csv", "x[1].csv"]
    assert found("*.csv") == ["b.csv", "x[1].csv"]
    assert found("**/*.csv") == ["b.csv", "c/d.csv", "x[1].csv"]
    assert found("x[1].csv", "b.csv") == ["x[1].csv", "b.csv"]  # a name before a pattern, the order as given
    for asked, message in (
        (["none-*.csv"], r"train_file: '.*none-\*\.csv' matches no file"),
        (["b.csv", "*.csv"], r"train_file: '.*b\.csv' is given 2 times"),
        (["b.csv", "c.jsonl"], r"give files with types or \.csv and \.tsv, not both, got .*c\.jsonl and .*b\.csv"),
    ):
        with pytest.raises(InputError, match=message):
            found(*asked)
    with pytest.raises(InputError, match="train_file must name a file, a folder or a pattern, got ''"):
        data_files("train_file", [""])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"'.*empty' is a folder without a file that ends in \.csv, \.tsv"):
        found("empty")


def test_missing_column_names_those_found(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("Text,Label\na,b\n")
    with pytest.raises(InputError, match=r"no column 'text'; found 'Text', 'Label' \(choose with --text_column\)"):
        read_table(path).column("text", "text_column")
