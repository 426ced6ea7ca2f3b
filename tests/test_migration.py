"""From fastText's files to a served model: the commands of the README, run as they stand there."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import WORDS
from tests.servers import ROOT

QUESTION = "which baking dish is best for a banana bread?"  # of the README's last command


def commands() -> str:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("### Coming from fastText")[1]
    block = re.search(r"```bash\n(.*?)```", section, flags=re.DOTALL)
    assert block
    return block[1]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_from_a_fasttext_file_to_a_served_model(tmp_path: Path) -> None:
    texts = {"baking": [QUESTION, "how long do i bake bread", "my dough does not rise"], **WORDS}
    lines = [f"__label__{label} {text}" for label, few in texts.items() for text in few]
    lines += [f"__label__refund __label__delivery {a} and {b}" for a in WORDS["refund"] for b in WORDS["delivery"]]
    for name in ("cooking.train", "cooking.valid"):
        (tmp_path / name).write_text("\n".join(lines * 20), encoding="utf-8")
    (tmp_path / "questions.txt").write_text("money back and late courier\nthank you\n", encoding="utf-8")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = "set -e\n" + commands().replace("8000", str(port))  # the port alone differs

    with (tmp_path / "stdout").open("w+") as output, (tmp_path / "stderr").open("w+") as errors:
        shell = subprocess.Popen(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        try:
            assert shell.wait(240) == 0, (tmp_path / "stderr").read_text()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)  # the service, which it leaves behind
    told = (tmp_path / "stdout").read_text(encoding="utf-8").splitlines()
    classified = [
        dict(re.findall(r"__label__(\w+) ([0-9.e-]+)", line)) for line in told if line.startswith("__label__")
    ]
    assert next(iter(classified[1])) == "praise"
    assert set(classified[0]) == {"refund", "delivery"}
    assert all(float(probability) > 0.5 for probability in classified[0].values())
    (reply,) = (json.loads(line) for line in told if line.startswith("{"))
    assert reply["predictions"][0]["labels"] == ["baking"]
    assert reply["model"]["name"] == "cooking"
