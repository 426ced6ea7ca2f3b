"""From nothing to a panel: the commands of service/deploy's README, run as they stand there by a container engine."""

import json
import re
import shutil
import subprocess

import pytest

from tests.servers import ROOT
from tests.test_deploy import DEPLOY, dashboard


def engine_is_there() -> bool:
    """Whether `docker compose` finds an engine that listens."""
    if shutil.which("docker") is None:
        return False
    asked = (["docker", "compose", "version"], ["docker", "info"])
    return all(subprocess.run(command, capture_output=True, check=False).returncode == 0 for command in asked)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not engine_is_there(), reason="needs a container engine, docker compose, and registries of images")
def test_from_nothing_to_a_panel() -> None:
    block = re.search(r"```bash\n(.*?)```", (DEPLOY / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert block
    *commands, down = block[1].strip().split("\n")
    try:
        script = "set -e\n" + "\n".join(commands)
        told = subprocess.run(["bash", "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    finally:
        subprocess.run(down.split(), cwd=ROOT, check=True)
    decoder, replies = json.JSONDecoder(), []
    while (start := told.find("{")) >= 0:
        reply, end = decoder.raw_decode(told[start:])
        replies.append(reply)
        told = told[start + end :]
    predicted, shown, counted = replies
    assert [prediction["label"] for prediction in predicted["predictions"]] == ["track_order", "refund"]
    assert [panel["title"] for panel in shown["dashboard"]["panels"]] == [
        panel["title"] for panel in dashboard()["panels"]
    ]
    assert [float(series["value"][1]) for series in counted["data"]["result"]] == [2]
