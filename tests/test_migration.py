"""From fastText's files to a served model: the commands of the README, each one run."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TINY, WORDS
from tests.servers import ROOT, server

TITLE = {"README.md": "### Coming from fastText", "README.zh.md": "### 从 fastText 迁移"}


def commands(name: str) -> list[list[str]]:
    section = (ROOT / name).read_text(encoding="utf-8").split(TITLE[name])[1]
    block = re.search(r"```bash\n(.*?)```", section, flags=re.DOTALL)
    assert block
    return [shlex.split(line) for line in block[1].splitlines()]


def test_both_readmes_give_the_same_commands() -> None:
    assert commands("README.md") == commands("README.zh.md")


@pytest.mark.slow
def test_from_a_fasttext_file_to_a_served_model(tmp_path: Path) -> None:
    lines = [f"__label__{label} {text} !" for label, texts in WORDS.items() for text in texts] * 4
    both = [f"__label__refund __label__delivery {a} and {b}" for a in WORDS["refund"] for b in WORDS["delivery"]]
    for name in ("cooking.train", "cooking.valid"):
        (tmp_path / name).write_text("\n".join([*lines, *both]), encoding="utf-8")
    (tmp_path / "questions.txt").write_text("money back and late courier\nthank you\n", encoding="utf-8")
    train, classify, serve = commands("README.md")

    def run(command: list[str], *flags: str) -> str:
        program = str(Path(sys.executable).with_name(Path(command[0]).name))
        finished = subprocess.run(
            [program, *command[1:], *flags], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    run(train, *TINY)
    two, one = (re.findall(r"__label__(\w+) ([0-9.e-]+)", line) for line in run(classify).splitlines())
    assert {name for name, _ in two} == {"refund", "delivery"}
    assert all(float(probability) > 0.5 for _, probability in two)
    assert one[0][0] == "praise"
    assert serve[1] == "--checkpoint"
    with server(tmp_path / serve[2], "--device", "cpu") as running, running.client() as client:
        reply = client.post("/predict", json={"inputs": "money back and late courier"}).json()
    assert set(reply["predictions"][0]["labels"]) == {"refund", "delivery"}
