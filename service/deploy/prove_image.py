#!/usr/bin/env python3
"""Builds the image of the Dockerfile and runs it where no registry of images can be reached; prints what it found.

    sudo python3 -m service.deploy.prove_image [--work FOLDER]

buildah carries out the Dockerfile over a clean Debian root in the place of python:3.11-slim, without a network:
packages come from a folder that pip has filled beforehand, wherever this machine's pip is set to look. podman runs the
image on a read-only root; it has to start, be healthy, answer and stop. Needs Debian, root, and its packages
mmdebstrap, buildah, podman and runc.
"""

import argparse
import json
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
BASE, IMAGE, CONTAINER = "localhost/debian-python", "localhost/textcnn-service", "textcnn-proof"
HUB = "textcnn-proof-hub"
BASE_PACKAGES = "python3,python3-venv,python3-pip,python-is-python3,ca-certificates"  # what python:3.11-slim brings
PIP = r"printf '[global]\nno-index = true\nfind-links = /wheelhouse\n' > $1/etc/pip.conf"
# As a strict cluster would: a read-only root, no capability, no way to gain one. podman would raise the two limits,
# which a root that is confined itself may not, and have systemd ask the health check, which we do.
STRICT = (
    *("--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp", "--cap-drop", "all"),
    *("--security-opt", "no-new-privileges", "--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096"),
    "--no-healthcheck",
)
ASK = """
import json, urllib.request
body = json.dumps({"inputs": ["where is my parcel?", "我要退款"]}).encode()
request = urllib.request.Request("http://127.0.0.1:8000/predict", body, {"Content-Type": "application/json"})
print(urllib.request.urlopen(request, timeout=30).read().decode())
"""


def main() -> None:
    """Fetch what is needed, build, run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--work", type=Path, default=Path("/var/tmp/textcnn-image"), help="folder for the wheels")
    wheels = parser.parse_args().work.resolve() / "wheelhouse"
    fetch(wheels, "training")
    build(wheels)
    for size, made_by in layers():
        print(f"layer {size / 1e6:7.1f} MB  {made_by[:90]}")
    prove()
    print("proven: starts, is healthy, answers and stops as process 1, not as root, on a read-only root")


def prove() -> None:
    """Run the image with its own checkpoint, with one that is mounted, and with one of a hub."""
    with container("--checkpoint", "/models/quickstart"):
        check("quickstart")
    volume = podman("image", "mount", IMAGE)  # the image's own checkpoint, by another name
    with container("--checkpoint", "/models/mine", options=("--volume", f"{volume}/models/quickstart:/models/mine:ro")):
        check("mine")
    podman("image", "unmount", IMAGE)
    with hub() as options, container("--checkpoint", "hf://shop/intents", options=options):
        check("intents")


def run(*command: str, stderr: int | None = None) -> str:
    """What a command writes to stdout; its failure ends the proof."""
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, stderr=stderr).stdout.strip()


def podman(*command: str, stderr: int | None = None) -> str:
    """What podman says."""
    return run("podman", "--runtime", "runc", *command, stderr=stderr)


def logs() -> str:
    """All that the service has written."""
    return podman("logs", CONTAINER, stderr=subprocess.STDOUT)


def fetch(wheels: Path, *extras: str) -> None:
    """A clean Debian root as the base image, unless it is there, and the wheels that the Dockerfile installs."""
    wheels.mkdir(parents=True, exist_ok=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]
    platform = ("--python-version", "3.11", "--only-binary", ":all:", "--dest", str(wheels))
    lock = ("--constraint", str(ROOT / "requirements.lock"))
    run(sys.executable, "-m", "pip", "download", "--quiet", *platform, *lock, *wanted, "setuptools", "wheel")
    if subprocess.run(["podman", "image", "exists", BASE], check=False).returncode != 0:
        sources = next(Path("/etc/apt/sources.list.d").glob("*.sources"), Path("/etc/apt/sources.list"))
        root = wheels.with_name("base.tar")
        options = ("--quiet", "--variant=minbase", f"--include={BASE_PACKAGES}", f"--customize-hook={PIP}")
        run("mmdebstrap", *options, "bookworm", str(root), str(sources))
        podman("import", "--quiet", str(root), BASE)
        root.unlink()


def build(wheels: Path, *more: str) -> None:
    """The image by the Dockerfile as it stands, its own base apart, in a namespace that has no network."""
    options = ("--isolation", "chroot", "--format", "docker", "--layers", "--pull-never", "--tag", IMAGE)
    inputs = ("--build-arg", f"PYTHON_IMAGE={BASE}", "--volume", f"{wheels}:/wheelhouse:ro")
    command = ["unshare", "--net", "buildah", "build", *options, *inputs, *more, str(ROOT)]
    subprocess.run(command, check=True, stdout=sys.stderr)


def layers() -> Iterator[tuple[int, str]]:
    """Bytes of each layer, lowest first, with what made it."""
    for layer in reversed(json.loads(podman("history", "--format", "json", IMAGE))):
        if layer["size"]:
            yield layer["size"], layer["CreatedBy"].replace("/bin/sh -c #(nop) ", "")


@contextmanager
def hub() -> Iterator[tuple[str, ...]]:
    """A hub with the image's checkpoint as shop/intents; yields what a container needs to ask it."""
    files = ("--network", "none", "--volume", f"{ROOT}/tests/hub.py:/hub.py:ro", "--entrypoint", "python")
    podman("run", "--detach", "--name", HUB, *files, *STRICT, IMAGE, "/hub.py", "/models/quickstart", "8080")
    try:
        yield ("--network", f"container:{HUB}", "--env", "HF_ENDPOINT=http://127.0.0.1:8080")
    finally:
        podman("rm", "--force", "--time", "0", HUB)


