"""A container engine for a test: podman, its images in a folder, at a socket that Docker Compose speaks to."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers import eventually
from tests.wheels import docker_compose

PACKAGES = ("aardvark-dns", "buildah", "iptables", "mmdebstrap", "netavark", "podman", "prometheus", "runc")
# podman would raise these limits, which a root that is confined itself may not.
CONTAINERS = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
"""
STORAGE = """
[storage]
driver = "overlay"
graphroot = "{folder}/storage"
runroot = "{folder}/run"
"""


def lacking(*ports: int) -> str:
    """Why there can be no engine here, or nothing."""
    release = Path("/etc/os-release")
    if os.getuid() != 0 or not release.exists() or "bookworm" not in release.read_text(encoding="utf-8"):
        return "needs root on Debian 12"
    asked = subprocess.run(["dpkg-query", "--show", *PACKAGES], capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        return f"needs Debian's packages {', '.join(PACKAGES)}"
    if shutil.disk_usage("/var/tmp").free < 8e9:
        return "needs 8 GB in /var/tmp"
    for port in ports:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return f"port {port} is in use"
    return ""


@contextmanager
def engine(folder: Path) -> Iterator[None]:
    """podman listens, and `docker compose` finds it, as long as the block runs; all of it is removed at its end."""
    address = folder / "podman.sock"
    (folder / "containers.conf").write_text(CONTAINERS, encoding="utf-8")
    (folder / "storage.conf").write_text(STORAGE.format(folder=folder), encoding="utf-8")
    programs = folder / "bin"
    programs.mkdir()
    (programs / "docker").write_text(f'#!/bin/sh\nshift # compose\nexec "{docker_compose()}" "$@"\n', encoding="utf-8")
    (programs / "docker").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_CONF", str(folder / "containers.conf"))
        patch.setenv("CONTAINERS_STORAGE_CONF", str(folder / "storage.conf"))
        patch.setenv("DOCKER_HOST", f"unix://{address}")
        patch.setenv("PATH", str(programs), prepend=os.pathsep)
        with subprocess.Popen(["podman", "system", "service", "--time", "0", f"unix://{address}"]) as service:
            try:
                eventually(address.exists)
                yield
            finally:
                service.terminate()
                service.wait()
                subprocess.run(["podman", "system", "reset", "--force"], capture_output=True, check=False)
                shutil.rmtree(folder, ignore_errors=True)
