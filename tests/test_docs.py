"""What the documents say is there."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import scale_out

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") or part in ("runs", "node_modules") for part in path.relative_to(ROOT).parts)
)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
PACKAGED = ("model", "training", "service")


def test_there_are_documents_for_users_and_beside_the_code() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in DOCUMENTS}
    expected = {"README.md", "README.zh.md", "CHANGELOG.md", "benchmarks/README.md"}
    assert expected | {f"{package}/README.md" for package in PACKAGED} <= names


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    for target in LINK.findall(document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_make_targets_and_commands_in_the_readmes_exist(name: str) -> None:
    text, makefile = (ROOT / name).read_text(encoding="utf-8"), (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:`|^)make ([a-z-]+)", text, flags=re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    scripts = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for command in set(re.findall(r"\btextcnn-(?!service)[a-z]+", text)):
        assert f"{command} = " in scripts, command


def parts(readme: str) -> list[tuple[str, int, list[str]]]:
    """How every part begins (a heading, a kind of code), how many rows of a table it has, and where its links lead."""
    text = (ROOT / readme).read_text(encoding="utf-8")
    for english, chinese in (("README.md)\n", "README.zh.md)\n"), ("light.png", "chinese.png")):
        text = text.replace(chinese, english)
    return [
        (re.findall(r"^(?:#*|```\w*)", part)[0], part.count("\n|"), sorted(LINK.findall(part)))
        for part in text.split("\n\n")
    ]


def test_both_readmes_have_the_same_parts_and_show_the_same_reply() -> None:
    assert parts("README.zh.md") == parts("README.md")
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md")]
    english, chinese = (re.findall(r"```json\n.*?```", text, flags=re.DOTALL) for text in texts)
    assert english == chinese != []


@pytest.mark.parametrize("package", PACKAGED)
def test_every_module_stands_in_the_readme_beside_it(package: str) -> None:
    readme = (ROOT / package / "README.md").read_text(encoding="utf-8")
    for path in (ROOT / package).glob("*.py"):
        assert path.name == "__init__.py" or path.name in readme, path.name


def test_the_sizing_table_is_drawn_from_the_measured_figures() -> None:
    found = json.loads(scale_out.RESULTS.read_text(encoding="utf-8"))
    assert scale_out.sizing(found) in scale_out.README.read_text(encoding="utf-8")