@contextmanager
def container(*command: str, options: tuple[str, ...] = ()) -> Iterator[None]:
    """The running service; it has to stop on SIGTERM with status 0."""
    network = () if "--network" in options else ("--network", "none")
    podman("run", "--detach", "--name", CONTAINER, *STRICT, *network, *options, IMAGE, *command)
    started = time.monotonic()
    try:
        while "\nServing " not in (said := f"\n{logs()}"):
            assert podman("inspect", "--format", "{{.State.Running}}", CONTAINER) == "true", f"ended: {said}"
            assert time.monotonic() - started < 60, f"does not serve after a minute: {said}"
            time.sleep(0.1)
        greeting = next(line for line in said.splitlines() if line.startswith("Serving "))
        print(f"{greeting}, {time.monotonic() - started:.1f} s after its start")
        yield
        begun = time.monotonic()
        podman("stop", "--time", "40", CONTAINER)
        assert podman("inspect", "--format", "{{.State.ExitCode}}", CONTAINER) == "0", logs()
        print(f"stopped with status 0, {time.monotonic() - begun:.1f} s after SIGTERM")
    finally:
        podman("rm", "--force", CONTAINER)


def check(name: str) -> None:
    """What has to hold while it runs."""
    inside = ("exec", CONTAINER)
    assert podman(*inside, "cat", "/proc/1/comm") == "textcnn-serve", "is not process 1"
    assert podman(*inside, "stat", "--format", "%u", "/proc/1") == "10001", "runs as another user"
    for path in ("/opt/x", "/models/x", "/root/x"):
        wrote = subprocess.run(
            ["podman", "--runtime", "runc", *inside, "touch", path], capture_output=True, check=False
        )
        assert wrote.returncode != 0, f"could write {path}"
    _, *healthy = json.loads(podman("image", "inspect", "--format", "{{json .HealthCheck.Test}}", IMAGE))
    podman(*inside, *healthy)
    answer = json.loads(podman(*inside, "python", "-c", ASK))
    assert [found["label"] for found in answer["predictions"]] == ["track_order", "refund"], answer
    assert answer["model"]["name"] == name, answer["model"]
    print(f"answered {json.dumps(answer['latency'])}")


if __name__ == "__main__":
    main()
