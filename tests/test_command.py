"""What all commands have in common."""

import subprocess
import sys

import pytest

COMMANDS = {
    "model": ["--checkpoint", "checkpoint", "a text"],
    "service": ["--checkpoint", "checkpoint"],
    "training": ["--train_file", "x.csv", "--output_dir", "out"],
    "training.report": ["--checkpoint", "checkpoint"],
}


@pytest.mark.parametrize(
    ("package", "module"),
    [*((package, "transformers") for package in COMMANDS), ("training", "training.data")],
)
def test_an_interruption_while_modules_load_is_quiet(package: str, module: str) -> None:
    program = (
        "import sys\n"
        "class Interruption:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r}:\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interruption())\n"
        f"from {package}.__main__ import main\n"
        f"sys.exit(main({COMMANDS[package]!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
