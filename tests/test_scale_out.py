"""Replicas behind a real load balancer: clients do not notice that they are restarted, nor that one is killed."""

import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import httpx
import pytest

from tests.conftest import WORDS
from tests.servers import ROOT, RunningServer, eventually, is_ready, server
from tests.test_deploy import DEPLOY

HAPROXY = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
CLIENTS = 4
QUESTIONS = [(words, label) for label, phrases in WORDS.items() for words in phrases]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(HAPROXY is None, reason="needs Debian's package haproxy")]


def free_addresses(count: int) -> list[str]:
    """Addresses that nobody listens on."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [f"127.0.0.1:{listener.getsockname()[1]}" for listener in listeners]


@dataclass
class Balancer:
    """haproxy with the configuration that we ship."""

    address: str
    statistics: httpx.Client

    def servers(self) -> dict[str, dict[str, str]]:
        """What it knows of each replica, by its name."""
        lines = self.statistics.get("/;csv").text.removeprefix("# ").splitlines()
        return {row["svname"]: row for row in csv.DictReader(lines) if row["svname"].startswith("replica-")}

    def sees(self, name: str, status: str) -> bool:
        """Whether it comes to hold the replica for UP or DOWN."""
        return eventually(lambda: self.servers()[name]["status"] == status)

    def requests(self, name: str) -> int:
        """How many it has sent to the replica."""
        return int(self.servers()[name]["stot"])


def places(*addresses: str) -> dict[str, str]:
    """The environment that tells the configuration these addresses: its own, of its statistics, of the replicas."""
    return os.environ | dict(zip(("LISTEN", "STATISTICS", "REPLICA_1", "REPLICA_2"), addresses, strict=True))


@contextmanager
def balancer(replicas: list[str]) -> Iterator[Balancer]:
    assert HAPROXY
    listen, statistics = free_addresses(2)
    command = [HAPROXY, "-f", str(DEPLOY / "haproxy.cfg")]
    environment = places(listen, statistics, *replicas)
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            patient = httpx.HTTPTransport(retries=6)  # it may not listen yet
            with httpx.Client(base_url=f"http://{statistics}", timeout=30, transport=patient) as client:
                yield Balancer(listen, client)
        finally:
            process.kill()


@dataclass
class Load:
    """Clients that ask one question after the other on connections which they keep, until they are told to stop."""

    address: str
    stop: threading.Event = field(default_factory=threading.Event)
    outcomes: "Counter[str]" = field(default_factory=Counter)  # "right", or what went wrong

    @contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()

    def _ask(self) -> None:
        connection = HTTPConnection(self.address, timeout=30)
        while not self.stop.is_set():
            for text, label in QUESTIONS:
                self.outcomes[_outcome(connection, text, label)] += 1
        connection.close()


def _outcome(connection: HTTPConnection, text: str, label: str) -> str:
    try:
        connection.request("POST", "/predict", json.dumps({"inputs": text}), {"Content-Type": "application/json"})
        reply = connection.getresponse()
        content = reply.read()
    except (OSError, HTTPException) as error:
        connection.close()
        return repr(error)
    if reply.status != 200:
        return f"{reply.status} {content!r}"
    found = json.loads(content)["predictions"][0]["label"]
    return "right" if found == label else f"{text!r} became {found!r}"


def serves(balance: Balancer, name: str) -> bool:
    """Whether the replica gets requests."""
    before = balance.requests(name)
    return eventually(lambda: balance.requests(name) > before + 10, 30)


def test_clients_notice_neither_a_rolling_restart_nor_a_death(checkpoint: Path) -> None:
    addresses = free_addresses(2)

    def replica(number: int) -> RunningServer:
        return stack.enter_context(server(checkpoint, "--port", addresses[number].split(":")[1]))

    with ExitStack() as stack:
        replicas = [replica(0), replica(1)]
        balance = stack.enter_context(balancer(addresses))
        names = list(balance.servers())
        assert all(balance.sees(name, "UP") for name in names)
        load = Load(balance.address)
        with load.running():
            for number, name in enumerate(names):
                assert serves(balance, name)
                assert replicas[number].stop() == 0
                assert balance.sees(name, "DOWN")
                replicas[number] = replica(number)
                assert balance.sees(name, "UP")
            assert all(serves(balance, name) for name in names)
            assert set(load.outcomes) == {"right"}, load.outcomes
            os.killpg(replicas[0].process.pid, signal.SIGKILL)
            assert balance.sees(names[0], "DOWN")
            assert serves(balance, names[1])
        # Nobody can ask again for a reply whose head had left when its replica was killed: one a client at most.
        torn = [outcome for outcome in load.outcomes if outcome.startswith("IncompleteRead")]
        assert load.outcomes.keys() == {"right", *torn}, load.outcomes
        assert sum(load.outcomes[outcome] for outcome in torn) <= CLIENTS
        assert replicas[1].stop() == 0
        none = httpx.post(f"http://{balance.address}/predict", json={"inputs": "money back"})
    assert (none.status_code, none.headers["retry-after"], none.json()["error_type"]) == (503, "1", "overloaded")


def test_the_readmes_commands_put_replicas_behind_one_address(checkpoint: Path, tmp_path: Path) -> None:
    section = (DEPLOY / "README.md").read_text(encoding="utf-8").split("## Replicas behind haproxy")[1]
    block = re.search(r"```bash\n(.*?)```", section, flags=re.DOTALL)
    assert block
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine").symlink_to(checkpoint)
    (tmp_path / "service").symlink_to(ROOT / "service")
    listen, statistics, *replicas = free_addresses(4)
    environment = places(listen, statistics, *replicas)
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}:/usr/sbin"
    first, second = (address.split(":")[1] for address in replicas)
    script = block[1].replace("8001", first).replace("8002", second)  # the ports alone differ
    with subprocess.Popen(["bash", "-c", script], cwd=tmp_path, env=environment, start_new_session=True) as shell:
        try:
            assert eventually(lambda: is_ready(f"http://{listen}"), 60)
            asked = httpx.post(f"http://{listen}/predict", json={"inputs": "money back"})
            assert asked.json()["predictions"][0]["label"] == "refund"
        finally:
            os.killpg(shell.pid, signal.SIGTERM)
