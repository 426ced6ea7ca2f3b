"""The shape of the code: imports point down, the top level is fixed, importing does nothing."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("model", "training", "service")
ALLOWED = {"model": {"model"}, "training": {"training", "model"}, "service": {"service", "model"}}
TOP_LEVEL = {
    *("model", "training", "service", "tests", "benchmarks"),
    *("Dockerfile", "Makefile", "README.md", "README.zh.md", "CHANGELOG.md", "LICENSE"),
    *("pyproject.toml", "requirements.lock"),
}


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Packages that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


def imported_packages(path: Path) -> set[str]:
    """Those of ours."""
    return imported(path) & {*PACKAGES, "tests", "benchmarks"}


def files_of_the_model(path: Path) -> set[str]:
    """Those of `model/` that one of them imports, by name or by a dot, as modelling files do."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            if module in (".", "model"):
                found |= {alias.name for alias in node.names}
            elif module.startswith((".", "model.")):
                found.add(module.rpartition(".")[2])
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_down(package: str) -> None:
    assert sources(package)
    for path in sources(package):
        assert imported_packages(path) <= ALLOWED[package], path


def test_files_of_the_model_import_only_files_above_them_in_its_readme() -> None:
    readme = (ROOT / "model" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`\w+\.py`.*?) \|", readme, flags=re.MULTILINE)
    above: set[str] = set()
    for name in (name for row in rows for name in re.findall(r"`(\w+)\.py`", row)):
        assert files_of_the_model(ROOT / "model" / f"{name}.py") <= above, name
        above.add(name)
    assert above == {path.stem for path in sources("model")} - {"__init__"}


def test_modelling_files_import_nothing_of_ours_by_name() -> None:
    """A checkpoint carries copies of them into environments without our package."""
    for path in (ROOT / "model").glob("*_textcnn.py"):
        assert not imported_packages(path), path


def test_the_top_level_is_fixed() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode != 0:
        pytest.skip("not a git checkout")
    names = {line.split("/")[0] for line in tracked.stdout.splitlines()}
    assert {name for name in names if not name.startswith(".")} <= TOP_LEVEL


@pytest.mark.slow
def test_importing_prints_nothing_and_starts_no_thread() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in PACKAGES
        for path in sources(package)
        if path.name != "__main__.py"
    ]
    program = f"import importlib, threading\nfor name in {modules!r}: importlib.import_module(name)\n"
    program += "print(threading.active_count())"
    finished = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert finished.stdout == "1\n"
