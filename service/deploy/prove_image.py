#!/usr/bin/env python3
"""Builds and runs the image of the Dockerfile without a container engine, and prints what it found.

    sudo python3 -m service.deploy.prove_image [--work FOLDER]

Its instructions are carried out in a clean Debian root, each that writes files as an overlay of its own, with no
network: packages come from a folder that pip has filled beforehand, wherever this machine's pip is set to look. Then
the entry point runs as process 1 of its own namespace, as the image's user, on a read-only root, and has to start,
answer and stop. Needs Debian or one of its kin, root, mmdebstrap and pip.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.deploy.overlay import ROOT, Image, build, megabytes, run

URL = "http://127.0.0.1:8000"  # in a network namespace of its own, where nothing else listens
BASE_PACKAGES = "python3,python3-venv,python3-pip,python-is-python3,ca-certificates"  # what python:3.11-slim brings
ISOLATED = "TEXTCNN_PROOF_ISOLATED"


def main() -> None:
    """Fetch what is needed, then go on without a network."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--work", type=Path, default=Path("/var/tmp/textcnn-image"), help="folder for roots and wheels")
    work: Path = parser.parse_args().work.resolve()
    if ISOLATED not in os.environ:
        fetch(work)
        again = [sys.executable, "-m", "service.deploy.prove_image", "--work", str(work)]
        command = ["unshare", "--mount", "--net", *again]
        sys.exit(subprocess.run(command, cwd=ROOT, env=os.environ | {ISOLATED: "1"}, check=False).returncode)
    run("ip", "link", "set", "lo", "up")
    image = build(work)
    for layer, made_by in image.layers:
        print(f"layer {megabytes(layer):7.1f} MB  {made_by[:80]}")
    prove(image, work)
    print("proven: starts, answers and stops as process 1, not as root, on a read-only root")


def fetch(work: Path) -> None:
    """A clean Debian root and the wheels of the lock file, unless an earlier run has left them."""
    base, wheels = work / "base", work / "wheelhouse"
    if not (base / "wheelhouse").is_dir():
        shutil.rmtree(base, ignore_errors=True)
        work.mkdir(parents=True, exist_ok=True)
        sources = next(Path("/etc/apt/sources.list.d").glob("*.sources"), Path("/etc/apt/sources.list"))
        packages = f"--include={BASE_PACKAGES}"
        run("mmdebstrap", "--quiet", "--variant=minbase", packages, "bookworm", str(base), str(sources))
        (base / "wheelhouse").mkdir()
    download = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--python-version",
        "3.11",
        "--only-binary",
        ":all:",
    ]
    run(*download, "--dest", str(wheels), "-r", str(ROOT / "requirements.lock"), "setuptools", "wheel")


def prove(image: Image, work: Path) -> None:
    """Run the image with its own command, and with a checkpoint mounted; raises `AssertionError` when it misbehaves."""
    with image.mounted(work / "layers" / "container") as root:
        mine = root / "models" / "mine"
        mine.mkdir()
        run("mount", "-o", "remount,ro", str(root))
        run("mount", "--bind", "-o", "ro", str(root / "models" / "quickstart"), str(mine))
        run("mount", "-t", "tmpfs", "tmpfs", str(root / "tmp"))
        run("mount", "--rbind", "/dev", str(root / "dev"))
        for name, command in {"quickstart": image.commands["CMD"], "mine": ["--checkpoint", "/models/mine"]}.items():
            with container(image, root, command) as first_process:
                check(image, root, name, first_process)


@contextmanager
def container(image: Image, root: Path, command: list[str]) -> Iterator[int]:
    """The running service; yields the id of its first process, and has it stop on SIGTERM."""
    isolated = ["unshare", "--pid", "--fork", "--kill-child", f"--mount-proc={root / 'proc'}"]
    started = time.monotonic()
    with subprocess.Popen(
        [*isolated, *inside(image, root, *image.commands["ENTRYPOINT"], *command)],
        env=image.environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout
            greeting = process.stdout.readline().strip()
            assert greeting.startswith("Serving "), f"said {greeting!r}"
            print(f"{greeting}, {time.monotonic() - started:.1f} s after its start")
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8")
            yield int(children)
            os.kill(int(children), signal.SIGTERM)
            stopped = time.monotonic()
            status = process.wait(60)
            assert status == 0, f"ended with status {status} on SIGTERM"
            print(f"stopped with status 0, {time.monotonic() - stopped:.1f} s after SIGTERM")
        finally:
            process.kill()


def check(image: Image, root: Path, name: str, first_process: int) -> None:
    """What has to hold while it runs."""
    status = Path(f"/proc/{first_process}/status").read_text(encoding="utf-8")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["NSpid"].split()[-1] == "1", "is not process 1"
    assert set(fields["Uid"].split()) == {image.user.partition(":")[0]}, f"runs as {fields['Uid']}"
    assert subprocess.run(["chroot", str(root), "touch", "/opt/x"], capture_output=True, check=False).returncode != 0
    run(*inside(image, root, *image.commands["HEALTHCHECK"]))
    body = json.dumps({"inputs": ["where is my parcel?", "我要退款"]}).encode()
    request = urllib.request.Request(f"{URL}/predict", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        answer = json.load(reply)
    assert [found["label"] for found in answer["predictions"]] == ["track_order", "refund"], answer
    assert answer["model"]["name"] == name, answer["model"]
    print(f"answered {json.dumps(answer['latency'])}")


def inside(image: Image, root: Path, *command: str) -> list[str]:
    """A command in the root, as the image's user, in its working folder."""
    enter = f'cd {image.folder} && exec "$@"'
    return ["chroot", f"--userspec={image.user}", str(root), "/bin/sh", "-c", enter, "sh", *command]


if __name__ == "__main__":
    main()
