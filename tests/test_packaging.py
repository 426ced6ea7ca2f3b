"""The built wheel, installed elsewhere, has all that the commands need."""

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
import venv
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.test_architecture import imported

ROOT = Path(__file__).parents[1]


# What these files import comes with an extra; they are imported when it is asked for.
EXTRAS = {"export.py": "onnx", "folders.py": "ray", "parquet.py": "ray", "client.py": "client"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def brought_by(requirements: tuple[str, ...]) -> set[str]:
    """Distributions that come along, those that these need in turn included."""
    found, waiting = set(), [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        name, extras = normal(requirement.name), requirement.extras or {""}
        if (name, *sorted(extras)) not in found:
            found.add((name, *sorted(extras)))
            with suppress(importlib.metadata.PackageNotFoundError):
                needed = map(Requirement, importlib.metadata.requires(name) or [])
                waiting += [
                    one for one in needed if not one.marker or any(one.marker.evaluate({"extra": e}) for e in extras)
                ]
    return {name for name, *_ in found}


def test_what_serving_imports_comes_with_its_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    distributions = importlib.metadata.packages_distributions()
    for path in [*(ROOT / "model").rglob("*.py"), *(ROOT / "service").rglob("*.py")]:
        extra = project["optional-dependencies"][EXTRAS[path.name]] if path.name in EXTRAS else []
        there = brought_by((*project["dependencies"], *extra))
        for package in imported(path) - {"model", "service"} - sys.stdlib_module_names:
            assert there & set(map(normal, distributions[package])), f"{path} imports {package}"


@pytest.mark.slow
def test_the_wheel_installs_and_its_commands_run(tmp_path: Path, checkpoint: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    subprocess.run([*build, str(ROOT)], check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    # Its own environment sees the libraries of this one, not the sources: those are on no path here.
    venv.create(tmp_path / "venv", with_pip=False)
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    libraries = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, cwd=tmp_path)
    python = [str(tmp_path / "venv" / "bin" / "python"), "-P", "-c"]
    program = (
        f"import sys; sys.path.append({str(libraries)!r}); import model, training.__main__, service.__main__;"
        "from model.__main__ import main; assert model.__file__.startswith(sys.prefix), model.__file__;"
        f"sys.exit(main(['--checkpoint', {str(checkpoint)!r}, '--device', 'cpu', 'money back']))"
    )
    finished = subprocess.run([*python, program], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["label"] == "refund"
    names = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    for needed in (
        "training/quickstart/train.jsonl",
        "training/configs/quickstart.yaml",
        "model/network_textcnn.py",
        "service/web/index.html",
        "service/web/app.js",
        "training/report/templates/report.html",
    ):
        assert needed in names
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)
