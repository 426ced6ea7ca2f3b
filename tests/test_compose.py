"""From nothing to a panel: the commands of service/deploy's README, run as they stand there by a container engine."""

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.deploy import prove_image
from tests.engine import PACKAGES, engine, lacking
from tests.servers import ROOT
from tests.test_deploy import DEPLOY, dashboard

why = lacking(8000, 9090)
needs_podman = pytest.mark.skipif(bool(why), reason=why)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
WITHIN_S = 900  # of which building the image takes most
PROMETHEUS = """
FROM {base}
COPY prometheus /usr/bin/
USER 65534
ENTRYPOINT ["prometheus", "--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/tmp/data"]
"""


def commands() -> list[str]:
    """Those of the README's section on Compose, the last of which ends it all."""
    readme = (DEPLOY / "README.md").read_text(encoding="utf-8").replace("\\\n", "")
    block = re.search(r"```bash\n(.*?)```", readme, flags=re.DOTALL)
    assert block
    return block[1].strip().split("\n")


def replies(*run: str) -> list[dict[str, Any]]:
    """The JSON objects that the commands write, one after the other; the README's last one follows in any case."""
    *_, down = commands()
    try:
        script = "set -e\n" + "\n".join(run)
        told = subprocess.run(
            ["bash", "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=WITHIN_S
        ).stdout
    finally:
        subprocess.run(down.split(), cwd=ROOT, check=True)
    decoder, found = json.JSONDecoder(), []
    while (start := told.find("{")) >= 0:
        reply, end = decoder.raw_decode(told[start:])
        found.append(reply)
        told = told[start + end :]
    return found


def check(predicted: dict[str, Any], counted: dict[str, Any]) -> None:
    """The answers are right, and Prometheus has counted their texts."""
    assert [prediction["label"] for prediction in predicted["predictions"]] == ["track_order", "refund"]
    assert [float(series["value"][1]) for series in counted["data"]["result"]] == [2]


def docker_is_there() -> bool:
    """Whether `docker compose` finds an engine that listens."""
    if shutil.which("docker") is None:
        return False
    asked = (["docker", "compose", "version"], ["docker", "info"])
    return all(subprocess.run(command, capture_output=True, check=False).returncode == 0 for command in asked)


@pytest.mark.skipif(not docker_is_there(), reason="needs Docker with docker compose, and registries of images")
def test_from_nothing_to_a_panel() -> None:
    *up, _ = commands()
    predicted, shown, counted = replies(*up)
    check(predicted, counted)
    titles = [panel["title"] for panel in dashboard()["panels"]]
    assert [panel["title"] for panel in shown["dashboard"]["panels"]] == titles


@pytest.fixture(scope="module")
def debian_engine(quickstart: Path) -> Iterator[None]:
    """podman with the images that Compose asks for, made of Debian: no registry of images is needed."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    folder = Path(tempfile.mkdtemp(prefix="textcnn-compose-", dir="/var/tmp"))
    with engine(folder):
        wheels = folder / "wheelhouse"
        try:
            prove_image.fetch(wheels)
            prove_image.podman("run", "--rm", "--no-healthcheck", "--publish", "127.0.0.1::1", prove_image.BASE, "true")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"needs registries of packages and a kernel that podman can run containers on: {error}")
        checkpoint = folder / "quickstart"
        shutil.copytree(quickstart, checkpoint / "models" / "quickstart")
        prove_image.build(wheels, "--build-context", f"quickstart={checkpoint}")
        prove_image.podman("tag", prove_image.IMAGE, f"docker.io/library/{services['textcnn']['image']}")
        build_prometheus(folder / "prometheus", f"docker.io/{services['prometheus']['image']}")
        yield


def build_prometheus(folder: Path, tag: str) -> None:
    """An image of Debian's Prometheus that is started as the official one is."""
    folder.mkdir()
    shutil.copy("/usr/bin/prometheus", folder)
    (folder / "Dockerfile").write_text(PROMETHEUS.format(base=prove_image.BASE), encoding="utf-8")
    prove_image.run("buildah", "build", "--isolation", "chroot", "--pull-never", "--tag", tag, str(folder))


def test_ci_installs_what_the_engine_needs() -> None:
    assert set(PACKAGES) <= set(re.findall(r"[\w-]+", (ROOT / ".ci" / "run").read_text(encoding="utf-8")))


@needs_podman
def test_the_image_runs_as_a_strict_cluster_would(debian_engine: None) -> None:
    prove_image.prove()


@needs_podman
def test_compose_starts_what_answers_and_is_counted(debian_engine: None) -> None:
    """The same with podman and no registry: Debian for the base image, its Prometheus, no Grafana.

    The image is made by the Dockerfile, but for the checkpoint in it, which this session has trained.
    """
    up, ask, _, count, _ = commands()
    predicted, counted = replies(up.replace("--build --detach", "--detach textcnn prometheus"), ask, count)
    check(predicted, counted)
