"""The page's reader of files, in node."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.servers import ROOT

WEB = ROOT / "service" / "web"


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A copy that node takes for a module."""
    if shutil.which("node") is None:
        pytest.skip("needs node")
    return Path(shutil.copy(WEB / "files.js", tmp_path / "files.mjs"))


def parse(module: Path, name: str, content: str) -> Any:
    """The rows, or the sentence and line of the error."""
    program = f"""
        import {{ parseFile }} from {json.dumps(module.as_uri())};
        try {{
            const {{ rows }} = parseFile({json.dumps(name)}, new TextEncoder().encode({json.dumps(content)}));
            console.log(JSON.stringify(rows.map((row) => Object.values(row))));
        }} catch (error) {{
            console.log(JSON.stringify(`${{error.sentence}} ${{error.line}}`));
        }}
    """
    command = ["node", "--input-type=module", "--eval", program]
    return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", 'id,text\n1,"a\n2,b\n3,c\n', "open_quote 2"),
        ("a.csv", 'id,text\n1,"a\r\nb"\r\n2,"abc" def\r\n', "closed_quote 4"),
        ("a.csv", "id,text\n\n1,a,b\n", "other_columns 3"),
        ("a.csv", "id,text\n1,a\n2\n", "other_columns 3"),
        ("a.csv", "text,text\na,b\n", "same_columns 1"),
        ("a.csv", 'id,text\r1,"a\rb"\r2,c"d"', [["1", "a\rb"], ["2", 'c"d"']]),
        ("a.csv", '\r\nid,text\r\n1,"a ""b"", c"\n\r2,', [["1", 'a "b", c'], ["2", ""]]),
        ("a.csv", 'text\n"""a"""', [['"a"']]),
        ("a.csv", "", []),
        ("a.tsv", 'id\ttext\n1\t"a\n2\tb\n', [["1", '"a'], ["2", "b"]]),
        ("a.tsv", 'id\ttext\n1\t"a\n2\tb"\n3\tc\n', [["1", '"a'], ["2", 'b"'], ["3", "c"]]),
        ("a.tsv", 'id\ttext\r1\t"a" b\r', [["1", '"a" b']]),
        ("a.tsv", 'id\ttext\n1\t"a ""b""\nc"\n', [["1", 'a "b"\nc']]),
        ("a.tsv", 'id\ttext\n1\t"a\tb"\n', [["1", "a\tb"]]),
        ("a.tsv", 'id\ttext\n1\t"a\n2\n', "other_columns 3"),
    ],
)
def test_no_row_is_swallowed_or_shifted(module: Path, name: str, content: str, expected: Any) -> None:
    assert parse(module, name, content) == expected


def test_every_error_has_its_sentence_in_both_languages() -> None:
    names = re.findall(r'FileError\("(\w+)"', (WEB / "files.js").read_text(encoding="utf-8"))
    assert len(names) == 6
    strings = (WEB / "strings.js").read_text(encoding="utf-8")
    for name in names:
        assert len(re.findall(rf'\b{name}: "{{name}}', strings)) == 2, name
