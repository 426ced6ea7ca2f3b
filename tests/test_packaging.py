"""The built wheel, installed elsewhere, has all that the commands need."""

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


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
